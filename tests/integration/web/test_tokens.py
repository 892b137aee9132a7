"""Bearer tokens: each opens what its scopes say, and nothing else."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from holdfast.errors import SettingsError
from holdfast.web import create_app
from tests.integration.conftest import Clock
from tests.integration.web.conftest import TOKEN, MakeWeb, Web, on_sqlite

pytestmark = on_sqlite

OLD, METRICS = "the shop's token of before", "a token of Prometheus"
TOKENS = {
    "shop": {"token": [{"env": "SHOP_TOKEN"}, {"env": "OLD_TOKEN"}], "scopes": ["orders", "lines"]},
    "prometheus": {"token": {"env": "METRICS_TOKEN"}, "scopes": "metrics"},
}


@pytest.fixture
def web(make_web: MakeWeb, monkeypatch: pytest.MonkeyPatch) -> Web:
    for name, token in (("SHOP_TOKEN", TOKEN), ("OLD_TOKEN", OLD), ("METRICS_TOKEN", METRICS)):
        monkeypatch.setenv(name, token)
    return make_web(web={"tokens": TOKENS})


def asked(web: Web, path: str, authorization: str | None) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    if path == "/metrics":
        return web.client.get(path, headers=headers)
    return web.client.post(path, content=b"[]", headers=headers)


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/api/orders", TOKEN, 200),
        ("/api/lines", TOKEN, 200),
        ("/api/orders", OLD, 200),
        ("/metrics", METRICS, 200),
        ("/metrics", TOKEN, 403),
        ("/api/orders", METRICS, 403),
    ],
)
def test_a_token_opens_what_its_scopes_say_and_the_answer_names_what_is_missing(
    web: Web, path: str, token: str, status: int
) -> None:
    response = asked(web, path, f"Bearer {token}")
    assert response.status_code == status
    if status == 403:
        scope = path.rpartition("/")[2]
        assert response.json()["detail"] == f"this token has not the scope `{scope}`"


@pytest.mark.parametrize("path", ["/api/orders", "/metrics"])
def test_without_a_token_that_is_known_nothing_is_read(web: Web, path: str) -> None:
    wrong = ("-", "wrong", TOKEN.upper(), TOKEN + "ß", TOKEN[:-1])
    for authorization in (None, TOKEN, f"Basic {TOKEN}", *(f"Bearer {token}" for token in wrong)):
        response = asked(web, path, authorization)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert response.json() == {"detail": "a valid bearer token is needed"}


def test_what_no_token_has_the_scope_for_is_closed(web: Web) -> None:
    for authorization in (None, f"Bearer {TOKEN}"):
        response = asked(web, "/api/events", authorization)
        assert response.status_code == 403
        assert response.json()["detail"] == "closed: no token under web.tokens has the scope `events`"


def test_without_tokens_all_is_closed(make_web: MakeWeb) -> None:
    web = make_web()
    assert [asked(web, path, None).status_code for path in ("/api/orders", "/metrics")] == [403, 403]


def test_a_token_that_is_nowhere_is_told_at_the_start(
    web: Web, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLD_TOKEN")
    with pytest.raises(SettingsError, match="environment variable OLD_TOKEN is not set"):
        create_app(web.bench.ws, clock)


@pytest.mark.parametrize("token", ["fifteen letters", "sixteen and more ß", "sixteen letters\nand a line"])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_told_at_the_start(
    web: Web, clock: Clock, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("OLD_TOKEN", token)
    with pytest.raises(SettingsError) as error:
        create_app(web.bench.ws, clock)
    assert "web.tokens.shop" in str(error.value)
    assert "environment variable OLD_TOKEN" in str(error.value)
    assert token not in str(error.value) + error.value.hint


def test_no_log_shows_a_token(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpx")  # which who serves the app keeps quiet
    for token in (TOKEN, "a token of nobody at all"):
        asked(web, "/api/orders", f"Bearer {token}")
    assert "/api/orders" in caplog.text
    assert TOKEN not in caplog.text
    assert "a token of nobody" not in caplog.text
