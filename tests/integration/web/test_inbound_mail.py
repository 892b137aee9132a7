"""Mail by SendGrid's Inbound Parse, from its form to what it changes; what SendGrid says of the account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from channels.sendgrid_email import SendgridChannel, SendgridSettings
from holdfast.responses import collect
from holdfast.tables import consents, messages, responses
from tests.integration.conftest import Clock
from tests.integration.web.conftest import Web, on_sqlite
from tests.servers.inbound_parse import Form, form, parsed, raw
from tests.servers.sendgrid_server import SendgridServer

PASSWORD = "a-password-of-tests"
Post = Callable[..., Form]


@pytest.fixture
def sendgrid() -> SendgridServer:
    return SendgridServer()


@pytest.fixture
def mail(web: Web, sendgrid: SendgridServer) -> Iterator[Web]:
    """A project whose channel `sms`, which wrote its messages, is SendGrid's."""
    settings = {
        "api_key": "SG.x",
        "webhook_key": sendgrid.webhook_key,
        "reply_address": "reply@in.acme.example",
        "inbound_password": PASSWORD,
    }
    channel = SendgridChannel("sms", SendgridSettings.model_validate(settings))
    web.bench.channels["sms"] = channel  # type: ignore[assignment]
    yield web
    channel.close()


def written(web: Web, id_: int, text: str, **headers: str) -> bytes:
    key = web.bench.ws.signer.sign("message", id_)
    head = {
        "From": "Ann <ann@example.com>",
        "To": f"reply+{key}@in.acme.example",
        "Message-ID": f"<{id_}.{len(text)}@mail.example.com>",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"{lines}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n".encode()


def posted(web: Web, given: Form, password: str = PASSWORD) -> int:
    body, headers = given
    auth = httpx.BasicAuth("sendgrid", password)
    return web.client.post("/webhooks/sms", content=body, headers=headers, auth=auth).status_code


def row(web: Web, id_: int) -> Any:
    with web.database.read() as connection:
        return connection.execute(select(messages).where(messages.c.id == id_)).one()


def texts(web: Web) -> list[str]:
    with web.database.read() as connection:
        return list(connection.scalars(select(responses.c.text).order_by(responses.c.id)))


@pytest.mark.parametrize("post", [raw, parsed])
def test_a_reply_is_an_answer_to_its_message_and_the_same_mail_counts_once(
    mail: Web, clock: Clock, post: Post
) -> None:
    id_ = mail.message()
    clock.advance(minutes=5)
    content = written(mail, id_, "Is the tea still there?")
    for _ in range(2):  # as SendGrid repeats it: each time with a boundary of its own
        assert posted(mail, post(content, "ann@example.com", "reply@in.acme.example")) == 204
    collected = collect(mail.bench.ws, clock.now)
    assert (collected.letters, collected.unreadable, collected.new) == (1, 0, 1)
    assert row(mail, id_).replied_at == clock.now
    assert texts(mail) == ["Is the tea still there?"]


def test_who_answers_stop_gets_no_more(mail: Web, clock: Clock) -> None:
    id_ = mail.message()
    clock.advance(minutes=5)
    assert posted(mail, parsed(written(mail, id_, "Stop"), "ann@example.com")) == 204
    collect(mail.bench.ws, clock.now)
    with mail.database.read() as connection:
        last = connection.execute(select(consents).order_by(consents.c.id.desc()).limit(1)).one()
    assert (last.customer_id, last.kind, last.granted) == (row(mail, id_).customer_id, "sms", False)


def test_an_absence_answers_nothing(mail: Web, clock: Clock) -> None:
    id_ = mail.message()
    absent = written(mail, id_, "STOP", **{"Auto-Submitted": "auto-replied"})
    assert posted(mail, raw(absent, "")) == 204
    collected = collect(mail.bench.ws, clock.now)
    assert (collected.letters, collected.unreadable, collected.new) == (1, 0, 0)


def test_a_key_that_nobody_signed_is_of_no_message(mail: Web, clock: Clock) -> None:
    id_ = mail.message()
    forged = written(mail, id_, "STOP").replace(b"reply+", b"reply+9")
    assert posted(mail, raw(forged, "ann@example.com")) == 204
    collected = collect(mail.bench.ws, clock.now)
    assert (collected.new, collected.unknown) == (1, 1)
    assert row(mail, id_).unsubscribed_at is None


@on_sqlite
def test_mail_without_the_password_is_refused_and_not_kept(mail: Web) -> None:
    given = raw(written(mail, mail.message(), "STOP"), "ann@example.com")
    assert posted(mail, given, "another password") == 403
    body, headers = given
    assert mail.client.post("/webhooks/sms", content=body, headers=headers).status_code == 403
    assert mail.letters() == []


@on_sqlite
@pytest.mark.parametrize(
    "body", [b"--", b"--x\r\n\r\n--x--\r\n", form({"text": b"STOP"})[0], b"--\xff\0"], ids=range(4)
)
def test_a_form_that_makes_no_sense_is_kept_and_counted_as_unreadable(
    mail: Web, clock: Clock, body: bytes
) -> None:
    assert posted(mail, (body, {"content-type": "multipart/form-data; boundary=x"})) == 204
    collected = collect(mail.bench.ws, clock.now)
    assert (collected.letters, collected.unreadable) == (1, 1)


@on_sqlite
def test_what_becomes_of_the_account_is_a_problem_of_the_round_that_reads_it(
    mail: Web, clock: Clock, sendgrid: SendgridServer
) -> None:
    event = {"event": "account_status_change", "timestamp": 1780498800, "type": "compliance_suspend"}
    body = json.dumps([event]).encode()
    headers = sendgrid.signed(body, clock.now)
    assert mail.client.post("/webhooks/sms", content=body, headers=headers).status_code == 204
    collected = collect(mail.bench.ws, clock.now)
    assert collected.problems == (
        "sms: SendGrid has changed the account's status (compliance_suspend):"
        " look for its mail to the account's owner",
    )
    assert collect(mail.bench.ws, clock.now).problems == ()


@on_sqlite
def test_a_large_picture_costs_nobody_their_answer_and_is_not_kept(mail: Web, clock: Clock) -> None:
    id_ = mail.message()
    sent = EmailMessage()
    sent["In-Reply-To"] = f"<{mail.bench.ws.signer.sign('message', id_)}@in.acme.example>"
    sent.set_content("It came broken: see the picture")
    sent.add_attachment(bytes(18_000_000), maintype="image", subtype="jpeg", filename="broken.jpg")
    content = sent.as_bytes().replace(b"\n", b"\r\n")
    for post in (raw, parsed):
        assert posted(mail, post(content, "ann@example.com")) == 204
    assert max(len(letter.body) for letter in mail.letters()) <= 131_200
    collect(mail.bench.ws, clock.now)
    assert set(texts(mail)) == {"It came broken: see the picture"}


@on_sqlite
def test_strangers_get_no_more_room_than_for_events(mail: Web) -> None:
    body, headers = raw(b"\r\n" * 3_000_000, "mallory@example.com")
    assert posted(mail, (body, headers), "a guess of somebody's") == 413
    assert posted(mail, (body, headers)) == 204


@on_sqlite
def test_more_than_sendgrid_ever_posts_is_refused(mail: Web) -> None:
    assert posted(mail, (b"--x" + bytes(31_000_000), {})) == 413
    assert mail.letters() == []
