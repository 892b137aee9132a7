"""Webhooks: what is believed is kept to the byte before the provider is told so; nothing else is."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from channels.sandbox import SandboxChannel, SandboxSettings
from holdfast.web.webhooks import LARGEST_BODY
from tests.integration.conftest import Clock
from tests.integration.web.conftest import Outage, Web, on_postgresql, on_sqlite, signed

BODY = b'[{"id": "e1", "key": "7.x", "event": "delivered", "at": "2026-06-03T12:00:00Z"}]\n'


def bodies(web: Web) -> list[bytes]:
    return [letter.body for letter in web.letters()]


def test_a_signed_body_is_kept_to_the_byte(web: Web, clock: Clock) -> None:
    response = web.client.post("/webhooks/email", content=BODY, headers=signed(BODY, clock.now))
    assert response.status_code == 204
    [letter] = web.letters()
    assert (letter.channel, letter.body, letter.received_at) == ("email", BODY, clock.now)
    assert letter.handled_at is None


def test_a_repeated_body_is_taken_again_and_kept_once(web: Web, clock: Clock) -> None:
    for _ in range(3):
        clock.advance(seconds=20)
        response = web.client.post("/webhooks/email", content=BODY, headers=signed(BODY, clock.now))
        assert response.status_code == 204
    assert bodies(web) == [BODY]


@on_sqlite
def test_a_body_that_makes_no_sense_is_kept_for_whoever_has_to_look(web: Web, clock: Clock) -> None:
    body = b"\x00\xff not JSON"
    response = web.client.post("/webhooks/email", content=body, headers=signed(body, clock.now))
    assert response.status_code == 204
    assert bodies(web) == [body]


@on_sqlite
def test_what_the_provider_did_not_sign_lately_is_refused_and_not_kept(web: Web, clock: Clock) -> None:
    for what, headers in {
        "unsigned": {},
        "forged": signed(BODY, clock.now, key="the key of somebody else"),
        "mutated": signed(BODY.replace(b"delivered", b"bounced  "), clock.now),
        "another": signed(BODY, clock.now) | {"webhook-id": "evt2"},
        "replayed": signed(BODY, clock.now - timedelta(hours=1)),
        "early": signed(BODY, clock.now + timedelta(hours=1)),
        "empty": dict.fromkeys(signed(BODY, clock.now), ""),
    }.items():
        response = web.client.post("/webhooks/email", content=BODY, headers=headers)
        assert (response.status_code, response.content) == (403, b""), what
    assert bodies(web) == []


@on_sqlite
def test_a_channel_that_takes_no_answers_is_not_found(web: Web, clock: Clock) -> None:
    for name in ("nowhere", "sms", "..%2Femail", "email%00", "%F0%9F"):
        response = web.client.post(f"/webhooks/{name}", content=BODY, headers=signed(BODY, clock.now))
        assert response.status_code == 404, name
    assert bodies(web) == []


@on_sqlite
def test_neither_bodies_nor_headers_are_logged(
    web: Web, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = b'[{"address": "ann@shop.example"}]'
    for headers in (signed(body, clock.now), signed(body, clock.now, key="a key of somebody else")):
        web.client.post("/webhooks/email", content=body, headers=headers)
        assert "ann@" not in caplog.text
        assert headers["webhook-signature"] not in caplog.text
    assert "a webhook of email was refused: channel 'email': the signature is missing or wrong" in caplog.text
    assert "; sign answers with webhook_key" in caplog.text


@on_sqlite
def test_an_oversized_body_is_refused_before_it_is_read(web: Web) -> None:
    assert _answer(web, f"Content-Length: {LARGEST_BODY + 1}\r\n\r\n".encode()) == 413


@on_sqlite
def test_a_body_of_unknown_length_is_read_no_further_than_the_limit(web: Web) -> None:
    chunk = b"%x\r\n" % 500_000 + b"x" * 500_000 + b"\r\n"
    # Eleven chunks without an end: only a server that counts can answer.
    assert _answer(web, b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 11) == 413
    assert bodies(web) == []


@on_sqlite
def test_the_largest_body_that_is_allowed_is_kept(web: Web, clock: Clock) -> None:
    body = b"x" * LARGEST_BODY
    response = web.client.post("/webhooks/email", content=body, headers=signed(body, clock.now))
    assert response.status_code == 204
    assert bodies(web) == [body]


def test_a_database_that_goes_away_loses_nothing(web: Web, clock: Clock) -> None:
    web.client.headers["Accept"] = "*/*"
    first, headers = b"[]", signed(BODY, clock.now)
    web.client.post("/webhooks/email", content=first, headers=signed(first, clock.now))
    with Outage(web.database):
        response = web.client.post("/webhooks/email", content=BODY, headers=headers)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert response.json() == {"status": "unavailable"}
    repeated = web.client.post("/webhooks/email", content=BODY, headers=headers)
    assert repeated.status_code == 204
    assert bodies(web) == [first, BODY]


@on_postgresql
def test_health_is_the_databases(web: Web) -> None:
    assert web.client.get("/healthz").json() == {"status": "ok"}
    with Outage(web.database):
        assert web.client.get("/healthz").status_code == 503
    assert web.client.get("/healthz").status_code == 200


# --- providers that ask first -----------------------------------------------------------------------


class Asking(SandboxChannel):
    """A sandbox whose provider asks whether the address is ours."""

    def challenge(self, query: Mapping[str, str]) -> str | None:
        return query.get("echo") if query.get("token") == "open sesame" else None


@pytest.fixture
def asked(web: Web, tmp_path: Path) -> Web:
    asking = Asking("email", SandboxSettings.model_validate({"folder": tmp_path / "asking"}))
    web.bench.channels["email"] = asking  # type: ignore[assignment]
    return web


@on_sqlite
def test_who_knows_the_secret_gets_the_challenge_back_as_plain_text(asked: Web) -> None:
    given = {"token": "open sesame", "echo": "<b>1158201444</b>"}
    response = asked.client.get("/webhooks/email", params=given)
    assert (response.status_code, response.text) == (200, "<b>1158201444</b>")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert bodies(asked) == []


@on_sqlite
@pytest.mark.parametrize("query", ["", "token=", "token=wrong&echo=1", "echo=1", "token=open+sesame"])
def test_who_does_not_know_it_is_refused_and_told_nothing(
    asked: Web, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = asked.client.get(f"/webhooks/email?{query}")
    assert (response.status_code, response.content) == (403, b"")
    said = [record.getMessage() for record in caplog.records if record.name.startswith("holdfast")]
    assert said == ["a webhook of email was asked for, without its secret"]


@on_sqlite
def test_a_channel_that_is_not_asked_is_not_found(web: Web) -> None:
    for name in ("email", "sms", "nowhere"):
        response = web.client.get(f"/webhooks/{name}?token=open+sesame&echo=1")
        assert (response.status_code, response.content) == (404, b""), name


def _answer(web: Web, *parts: bytes) -> int:
    address = web.client.base_url.host, web.client.base_url.port or 80
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"POST /webhooks/email HTTP/1.1\r\nHost: h\r\n")
        for part in parts:
            connection.sendall(part)
        return int(connection.recv(1000).split()[1])
