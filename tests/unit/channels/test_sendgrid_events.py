from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from channels import open_channel
from channels.sendgrid_events import read
from channels.sendgrid_signature import NEWEST, OLDEST, PublicKeys
from holdfast.channel import RejectReason, Response, ResponseKind
from holdfast.errors import AnswerRefused, SettingsError
from holdfast.settings import ChannelConfig
from tests.servers.sendgrid_server import SendgridServer

NOW = datetime(2026, 6, 3, 15, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BODY = b'[{"event":"delivered","email":"ann@example.com"}]\r\n'
SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"


@pytest.fixture(scope="module")
def sendgrid() -> SendgridServer:
    return SendgridServer()


# --- whether it is SendGrid's ---------------------------------------------------------------------


@pytest.mark.parametrize("sent_at", [NOW, NOW - OLDEST, NOW + NEWEST])
def test_what_sendgrid_signed_lately_is_believed(sendgrid: SendgridServer, sent_at: datetime) -> None:
    PublicKeys(sendgrid.webhook_key).verify(sendgrid.signed(BODY, sent_at), BODY, NOW)


@pytest.mark.parametrize("sent_at", [NOW - OLDEST - SECOND, NOW + NEWEST + SECOND])
def test_a_signature_that_is_old_or_of_the_future_is_refused(
    sendgrid: SendgridServer, sent_at: datetime
) -> None:
    with pytest.raises(AnswerRefused, match="too old, or of the future"):
        PublicKeys(sendgrid.webhook_key).verify(sendgrid.signed(BODY, sent_at), BODY, NOW)


@pytest.mark.parametrize(
    "forge",
    [
        lambda headers: {},
        lambda headers: {TIMESTAMP: headers[TIMESTAMP]},
        lambda headers: {SIGNATURE: headers[SIGNATURE]},
        lambda headers: {**headers, SIGNATURE: ""},
        lambda headers: {**headers, SIGNATURE: "not base64!"},
        lambda headers: {**headers, SIGNATURE: "é"},
        lambda headers: {**headers, SIGNATURE: b64encode(b"0" * 70).decode()},
        lambda headers: {**headers, SIGNATURE: headers[SIGNATURE][:-8]},
        lambda headers: {**headers, TIMESTAMP: str(int(headers[TIMESTAMP]) + 1)},
        lambda headers: {**headers, TIMESTAMP: "9" * 40},
        lambda headers: {**headers, TIMESTAMP: "now"},
        lambda headers: {**headers, TIMESTAMP: "\ud800"},
    ],
    ids=range(12),
)
def test_whatever_is_wrong_with_a_signature_is_one_refusal(
    sendgrid: SendgridServer, forge: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    with pytest.raises(AnswerRefused, match="signature is missing or wrong"):
        PublicKeys(sendgrid.webhook_key).verify(forge(sendgrid.signed(BODY, NOW)), BODY, NOW)


@pytest.mark.parametrize(
    "body", [BODY.rstrip(), BODY + b" ", b"", b"\xff" + BODY, BODY.replace(b"ann", b"bob")]
)
def test_other_bytes_than_those_signed_are_refused(sendgrid: SendgridServer, body: bytes) -> None:
    with pytest.raises(AnswerRefused, match="signature is missing or wrong"):
        PublicKeys(sendgrid.webhook_key).verify(sendgrid.signed(BODY, NOW), body, NOW)


def test_another_accounts_signature_is_refused(sendgrid: SendgridServer) -> None:
    with pytest.raises(AnswerRefused, match="signature is missing or wrong"):
        PublicKeys(sendgrid.webhook_key).verify(SendgridServer().signed(BODY, NOW), BODY, NOW)


def _shown(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return b64encode(der).decode()


@pytest.mark.parametrize(
    "text", ["nonsense", "\ud800", "AAAA", _shown(rsa.generate_private_key(65537, 2048))], ids=range(4)
)
def test_a_webhook_key_that_is_none_is_told_when_the_channel_is_opened(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        open_channel(
            "email", ChannelConfig(adapter="sendgrid"), {"api_key": "SG.x", "webhook_key": text or None}
        )
    assert str(error.value) == "channel 'email': webhook_key: not a public key as SendGrid shows it"


def test_without_a_webhook_key_nothing_is_believed(sendgrid: SendgridServer) -> None:
    channel: Any = open_channel("email", ChannelConfig(adapter="sendgrid"), {"api_key": "SG.x"})
    with pytest.raises(AnswerRefused, match="channel 'email' has no webhook_key"):
        channel.verify(sendgrid.signed(BODY, NOW), BODY, NOW)
    channel.close()


# --- what it says ---------------------------------------------------------------------------------


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "email": "ann@example.com",
        "timestamp": 1780498800,
        "event": kind,
        "sg_event_id": "ev-1",
        "sg_message_id": "Q-zNabc_1.recvd-5f54b5d587-pczjm-1-67BADEEA-6.0",
        "category": ["winback"],
        "hf": "17.signature",
        **more,
    }


def parsed(*events: Any) -> list[Response]:
    return list(read(json.dumps(events).encode()).responses)


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        (event("processed"), {"kind": ResponseKind.ACCEPTED}),
        (event("deferred", attempt="5", response="400 later"), {"kind": ResponseKind.DEFERRED}),
        (event("delivered", response="250 OK"), {"kind": ResponseKind.DELIVERED}),
        (event("open"), {"kind": ResponseKind.OPENED}),
        (event("open", sg_machine_open=False), {"kind": ResponseKind.OPENED}),
        (event("open", sg_machine_open=True), {"kind": ResponseKind.OPENED, "machine": "sendgrid"}),
        (event("click", url="https://x.example"), {"kind": ResponseKind.CLICKED, "url": "https://x.example"}),
        (event("spamreport"), {"kind": ResponseKind.COMPLAINED, "address": "ann@example.com"}),
        (event("unsubscribe"), {"kind": ResponseKind.UNSUBSCRIBED}),
        (event("group_unsubscribe", asm_group_id=1), {"kind": ResponseKind.UNSUBSCRIBED}),
        (event("group_resubscribe", asm_group_id=1), {"kind": ResponseKind.RESUBSCRIBED}),
    ],
)
def test_every_event_of_a_message_has_its_kind(told: dict[str, Any], meant: dict[str, Any]) -> None:
    assert parsed(told) == [
        Response(
            **{
                "event_id": "ev-1",
                "occurred_at": NOW,
                "key": "17.signature",
                "provider_id": "Q-zNabc_1",
                **meant,
            }
        )
    ]


@pytest.mark.parametrize(
    ("told", "reason", "permanent"),
    [
        (event("bounce", type="bounce"), RejectReason.BAD_ADDRESS, True),
        (event("bounce"), RejectReason.BAD_ADDRESS, True),
        (
            event("bounce", type="bounce", bounce_classification="Invalid Address"),
            RejectReason.BAD_ADDRESS,
            True,
        ),
        (event("bounce", type="blocked"), RejectReason.BLOCKED, False),
        (event("bounce", type="expired"), RejectReason.UNKNOWN, False),
        (event("bounce", type="blocked", bounce_classification="Content"), RejectReason.CONTENT, False),
        (event("bounce", type="blocked", bounce_classification="Reputation"), RejectReason.BLOCKED, False),
        (event("dropped", reason="Bounced Address"), RejectReason.BAD_ADDRESS, True),
        (event("dropped", reason="Invalid"), RejectReason.BAD_ADDRESS, True),
        (event("dropped", reason="Unsubscribed Address"), RejectReason.OPTED_OUT, False),
        (event("dropped", reason="Spam Reporting Address"), RejectReason.OPTED_OUT, False),
        (event("dropped", reason="Spam Content (if spam checker app enabled)"), RejectReason.UNKNOWN, False),
        (event("dropped", reason="Spam Content"), RejectReason.CONTENT, False),
        (event("dropped"), RejectReason.UNKNOWN, False),
        (event("dropped", reason=7), RejectReason.UNKNOWN, False),
    ],
)
def test_what_was_not_delivered_says_why_and_whether_the_address_is_dead(
    told: dict[str, Any], reason: RejectReason, permanent: bool
) -> None:
    (response,) = parsed(told)
    assert (response.kind, response.reason, response.permanent) == (ResponseKind.BOUNCED, reason, permanent)


def test_the_address_is_told_where_no_key_says_whose_it_is_and_where_it_may_be_suppressed() -> None:
    late = event("bounce", type="bounce")
    del late["hf"], late["sg_message_id"]
    known, unknown, *suppressing = parsed(event("delivered"), late, event("bounce"), event("spamreport"))
    assert (known.key, known.address) == ("17.signature", "")
    assert (unknown.key, unknown.provider_id, unknown.address) == ("", "", "ann@example.com")
    assert [(told.key, told.address) for told in suppressing] == [("17.signature", "ann@example.com")] * 2


def test_an_event_without_an_id_is_named_for_its_content() -> None:
    one, other = event("open"), event("open", ip="192.0.2.1")
    del one["sg_event_id"], other["sg_event_id"]
    reordered = dict(reversed(one.items()))
    first, again, second = (response.event_id for response in parsed(one, reordered, other))
    assert first == again
    assert first != second


def test_malformed_and_unknown_events_cost_the_good_ones_nothing() -> None:
    bad: list[Any] = [
        None,
        7,
        "event",
        [],
        {},
        {"event": "delivered"},
        event("account_status_change"),
        event("brand_new"),
        event("delivered", timestamp="soon"),
        event("delivered", timestamp=None),
        event("delivered", timestamp=10**30),
        event("delivered", timestamp=float("nan")),
        event("delivered", timestamp=float("inf")),
        {**event("delivered"), "event": ["delivered"]},
    ]
    assert [response.event_id for response in parsed(*bad, event("delivered"), *bad)] == ["ev-1"]


def test_what_becomes_of_the_account_is_told_in_sendgrids_word_and_no_more() -> None:
    told = [
        {"event": "account_status_change", "timestamp": 1780498800, "type": "compliance_suspend"},
        {"event": "account_status_change", "type": "because ann@example.com complained"},
        {"event": "account_status_change"},
        event("delivered"),
        None,
    ]
    said = read(json.dumps(told).encode()).announcements
    assert [re.search(r"\((.*)\)", each)[1] for each in said] == [  # type: ignore[index]
        "compliance_suspend",
        "it does not say how",
        "it does not say how",
    ]
    assert parsed(*told[:3]) == []


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'"x"', b"null", b"[", b"\xff\xfe", b"ann@example.com", b"[" * 100_000, b"1" * 5_000]
)
def test_a_body_that_is_no_list_is_an_error_without_its_text(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^no (JSON|list of events)$") as error:
        read(body)
    assert error.value.__suppress_context__ or error.value.__context__ is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    sorted(event("x", url="", type="", reason="", bounce_classification="", sg_machine_open=1))
)


@settings(max_examples=50)
@given(st.lists(JSON | st.dictionaries(FIELDS, JSON | st.sampled_from(["bounce", "open", "1780498800"]))))
def test_no_garbage_breaks_the_parser_or_loses_its_neighbours(garbage: list[Any]) -> None:
    responses = parsed(*garbage, event("delivered", sg_event_id="the last"))
    assert responses[-1].event_id == "the last"
    assert all(isinstance(response.event_id, str) and response.event_id for response in responses)


@given(st.binary())
def test_any_bytes_are_responses_or_a_value_error(body: bytes) -> None:
    try:
        assert read(body).responses is not None
    except ValueError:
        return
