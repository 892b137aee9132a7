from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from channels import describe, open_channel
from channels.standard_webhooks import sign
from channels.webhook import WebhookChannel, WebhookSettings
from holdfast.channel import (
    Accepted,
    InDoubt,
    Outcome,
    Rejected,
    RejectReason,
    ResponseKind,
    Retry,
)
from holdfast.errors import AnswerRefused, ChannelUnavailable, SettingsError
from holdfast.settings import ChannelConfig
from tests.contract.letters import message
from tests.servers.stand_in import Act, Answer
from tests.servers.webhook_server import WebhookServer

SECRET = "s3cret-of-the-hook"
KEY = SECRET.encode()
NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)


def opened(url: str, **more: Any) -> WebhookChannel:
    settings = {
        "kind": "letter",
        "base_url": url,
        "secret": SECRET,
        "webhook_key": SECRET,
        "allow_private": True,
    } | more
    return WebhookChannel("crm", WebhookSettings.model_validate(settings))


@contextmanager
def webhook(*script: Answer | Act | None, **more: Any) -> Iterator[tuple[WebhookServer, WebhookChannel]]:
    with WebhookServer(script, key=KEY) as server:
        channel = opened(f"{server.url}/hooks/t0ken?of=mine", **more)
        yield server, channel
        channel.close()


# --- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"secret": ""}, "secret: not a secret; expected some text, or whsec_ and the base64 of a key"),
        ({"secret": "whsec_"}, "secret: not a secret"),
        ({"secret": "whsec_no base64!"}, "secret: not a secret"),
        ({"webhook_key": "whsec_§"}, "webhook_key: not a secret"),
        ({"base_url": "ftp://crm.example"}, "base_url: not a web address"),
        ({"base_url": "crm.example/t0ken"}, "base_url: not a web address"),
        ({"kind": "Not A Kind"}, "kind: "),
    ],
)
def test_settings_that_cannot_be_are_refused_without_their_values(change: dict[str, str], what: str) -> None:
    options = {"kind": "letter", "base_url": "https://crm.example/t0ken", "secret": SECRET} | change
    with pytest.raises(SettingsError) as refused:
        open_channel("crm", ChannelConfig(adapter="webhook"), options)
    assert f"channel 'crm': {what}" in str(refused.value)
    assert not any(text in str(refused.value) for text in (SECRET, "t0ken", "no base64!", "§"))


@pytest.mark.parametrize(
    ("kind", "dedupes", "html"), [("email", True, True), ("letter", False, False), ("sms", True, False)]
)
def test_it_can_do_what_its_settings_say(kind: str, dedupes: bool, html: bool) -> None:
    settings = WebhookSettings.model_validate(
        {"kind": kind, "base_url": "https://crm.example", "secret": SECRET, "dedupes": dedupes}
    )
    described = WebhookChannel.describe(settings)
    assert (described.kind, described.html, described.idempotent) == (kind, html, dedupes)
    assert not described.lookup


def test_its_address_may_be_a_reference() -> None:
    options = {"kind": "letter", "base_url": "secret", "secret": "0", "webhook_key": "0"}
    assert describe("crm", ChannelConfig(adapter="webhook"), options).kind == "letter"


# --- sending ------------------------------------------------------------------------------------------


def test_a_message_is_a_signed_document_at_the_very_address() -> None:
    with webhook() as (server, channel):
        assert channel.send([message(1)]) == [Accepted(f"crm-{message(1).key}")]
        call = server.requests[0]
        assert (call.path, call.query) == ("/hooks/t0ken", {"of": ["mine"]})
        assert call.headers["webhook-id"] == message(1).key
        assert call.headers["content-type"] == "application/json"
        document = json.loads(call.body)
        signed_at = datetime.fromtimestamp(int(call.headers["webhook-timestamp"]), UTC)
        assert datetime.fromisoformat(document.pop("timestamp")) == signed_at
        assert document == {
            "type": "message.send",
            "data": {
                "key": message(1).key,
                "to": "customer1@example.com",
                "to_name": "Ann",
                "from": "Acme <hello@acme.example>",
                "subject": "We kept your favourites",
                "text": "Hello Ann,\nwe kept tea & cake for you.\n",
                "headers": {"List-Unsubscribe": "<https://r.acme.example/u/1.abc>"},
            },
        }


def test_email_has_its_html() -> None:
    with webhook(kind="email") as (server, channel):
        channel.send([message(1)])
        assert json.loads(server.requests[0].body)["data"]["html"].startswith("<p>Hello Ann")


@pytest.mark.parametrize("path", ["", "/", "/hook", "/hook/", "/hook/?a=1"])
def test_the_address_is_left_as_it_is(path: str) -> None:
    with WebhookServer(key=KEY) as server:
        channel = opened(server.url + path)
        channel.send([message(1)])
        channel.close()
        assert server.requests[0].path == (path.partition("?")[0] or "/")


def test_a_secret_in_the_standards_form_is_base64() -> None:
    key = bytes(range(24))
    with WebhookServer(key=key) as server:
        channel = opened(server.url, secret="whsec_" + base64.b64encode(key).decode())
        assert isinstance(channel.send([message(1)])[0], Accepted)
        channel.close()


def test_the_signature_is_the_one_that_the_standards_own_libraries_show() -> None:
    # The example of the libraries' READMEs and tests.
    settings = WebhookSettings.model_validate(
        {
            "kind": "letter",
            "base_url": "https://crm.example",
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        }
    )
    signed = sign(settings.secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330)
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("to", "is_taken"),
    [
        ("", False),
        (" \t", False),
        ("a\nb", False),
        ("a\r\nBcc: b", False),
        ("a\x00", False),
        ("x" * 1001, False),
        ("x" * 1000, True),
        ("1 High St, 10115 Берлин", True),
        ("مريم", True),
    ],
)
def test_an_address_is_one_line(to: str, is_taken: bool) -> None:
    with webhook() as (server, channel):
        outcome = channel.send([message(1, to=to)])[0]
        assert isinstance(outcome, Accepted) if is_taken else outcome == Rejected(RejectReason.BAD_ADDRESS)
        assert len(server.requests) == is_taken


@pytest.mark.parametrize("character", ["x", "ж", "字", "😀"])
def test_a_document_is_as_large_as_the_receiver_takes_and_no_larger(character: str) -> None:
    with webhook(max_bytes=10_000) as (server, channel):
        channel.send([message(1, plain=("", ""))])
        room = 10_000 - len(server.requests[0].body)
        fits = character * (room // len(character.encode()))
        sent = [message(2, plain=(fits, "")), message(3, plain=(fits + character, ""))]
        outcomes = [channel.send([each])[0] for each in sent]
        assert outcomes == [Accepted(f"crm-{sent[0].key}"), Rejected(RejectReason.TOO_LARGE)]


# --- posts --------------------------------------------------------------------------------------------


def test_a_post_is_a_signed_document_under_its_key() -> None:
    with webhook(kind="linkedin", post=True) as (server, channel):
        assert channel.publish("Tea & cake", "17.abc") == Accepted("crm-17.abc")
        assert server.requests[0].headers["webhook-id"] == "17.abc"
        document = json.loads(server.requests[0].body)
        del document["timestamp"]
        data = {"key": "17.abc", "kind": "linkedin", "text": "Tea & cake"}
        assert document == {"type": "post.publish", "data": data}


def test_a_post_that_is_tried_again_is_out_once_and_the_same_text_later_is_another() -> None:
    with webhook(Act.TAKE_AND_DROP, post=True, dedupes=True) as (server, channel):
        assert isinstance(channel.publish("Hello", "17.abc"), InDoubt)
        assert channel.find_post("Hello", NOW) is None  # so it may be handed over again
        assert channel.publish("Hello", "17.abc") == Accepted("crm-17.abc")
        assert list(server.messages) == ["17.abc"]
        channel.publish("Hello", "18.abc")
        assert list(server.messages) == ["17.abc", "18.abc"]


def test_nobody_can_tell_what_became_of_a_post_where_the_receiver_does_not_say_so() -> None:
    with webhook(post=True) as (server, channel):
        with pytest.raises(ChannelUnavailable, match="cannot be asked for its posts") as why:
            channel.find_post("Hello", NOW)
        assert "dedupes: true" in why.value.hint
        assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(422, {"reason": "content"}), Rejected(RejectReason.CONTENT, "422")),
        (Answer(413), Rejected(RejectReason.TOO_LARGE, "413")),
        (Answer(429, None, {"Retry-After": "7"}), Retry(timedelta(seconds=7), "429")),
        (Answer(500), InDoubt("500")),
    ],
)
def test_what_an_answer_means_to_a_post_it_means_to_a_message(answer: Answer, outcome: Outcome) -> None:
    with webhook(answer, post=True) as (_, channel):
        assert channel.publish("Hello", "17.abc") == outcome


def test_a_post_that_does_not_fit_is_told_before_it_goes_and_does_not_go() -> None:
    with webhook(post=True, max_bytes=1_000) as (server, channel):
        fits = "字" * 200
        assert channel.problem_with(fits, channel.settings) is None
        assert isinstance(channel.publish(fits, "17.abc"), Accepted)
        problem = channel.problem_with(fits * 2, channel.settings)
        assert problem is not None
        assert "max_bytes allows 1000" in problem
        assert channel.publish(fits * 2, "18.abc") == Rejected(RejectReason.TOO_LARGE)
        assert channel.problem_with(" ", channel.settings) == "a post without text"
        assert channel.publish(" ", "19.abc") == Rejected(RejectReason.CONTENT)
        assert list(server.messages) == ["17.abc"]


def test_it_publishes_or_sends_and_not_both() -> None:
    with webhook() as (server, channel):
        with pytest.raises(ChannelUnavailable, match="sends messages, and nothing else"):
            channel.publish("Hello", "17.abc")
        assert server.requests == []


# --- what the receiver answers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(200, {"id": "a1"}), Accepted("a1")),
        (Answer(201, {"id": 17}), Accepted("17")),
        (Answer(202, {"id": None}), Accepted()),
        (Answer(200, {"id": True}), Accepted()),
        (Answer(200, {"id": {"a": 1}}), Accepted()),
        (Answer(200, {"id": "x" * 500}), Accepted("x" * 200)),
        (Answer(422, {"reason": 7}), Rejected(RejectReason.CONTENT, "422")),
        (Answer(422, {"reason": "no such reason"}), Rejected(RejectReason.CONTENT, "422")),
        (Answer(422, {"reason": "retries_exhausted"}), Rejected(RejectReason.CONTENT, "422")),
        (Answer(422, {"reason": "bad_address"}), Rejected(RejectReason.BAD_ADDRESS, "422")),
        (Answer(404, {"reason": "bad_address"}), Rejected(RejectReason.BAD_ADDRESS, "404")),
        (Answer(403, {"reason": "blocked"}), Rejected(RejectReason.BLOCKED, "403")),
        (Answer(409, {"reason": "mailbox_full"}), Rejected(RejectReason.MAILBOX_FULL, "409")),
        (Answer(410, {"reason": "opted_out"}), Rejected(RejectReason.OPTED_OUT, "410")),
        (Answer(500, {"reason": "bad_address"}), InDoubt("500")),
    ],
)
def test_an_answer_has_its_outcome(answer: Answer | Act, outcome: Outcome) -> None:
    with webhook(answer) as (_, channel):
        assert channel.send([message(1)]) == [outcome]


@pytest.mark.parametrize(
    ("answer", "what", "hint"),
    [
        (Answer(401), "webhook does not let us in (401)", "the secret"),
        (Answer(403, b"<html>"), "webhook does not let us in (403)", "the secret"),
        (Answer(404), "there is no webhook API at base_url (404)", "check base_url"),
        (Answer(410), "the webhook wants nothing more (410)", "take the channel out"),
    ],
)
def test_what_an_operator_has_to_do_is_said(answer: Answer, what: str, hint: str) -> None:
    with webhook(answer) as (server, channel):
        with pytest.raises(ChannelUnavailable) as why:
            channel.send([message(1)])
        assert what in str(why.value)
        assert hint in why.value.hint
        assert "t0ken" not in f"{why.value!r} {why.value.hint} {why.value.__context__!r}"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0"]
)
def test_an_address_of_ones_own_network_is_refused_unless_it_is_allowed(host: str) -> None:
    with WebhookServer(key=KEY) as server:
        channel = opened(f"http://{host}:{server.port}/t0ken", allow_private=False)
        with pytest.raises(ChannelUnavailable, match="not public") as why:
            channel.send([message(1)])
        assert why.value.hint == "allow_private: true lets it, where this is meant"
        channel.close()
        assert server.requests == []


# --- what comes back ----------------------------------------------------------------------------------


def signed(body: bytes, at: datetime = NOW, secret: str = SECRET) -> dict[str, str]:
    return sign(SecretStr(secret), "evt-1", body, int(at.timestamp()))


def test_a_signed_answer_is_read() -> None:
    body = b'[{"id": "e1", "key": "k1", "event": "replied", "at": "2026-06-03T11:00:00Z", "text": "Yes"}]'
    channel = opened("https://crm.example")
    channel.verify(signed(body), body, NOW)
    (response,) = channel.parse(body)
    assert (response.kind, response.key, response.text) == (ResponseKind.REPLIED, "k1", "Yes")
    channel.close()


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ({}, "missing or wrong"),
        (signed(b"[]", secret="another"), "missing or wrong"),
        (signed(b"[ ]"), "missing or wrong"),
        (signed(b"[]", at=NOW - timedelta(seconds=301)), "not of the last five minutes"),
        (signed(b"[]", at=NOW + timedelta(seconds=301)), "not of the last five minutes"),
        (signed(b"[]") | {"webhook-timestamp": "x"}, "missing or wrong"),
    ],
)
def test_an_answer_that_was_not_signed_lately_is_refused(headers: dict[str, str], what: str) -> None:
    channel = opened("https://crm.example")
    with pytest.raises(AnswerRefused, match=what):
        channel.verify(headers, b"[]", NOW)
    channel.close()


def test_without_a_key_no_answer_is_taken() -> None:
    channel = opened("https://crm.example", webhook_key=None)
    with pytest.raises(AnswerRefused, match="has no webhook_key"):
        channel.verify(signed(b"[]"), b"[]", NOW)
    channel.close()


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff", b"<html>", b"[" * 100_000])
def test_a_body_that_is_no_list_of_events_is_an_error_without_its_text(body: bytes) -> None:
    channel = opened("https://crm.example")
    with pytest.raises(ValueError, match="not a JSON list of events") as why:
        channel.parse(body)
    assert why.value.__cause__ is None
    channel.close()
