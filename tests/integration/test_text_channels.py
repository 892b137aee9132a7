"""Campaigns that go out by Telegram, SMS and WhatsApp, and what people answer to them."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select

from channels.telegram import TelegramChannel, TelegramSettings
from channels.twilio import TwilioChannel, TwilioSettings
from channels.whatsapp import WhatsAppChannel, WhatsAppSettings
from holdfast.responses import apply, collect
from holdfast.tables import consents, responses
from tests.integration.conftest import Bench
from tests.servers import graph_server, telegram_server, twilio_server

TOKEN = "4711:AAE-a_token_of_thirty-five_letters"
AUTH = "0123456789abcdef0123456789abcdef"
# What does not depend on the engine is tried on one.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Bot(telegram_server.TelegramServer):
    token = TOKEN


class Account(twilio_server.TwilioServer):
    token = AUTH


def withdrawn(bench: Bench) -> list[int]:
    with bench.ws.database.read() as connection:
        said = select(consents.c.customer_id).where(~consents.c.granted).order_by(consents.c.customer_id)
        return list(connection.scalars(said))


@on_sqlite
def test_who_blocks_the_bot_or_says_stop_gets_nothing_more_and_a_reply_is_of_its_message(
    bench: Bench,
) -> None:
    with Bot() as server:
        channel = TelegramChannel("sms", TelegramSettings(base_url=server.url, token=TOKEN))
        bench.campaign_by(channel, "110{}", customers=4)
        server.refusing[1104] = telegram_server.refusal(403, "Forbidden: bot was blocked by the user")
        bench.run()
        assert bench.states() == {("accepted", None): 3, ("rejected", "opted_out"): 1}

        at = int((bench.clock.now + timedelta(minutes=1)).timestamp())
        bench.clock.advance(hours=1)
        chats = [{"id": 1100 + number, "type": "private"} for number in range(4)]
        quoted = {"message_id": 1, "chat": chats[3], "date": at}
        server.tell(my_chat_member={"chat": chats[1], "date": at, "new_chat_member": {"status": "kicked"}})
        server.tell(message={"message_id": 2, "chat": chats[2], "date": at, "text": "Stop"})
        server.tell(
            message={
                "message_id": 2,
                "chat": chats[3],
                "date": at,
                "text": "Thanks!",
                "reply_to_message": quoted,
            }
        )
        first = collect(bench.ws, bench.clock.now)
        again = collect(bench.ws, bench.clock.now)
        channel.close()
    assert (first.new, first.unknown, again.new, first.problems) == (3, 0, 0, ())
    assert withdrawn(bench) == [1, 2]
    assert [bool(row.replied_at) for row in bench.messages(state="accepted")] == [False, False, True]
    assert server.waiting == []


@on_sqlite
def test_what_twilio_tells_of_an_sms_is_of_its_message(bench: Bench) -> None:
    with Account() as server:
        settings = TwilioSettings(
            base_url=server.url,
            account_sid=Account.account,
            auth_token=AUTH,
            sender="Acme",
            webhook_url="https://r.acme.example/webhooks/sms",
        )
        channel = TwilioChannel("sms", settings)
        bench.campaign_by(channel, "+4915110000{}")
        server.refusing["+49151100003"] = twilio_server.refusal(400, 21614)
        bench.run()
        channel.close()
    assert bench.states() == {("accepted", None): 2, ("rejected", "bad_address"): 1}

    bench.clock.advance(hours=1)
    first, second = [row.provider_id for row in bench.messages(state="accepted")]
    told = [
        {"MessageSid": first, "MessageStatus": "delivered", "To": "+49151100001"},
        {"MessageSid": second, "MessageStatus": "undelivered", "To": "+49151100002", "ErrorCode": "30005"},
        {"MessageSid": "SM" + "f" * 32, "SmsStatus": "received", "From": "+49151100001", "Body": "STOP"},
    ]
    for fields in told * 2:
        apply(bench.ws, "sms", channel.parse(urlencode(fields).encode()), bench.clock.now)
    delivered, bounced = bench.messages(state="accepted")
    assert delivered.delivered_at == bounced.bounced_at == bench.clock.now
    assert withdrawn(bench) == [1]
    with bench.ws.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(responses)) == 3


@on_sqlite
def test_who_was_written_to_too_often_on_whatsapp_waits_alone(bench: Bench) -> None:
    often = graph_server.refusal(131056, headers={"Retry-After": "7200"})
    with graph_server.GraphServer([often] * 2) as server:
        settings = WhatsAppSettings.model_validate(
            {
                "base_url": server.url,
                "access_token": graph_server.TOKEN,
                "phone_number_id": graph_server.PHONE_NUMBER_ID,
                "concurrency": 1,
            }
        )
        channel = WhatsAppChannel("sms", settings)
        bench.campaign_by(channel, "+4915110000{}", customers=5)
        began_at = bench.clock.now
        bench.run()
        channel.close()
    assert bench.states() == {("accepted", None): 3, ("planned", None): 2}
    assert [row.due_at - began_at >= timedelta(hours=2) for row in bench.messages(state="planned")] == [
        True
    ] * 2
