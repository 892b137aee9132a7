"""What Meta's webhooks have in common: the signature, the challenge, and who wants no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from channels.graph import GraphChannel, moment, said
from channels.whatsapp import WhatsAppChannel, WhatsAppSettings
from holdfast.channel import ResponseKind
from holdfast.errors import AnswerRefused
from tests.servers.graph_server import APP_SECRET, PHONE_NUMBER_ID, TOKEN, VERIFY_TOKEN, signed

NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
BODY = '{"object":"page","entry":[{"text":"\\u00e4 \\ud83d\\ude00 é"}]}\r\n'.encode()
ASKED = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "1158201444"}
SIGNATURE = signed(BODY)["x-hub-signature-256"]


def opened(**more: Any) -> GraphChannel:
    settings = {"phone_number_id": PHONE_NUMBER_ID, "access_token": TOKEN, **more}
    return WhatsAppChannel("shop", WhatsAppSettings.model_validate(settings))


@pytest.fixture(scope="module")
def channel() -> Iterator[GraphChannel]:
    found = opened(app_secret=APP_SECRET, verify_token=VERIFY_TOKEN)
    yield found
    found.close()


# --- the signature --------------------------------------------------------------------------------


def test_what_meta_signed_is_believed_whenever_it_comes(channel: GraphChannel) -> None:
    channel.verify(signed(BODY), BODY, NOW)
    channel.verify(signed(BODY), BODY, NOW + timedelta(days=7))
    channel.verify(signed(b""), b"", NOW)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, BODY),
        ({"x-hub-signature": SIGNATURE}, BODY),
        (signed(BODY, "another secret"), BODY),
        (signed(BODY), BODY.rstrip()),
        (signed(BODY), BODY + b" "),
        (signed(BODY), b""),
        (signed(BODY.decode().encode("utf-16")), BODY),
        *(
            ({"x-hub-signature-256": forged}, BODY)
            for forged in (
                "", "sha256=", SIGNATURE[7:], SIGNATURE[:-1], f"{SIGNATURE} ", f"sha1={SIGNATURE[7:]}",
                SIGNATURE.upper(), "sha256=é", "\ud800", "x" * 100_000,
            )
        ),
    ],
    ids=range(17),
)  # fmt: skip
def test_whatever_is_wrong_with_a_signature_is_one_refusal(
    channel: GraphChannel, headers: dict[str, str], body: bytes
) -> None:
    with pytest.raises(AnswerRefused, match="channel 'shop': Meta's signature is missing or wrong"):
        channel.verify(headers, body, NOW)


def test_without_the_apps_secret_nothing_is_believed() -> None:
    with pytest.raises(AnswerRefused, match="'shop' has no app_secret, so it takes no answers"):
        opened().verify(signed(BODY), BODY, NOW)


# --- the challenge --------------------------------------------------------------------------------


def test_meta_hears_its_challenge_when_it_knows_our_token(channel: GraphChannel) -> None:
    assert channel.challenge(ASKED) == "1158201444"


@pytest.mark.parametrize(
    "changes",
    [
        {"hub.verify_token": "another"},
        {"hub.verify_token": ""},
        {"hub.verify_token": VERIFY_TOKEN.upper()},
        {"hub.verify_token": "\ud800é"},
        {"hub.mode": "unsubscribe"},
        {"hub.mode": ""},
    ],
)
def test_who_does_not_know_it_hears_nothing(channel: GraphChannel, changes: dict[str, str]) -> None:
    assert channel.challenge(ASKED | changes) is None


def test_a_question_without_its_parts_is_answered_with_nothing(channel: GraphChannel) -> None:
    for missing in ASKED:
        assert channel.challenge({name: told for name, told in ASKED.items() if name != missing}) is None


def test_a_channel_without_a_token_answers_nobody() -> None:
    assert opened().challenge(ASKED) is None
    assert opened().challenge(ASKED | {"hub.verify_token": ""}) is None


# --- words and times ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["stop", "STOP", " Stop. ", '"stop"', "stop\n", "Stop  All", "UNSUBSCRIBE!", "baja."]
)
def test_a_word_that_ends_it_is_known_however_it_is_written(words: str) -> None:
    assert said(words, ("stop all", "Baja")) is ResponseKind.UNSUBSCRIBED


def test_a_word_brings_it_back() -> None:
    assert said("Start!", ("stop all",)) is ResponseKind.RESUBSCRIBED


@pytest.mark.parametrize("words", ["", "Do not stop", "stop it, I love it", "s t o p", "nonstop", "."])
def test_other_words_are_a_reply(words: str) -> None:
    assert said(words, ("stop all",)) is ResponseKind.REPLIED


@pytest.mark.parametrize("told", [None, "", "soon", [], {}, "9" * 40, 10**40, float("nan"), float("inf")])
def test_what_is_no_time_is_none(told: Any) -> None:
    assert moment(told) is None


def test_times_are_counted_from_1970() -> None:
    assert moment("1780488000") == moment(1780488000) == NOW
    assert moment(1780488000123, timedelta(milliseconds=1)) == NOW + timedelta(milliseconds=123)
