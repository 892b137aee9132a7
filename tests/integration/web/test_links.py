"""Links and pixels: they lead only where our templates point, and say truly what happened."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.delivery import Workspace
from holdfast.tables import to_microseconds
from holdfast.tokens import Signer
from holdfast.web import links
from holdfast.web.links import machine_reason
from holdfast.wiring import open_workspace
from tests.integration.conftest import Clock
from tests.integration.web.conftest import Outage, Web, on_sqlite

SHOP = "https://shop.example/back?from=mail&n=1#top"
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


def track(web: Web, message_id: int, signer: Signer | None = None, days: int = 30) -> str:
    until = (web.bench.clock.now + timedelta(days=days)).date()
    return (signer or web.bench.ws.signer).sign("track", message_id, until)


def link(web: Web, url: str = SHOP) -> str:
    return web.bench.ws.signer.sign_link(url)


def test_a_click_is_recorded_and_leads_on(web: Web, clock: Clock) -> None:
    message = web.message()
    response = web.client.get(f"/c/{track(web, message)}/{link(web)}", headers=BROWSER)
    assert (response.status_code, response.headers["Location"]) == (302, SHOP)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    [answer] = web.answers()
    assert re.fullmatch("[0-9a-f]{32}", answer.pop("event"))
    assert answer == {
        "kind": "clicked",
        "message": message,
        "at": to_microseconds(clock.now),
        "url": SHOP,
        "machine": "",
    }


def test_an_open_is_recorded_and_every_one_of_them(web: Web) -> None:
    message = web.message()
    for _ in range(2):
        response = web.client.get(f"/o/{track(web, message)}.gif", headers=BROWSER)
        assert (response.status_code, response.headers["Content-Type"]) == (200, "image/gif")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.content.startswith(b"GIF89a")
    assert [(each["kind"], each["message"], each["machine"]) for each in web.answers()] == [
        ("opened", message, "")
    ] * 2
    assert len({each["event"] for each in web.answers()}) == 2


@on_sqlite
def test_a_link_that_we_did_not_sign_leads_nowhere(web: Web) -> None:
    message = web.message()
    stranger = Signer(b"the secret of another project, 32")
    good, target, evil = track(web, message), link(web), "https://evil.example"
    for what, path in {
        "another message": f"{message + 1}{good[len(str(message)) :]}/{target}",
        "another address": f"{good}/{link(web, evil).split('.')[0]}.{target.split('.')[1]}",
        "another purpose": f"{web.bench.ws.signer.sign('unsubscribe', message)}/{target}",
        "another project": f"{good}/{stranger.sign_link(evil)}",
        "the wrong way round": f"{target}/{good}",
        "no signature": f"{good}/https:%2F%2Fevil.example",
    }.items():
        response = web.client.get(f"/c/{path}", headers=BROWSER)
        assert response.status_code == 404, what
        assert "Location" not in response.headers
    assert web.letters() == []


@on_sqlite
def test_an_old_link_leads_nowhere_and_says_so_in_the_customers_language(web: Web, clock: Clock) -> None:
    message = web.message(locale="de-AT")
    path = f"/c/{track(web, message, days=3)}/{link(web)}"
    clock.advance(days=3)
    assert web.client.get(path, headers=BROWSER).status_code == 302
    clock.advance(days=1)
    response = web.client.get(path, headers=BROWSER)
    assert response.status_code == 410
    assert "Location" not in response.headers
    assert "Dieser Link ist zu alt" in response.text
    assert "Acme" in response.text
    assert len(web.answers()) == 1


@on_sqlite
def test_a_pixel_that_we_did_not_sign_is_a_picture_and_nothing_else(web: Web, clock: Clock) -> None:
    old = track(web, web.message(), days=1)
    clock.advance(days=2)
    for token in ("x", "1.x", old, web.bench.ws.signer.sign("message", 1)):
        response = web.client.get(f"/o/{token}.gif")
        assert (response.status_code, response.headers["Content-Type"]) == (404, "image/gif")
    assert web.letters() == []


@on_sqlite
def test_letters_of_before_lead_on_while_the_secret_of_links_is_changed_over(
    web: Web, tmp_path: Path
) -> None:
    secrets = {"old": "the secret of last year", "new": "the secret of this year"}

    def project(*blocks: str) -> Workspace:
        root = tmp_path / "-".join(blocks)
        root.mkdir()
        listed = ", ".join(f"{{block: {block}}}" for block in blocks)
        (root / "holdfast.yaml").write_text(f"link_secrets: [{listed}]\n", encoding="utf-8")
        return open_workspace(root, lambda block: secrets[block])

    with (
        closing(project("old")) as before,
        closing(project("new", "old")) as between,
        closing(project("new")) as after,
    ):
        message = web.message()
        path = f"/c/{track(web, message, before.signer)}/{before.signer.sign_link(SHOP)}"
        for ws, status in ((before, 302), (between, 302), (after, 404)):
            web.bench.ws.signer = ws.signer
            assert web.client.get(path, headers=BROWSER).status_code == status
        assert between.signer.sign("track", message) == after.signer.sign("track", message)


@on_sqlite
def test_an_address_cannot_smuggle_a_header(web: Web) -> None:
    smuggler = "https://shop.example/\r\nSet-Cookie: a=b\r\n\r\n<script>"
    response = web.client.get(f"/c/{track(web, web.message())}/{link(web, smuggler)}")
    assert "Set-Cookie" not in response.headers
    assert (
        response.headers["Location"] == "https://shop.example/%0D%0ASet-Cookie:%20a=b%0D%0A%0D%0A%3Cscript%3E"
    )


def test_who_clicks_gets_on_though_the_database_is_away(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    token = track(web, web.message())
    with Outage(web.database):
        response = web.client.get(f"/c/{token}/{link(web)}")
        assert (response.status_code, response.headers["Location"]) == (302, SHOP)
        assert web.client.get(f"/o/{token}.gif").status_code == 200
    assert "lost that a message was clicked" in caplog.text
    assert token not in caplog.text
    assert web.answers() == []


@on_sqlite
def test_who_clicks_does_not_wait_for_a_database_that_is_busy(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(links, "_PATIENCE", 0.05)
    token = track(web, web.message())
    with web.database.write():
        assert web.client.get(f"/c/{token}/{link(web)}").status_code == 302
    assert "did not take in time that a message was clicked" in caplog.text


@on_sqlite
def test_a_look_at_where_a_link_leads_is_a_machines(web: Web) -> None:
    message = web.message()
    response = web.client.head(f"/c/{track(web, message)}/{link(web)}", headers=BROWSER)
    assert (response.status_code, response.headers["Location"]) == (302, SHOP)
    assert [answer["machine"] for answer in web.answers()] == ["head_request"]


@pytest.mark.parametrize(
    ("user_agent", "reason"),
    [
        (BROWSER["User-Agent"], ""),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", ""),
        ("Mozilla/5.0 (Linux; Android 12; CUBOT NOTE 20) AppleWebKit/537.36 Chrome/138.0 Mobile", ""),
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", ""),
        ("Mozilla/5.0", "mail_proxy"),
        ("", "scanner"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "scanner"),
        ("Mozilla/5.0 (Windows NT 10.0) BingPreview/1.0b", "scanner"),
        ("TelegramBot (like TwitterBot)", "scanner"),
        ("Barracuda Sentinel (EE)", "scanner"),
        ("curl/8.14.1", "scanner"),
    ],
)
def test_machines_are_known_by_what_they_call_themselves(user_agent: str, reason: str) -> None:
    assert machine_reason("GET", user_agent) == reason
