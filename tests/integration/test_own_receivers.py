"""Campaigns that go to a webhook and by private mentions at Mastodon, and what comes back."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from channels.mastodon import MastodonChannel, MastodonSettings
from channels.standard_webhooks import sign
from channels.webhook import WebhookChannel, WebhookSettings
from holdfast.responses import apply, collect
from holdfast.tables import consents
from tests.integration.conftest import Bench
from tests.servers import mastodon_server
from tests.servers.mastodon_server import MastodonServer
from tests.servers.stand_in import Answer
from tests.servers.webhook_server import WebhookServer

SECRET = "s3cret-of-the-hook"
# What does not depend on the engine is tried on one.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@on_sqlite
def test_what_a_receiver_takes_refuses_and_tells_is_of_its_message(bench: Bench) -> None:
    refusal = Answer(410, {"reason": "opted_out"})
    with WebhookServer([refusal], key=SECRET.encode()) as server:
        settings = WebhookSettings.model_validate(
            {
                "kind": "letter",
                "base_url": server.url,
                "secret": SECRET,
                "webhook_key": SECRET,
                "allow_private": True,
                "concurrency": 1,
            }
        )
        channel = WebhookChannel("sms", settings)
        bench.campaign_by(channel, "c{}@social.example")
        bench.run()
        channel.close()
    assert bench.states() == {("accepted", None): 2, ("rejected", "opted_out"): 1}

    at = bench.clock.now + timedelta(minutes=1)
    bench.clock.advance(minutes=2)
    events = [
        {"id": f"e{number}", "key": key, "event": "delivered", "at": at.isoformat()}
        for number, key in enumerate(server.messages)
    ]
    body = json.dumps(events).encode()
    headers = sign(SecretStr(SECRET), "evt-1", body, int(bench.clock.now.timestamp()))
    channel.verify(headers, body, bench.clock.now)
    apply(bench.ws, "sms", channel.parse(body), bench.clock.now)
    assert [row.delivered_at for row in bench.messages(state="accepted")] == [at, at]


@on_sqlite
def test_who_answers_stop_at_mastodon_gets_nothing_more(bench: Bench) -> None:
    with MastodonServer(token=SECRET) as server:
        settings = MastodonSettings.model_validate(
            {"kind": "message", "base_url": server.url, "token": SECRET}
        )
        channel = MastodonChannel("sms", settings)
        bench.campaign_by(channel, "c{}@social.example")
        server.strangers.add("c3@social.example")
        bench.run()
        assert bench.states() == {("accepted", None): 2, ("rejected", "bad_address"): 1}
        collect(bench.ws, bench.clock.now)  # from now on
        ids = {to["acct"]: status["id"] for status in server.messages for to in status["mentions"]}
        for acct, said in [("c1@social.example", "Stop"), ("c2@social.example", "Thanks!")]:
            content = f"<p>@<span>acme</span> {said}</p>"
            server.mention(acct, content, visibility="direct", replying_to=ids[acct])
        bench.clock.now = max(bench.clock.now, mastodon_server.START) + timedelta(days=1)
        first, again = (collect(bench.ws, bench.clock.now) for _ in range(2))
        channel.close()
    assert (first.new, first.unknown, again.new, first.problems) == (2, 0, 0, ())
    assert [bool(row.replied_at) for row in bench.messages(state="accepted")] == [False, True]
    with bench.ws.database.read() as connection:
        withdrawn = select(consents.c.customer_id).where(~consents.c.granted)
        assert list(connection.scalars(withdrawn)) == [1]
