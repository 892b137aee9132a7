"""Answers to the sandbox: what is believed, and what it is read as."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from channels.sandbox import SandboxChannel, SandboxSettings
from holdfast.channel import Receiver, RejectReason, Response, ResponseKind
from holdfast.errors import AnswerRefused

NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
KEY = "a key of the tests"
BODY = b"[]"


def signature(body: bytes = BODY, at: datetime = NOW, id_: str = "evt-1", key: str = KEY) -> str:
    signed = f"{id_}.{int(at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key.encode(), signed, "sha256")).decode()


def headers(at: datetime = NOW, **changes: str) -> dict[str, str]:
    return {
        "webhook-id": "evt-1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature(at=at),
    } | {name.replace("_", "-"): value for name, value in changes.items()}


@pytest.fixture
def channel(tmp_path: Path) -> SandboxChannel:
    settings = SandboxSettings.model_validate({"folder": tmp_path, "webhook_key": KEY})
    return SandboxChannel("email", settings)


@pytest.mark.parametrize("minutes", [-5, 0, 5])
def test_a_body_signed_lately_is_believed(channel: SandboxChannel, minutes: int) -> None:
    assert isinstance(channel, Receiver)
    channel.verify(headers(NOW + timedelta(minutes=minutes)), BODY, NOW)


def test_one_good_signature_of_several_is_enough(channel: SandboxChannel) -> None:
    both = f"v1,{'A' * 44} {signature()}"
    channel.verify(headers(webhook_signature=both), BODY, NOW)


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ({}, BODY),
        (headers(), b"[ ]"),
        (headers(webhook_id="evt-2"), BODY),
        (headers(webhook_timestamp=str(int(NOW.timestamp()) + 1)), BODY),
        (headers(webhook_signature=signature(key="another key")), BODY),
        (headers(webhook_signature=signature().removeprefix("v1,")), BODY),
        (headers(webhook_signature="v1,é ñ"), BODY),
    ],
    ids=["nothing", "body", "id", "timestamp", "key", "scheme", "not ascii"],
)
def test_what_the_key_did_not_sign_is_refused(
    channel: SandboxChannel, given: dict[str, str], body: bytes
) -> None:
    with pytest.raises(AnswerRefused, match="channel 'email': the signature is missing or wrong"):
        channel.verify(given, body, NOW)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_what_was_signed_long_ago_or_ahead_is_refused(channel: SandboxChannel, seconds: int) -> None:
    with pytest.raises(AnswerRefused, match="not of the last five minutes"):
        channel.verify(headers(NOW + timedelta(seconds=seconds)), BODY, NOW)


def test_without_a_key_nothing_is_believed(tmp_path: Path) -> None:
    with pytest.raises(AnswerRefused, match="has no webhook_key"):
        SandboxChannel("email", SandboxSettings(folder=tmp_path)).verify(headers(), BODY, NOW)


def test_events_become_responses_and_unknown_ones_are_left_out(channel: SandboxChannel) -> None:
    events = [
        {"id": "1", "key": "7.sig", "event": "delivered", "at": "2026-06-03T14:00:00+02:00"},
        {
            "id": "2",
            "key": "8.sig",
            "event": "bounced",
            "at": int(NOW.timestamp()),
            "reason": "bad_address",
            "permanent": True,
        },
        {"id": "3", "key": "9.sig", "event": "bounced", "at": "2026-06-03T12:00:00Z", "reason": "moon"},
        {"id": "4", "key": "9.sig", "event": "levitated", "at": "2026-06-03T12:00:00Z"},
        {"id": "6", "key": "9.sig", "event": "answered", "at": "2026-06-03T12:00:00Z"},
        {"id": "5", "key": "9.sig", "event": "replied", "at": "2026-06-03T12:00:00Z", "text": "Danke!"},
        {"id": "7", "provider_id": "a.txt", "event": "mentioned", "at": "2026-06-03T12:00:00Z", "text": "Ha"},
    ]
    assert channel.parse(json.dumps(events).encode()) == [
        Response(ResponseKind.DELIVERED, "1", NOW, key="7.sig"),
        Response(
            ResponseKind.BOUNCED, "2", NOW, key="8.sig", reason=RejectReason.BAD_ADDRESS, permanent=True
        ),
        Response(ResponseKind.BOUNCED, "3", NOW, key="9.sig", reason=RejectReason.UNKNOWN),
        Response(ResponseKind.REPLIED, "5", NOW, key="9.sig", text="Danke!"),
        Response(ResponseKind.MENTIONED, "7", NOW, provider_id="a.txt", text="Ha"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b'[{"id": "1"}]',
        json.dumps([{"id": "1", "key": "ann@customer.example", "event": "delivered", "at": "soon"}]).encode(),
        json.dumps([{"id": "1", "key": "7", "event": "delivered", "at": "2026-06-03T12:00:00"}]).encode(),
    ],
    ids=["empty", "mapping", "bytes", "fields", "time", "no zone"],
)
def test_a_body_that_cannot_be_read_is_an_error_without_its_data(channel: SandboxChannel, body: Any) -> None:
    with pytest.raises(ValueError, match=r"^not a JSON list of events with id, event and at$"):
        channel.parse(body)
