"""Who comes to the bot by an invitation of ours is the customer it was made for, and nobody else is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import insert, select

from channels.telegram import TelegramChannel, TelegramSettings
from holdfast.responses import apply, collect
from holdfast.tables import addresses, consents
from holdfast.wiring import open_workspace
from tests.fakes.scripted_channel import ScriptedChannel
from tests.integration.conftest import Bench
from tests.servers import telegram_server

TOKEN = "4711:AAE-a_token_of_thirty-five-letters"
SECRET = "a-Secret_1"
DAY = timedelta(days=1)
NOTE = "{% block body %}Hello{% if links.telegram %} {{ links.telegram }}{% endif %}{% endblock %}"
_numbers = count(1000)


class Bot(telegram_server.TelegramServer):
    token = TOKEN


@pytest.fixture
def server() -> Iterator[Bot]:
    with Bot() as server:
        yield server


@pytest.fixture
def invited(bench: Bench, server: Bot) -> Bench:
    """A bench whose customers 1 and 2 got a letter that invites them to the bot."""
    settings = TelegramSettings(base_url=server.url, token=TOKEN, bot="AcmeTeaBot")
    bench.channels["telegram"] = cast(ScriptedChannel, TelegramChannel("telegram", settings))
    bench.edit("note.sms.txt", NOTE)
    bench.campaign()
    bench.shop.customers(2)
    bench.run()
    bench.clock.advance(hours=1)
    return bench


def link(bench: Bench, number: int = 0) -> str:
    """The end of the link in a customer's letter."""
    address, _, payload = bench.sms.calls[0][number].text.strip().partition("?start=")
    assert address == "Hello https://t.me/AcmeTeaBot"
    return payload


def says(bench: Bench, text: str, chat: int = 11, at: datetime | None = None, id_: int = 0) -> None:
    """Somebody writes to the bot, by its webhook."""
    sent = {"message_id": 1, "chat": {"id": chat, "type": "private"}, "text": text}
    sent["date"] = int((at or bench.clock.now).timestamp())
    body = json.dumps({"update_id": id_ or next(_numbers), "message": sent}).encode()
    channel = cast(TelegramChannel, bench.channels["telegram"])
    apply(bench.ws, "telegram", channel.parse(body), bench.clock.now)


def chats(bench: Bench) -> dict[int, str]:
    """By customer, their chat."""
    with bench.ws.database.read() as connection:
        c = addresses.c
        rows = connection.execute(select(c.customer_id, c.address).where(c.kind == "telegram"))
        return {row.customer_id: row.address for row in rows}


def said(bench: Bench, customer_id: int = 1) -> list[tuple[bool, str]]:
    """What the customer said of marketing by Telegram, with its evidence."""
    with bench.ws.database.read() as connection:
        c = consents.c
        rows = connection.execute(
            select(c.granted, c.evidence)
            .where(c.customer_id == customer_id, c.kind == "telegram")
            .order_by(c.recorded_at, c.id)
        )
        return [(granted, evidence) for granted, evidence in rows]


def test_the_link_in_a_letter_makes_the_chat_the_customers_who_can_be_written_to_from_then_on(
    invited: Bench, server: Bot
) -> None:
    at = int(invited.clock.now.timestamp())
    chat = {"id": 11, "type": "private"}
    server.tell(message={"message_id": 1, "chat": chat, "date": at, "text": f"/start {link(invited)}"})
    for new in (1, 0):
        assert collect(invited.ws, invited.clock.now).new == new
    assert chats(invited) == {1: "11"}
    assert said(invited) == [(True, f"telegram: invitation, message {invited.messages()[0].id}")]

    invited.campaign("next", steps=[{"id": "first", "channels": ["telegram"], "template": "note"}])
    invited.run("next")
    assert [message["chat_id"] for message in server.messages] == [11]

    invited.clock.advance(hours=1)
    says(invited, "/stop", chat=11)
    assert [granted for granted, _ in said(invited)] == [True, False]
    invited.run("next", "k2")
    assert len(server.messages) == 1


def test_stop_and_start_again_by_the_same_chat_is_a_new_yes(invited: Bench) -> None:
    payload = link(invited)
    for text in (f"/start {payload}", "/stop", f"/start {payload}", f"/start@AcmeTeaBot {payload}"):
        says(invited, text)
        invited.clock.advance(minutes=1)
    assert [granted for granted, _ in said(invited)] == [True, False, True, True]
    assert chats(invited) == {1: "11"}


def test_what_comes_again_or_in_another_order_changes_nothing(invited: Bench) -> None:
    start = invited.clock.now
    says(invited, "/stop", chat=11, at=start + timedelta(minutes=5), id_=9)
    for _ in range(2):
        says(invited, f"/start {link(invited)}", chat=11, at=start, id_=8)
    assert [granted for granted, _ in said(invited)] == [True]
    says(invited, f"/start {link(invited)}", chat=11, at=start, id_=7)
    assert len(said(invited)) == 1


@pytest.mark.parametrize("chat", [12, -12])
def test_a_link_that_was_used_is_of_no_use_to_another_chat(invited: Bench, chat: int) -> None:
    says(invited, f"/start {link(invited)}", chat=11)
    invited.clock.advance(minutes=1)
    says(invited, f"/start {link(invited)}", chat=chat)
    says(invited, "/stop", chat=11)
    invited.clock.advance(minutes=1)
    says(invited, f"/start {link(invited)}", chat=chat)
    assert chats(invited) == {1: "11"}
    assert [granted for granted, _ in said(invited)] == [True, False]


def test_two_chats_with_one_link_at_once_are_not_both_the_customer(invited: Bench, server: Bot) -> None:
    for chat, later in ((12, 5), (11, 0)):
        at = int(invited.clock.now.timestamp()) - 60 + later
        chat_ = {"id": chat, "type": "private"}
        server.tell(message={"message_id": 1, "chat": chat_, "date": at, "text": f"/start {link(invited)}"})
    collect(invited.ws, invited.clock.now)
    assert chats(invited) == {1: "11"}
    assert len(said(invited)) == 1


def test_forged_cut_off_foreign_and_expired_links_bind_nobody(invited: Bench) -> None:
    payload, signer = link(invited), invited.ws.signer
    today = invited.clock.now.date()
    for tried in (
        payload[:-1],
        payload[:-1] + ("A" if payload[-1] != "A" else "B"),
        payload.swapcase(),
        "1",
        signer.sign_invitation(invited.messages()[0].id, today - DAY),
        signer.sign_invitation(10**12, today + DAY),  # ours, of a message that is not there
        signer.sign("unsubscribe", 1),
        "' OR 1=1 --",
    ):
        says(invited, f"/start {tried}")
    invited.clock.advance(days=31)
    says(invited, f"/start {payload}")
    # A clock that is wrong on purpose does not make it younger: Telegram says when, not the customer.
    assert chats(invited) == {}
    assert said(invited) == []


def test_nobody_takes_the_place_of_a_chat_that_is_still_written_to(invited: Bench) -> None:
    with invited.ws.database.write() as connection:
        theirs = {"customer_id": 1, "kind": "telegram", "address": "77", "address_key": "77"}
        connection.execute(insert(addresses).values(theirs))
    invited.shop.consent([1], "telegram", granted=True)
    invited.clock.advance(minutes=1)
    says(invited, f"/start {link(invited)}", chat=11)
    assert chats(invited) == {1: "77"}
    says(invited, "/stop", chat=77)
    invited.clock.advance(minutes=1)
    says(invited, f"/start {link(invited)}", chat=11)
    assert chats(invited) == {1: "11"}
    assert said(invited)[-1][0] is True


def test_each_customers_link_is_their_own(invited: Bench) -> None:
    says(invited, f"/start {link(invited, 1)}", chat=22)
    says(invited, f"/start {link(invited, 0)}", chat=11)
    assert chats(invited) == {1: "11", 2: "22"}


def test_a_project_without_a_bots_name_invites_nobody(bench: Bench) -> None:
    bench.edit("note.sms.txt", NOTE)
    bench.campaign()
    bench.shop.customers(1)
    bench.run()
    assert [message.text.strip() for message in bench.sms.calls[0]] == ["Hello"]


def test_the_link_of_a_test_letter_is_nobodys(invited: Bench) -> None:
    payload = invited.ws.signer.sign_invitation(0, invited.clock.now.date() + DAY)
    says(invited, f"/start {payload}")
    assert (chats(invited), said(invited)) == ({}, [])


def test_a_channel_that_is_set_up_wrongly_keeps_no_other_from_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_SECRET", "a secret of the tests, 32 bytes.")
    brand = "brand: {name: Acme, from: Acme <a@acme.example>, public_url: 'https://r.acme.example'}\n"
    channels = "channels: {email: {adapter: sandbox}, sms: {adapter: twilio}, bot: {adapter: telegram, %s}}\n"
    for settings, invitation in [("bot: x", ""), ("bot: AcmeBot, token: t", "https://t.me/AcmeBot?start=")]:
        (tmp_path / "holdfast.yaml").write_text(brand + channels % settings, encoding="utf-8")
        assert open_workspace(tmp_path, str).invitation == invitation
