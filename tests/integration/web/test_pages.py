"""Pages for customers: what they change, what they never change, and in which language they speak."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from html import unescape
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from holdfast.errors import SettingsError
from holdfast.responses import contact_of
from holdfast.tables import consents
from holdfast.tokens import Purpose
from holdfast.web.wording import SHIPPED, Languages
from tests.integration.conftest import Clock
from tests.integration.web.conftest import MakeWeb, Outage, Web, on_sqlite


def path(web: Web, message_id: int, page: str = "u") -> str:
    purpose: Purpose = "unsubscribe" if page == "u" else "preferences"
    return f"/{page}/{web.bench.ws.signer.sign(purpose, message_id)}"


def granted(web: Web, message_id: int) -> set[str]:
    return {*contact_of(web.bench.ws, message_id).granted}


def evidence(web: Web) -> list[str]:
    with web.database.read() as connection:
        return [*connection.scalars(select(consents.c.evidence).order_by(consents.c.id))]


def shown(response: httpx.Response) -> str:
    """The text of a page, without tags and marks of direction."""
    return re.sub(
        r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>|[\u2068\u2069]", " ", unescape(response.text))
    )


# --- unsubscribing --------------------------------------------------------------------------------


def test_looking_at_the_page_of_unsubscribing_changes_nothing(web: Web) -> None:
    message = web.message()
    response = web.client.get(path(web, message))
    assert response.status_code == 200
    assert "text messages from Acme" in shown(response)
    assert granted(web, message) == {"email", "sms"}
    assert web.client.head(path(web, message)).status_code == 405


def test_the_button_unsubscribes_from_this_kind_of_message_and_again_does_no_harm(web: Web) -> None:
    message = web.message()
    for _ in range(2):
        response = web.client.post(path(web, message))
        assert response.status_code == 200
        assert "You are unsubscribed" in shown(response)
        assert granted(web, message) == {"email"}
    assert evidence(web)[2:] == ["unsubscribe page"]
    assert web.bench.messages(id=message)[0].unsubscribed_at is not None


@pytest.mark.parametrize(
    "form",
    [{"data": {"List-Unsubscribe": "One-Click"}}, {"files": {"List-Unsubscribe": (None, "One-Click")}}],
    ids=["urlencoded", "multipart"],
)
@on_sqlite
def test_a_mail_programs_one_click_needs_no_cookie_and_is_not_redirected(
    web: Web, form: Mapping[str, Mapping[str, str]]
) -> None:
    message = web.message()
    web.client.headers = httpx.Headers()
    response = web.client.post(path(web, message), **form)  # type: ignore[arg-type]
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers
    assert granted(web, message) == {"email"}
    assert evidence(web)[2:] == ["one-click"]


@on_sqlite
def test_who_is_unsubscribed_can_change_their_mind(web: Web, clock: Clock) -> None:
    message = web.message()
    response = web.client.post(path(web, message))
    [preferences] = re.findall(r'href="\.\.(/p/[^"]+)"', response.text)
    clock.advance(seconds=1)
    form = {"shown": ["email", "sms"], "granted": ["email", "sms"]}
    assert "saved" in shown(web.client.post(preferences, data=form))
    assert granted(web, message) == {"email", "sms"}
    clock.advance(days=31)
    assert web.client.get(preferences).status_code == 410


@on_sqlite
def test_a_form_without_end_is_refused(web: Web) -> None:
    message = web.message()
    assert web.client.post(path(web, message), content=b"x" * 100_000).status_code == 413
    assert granted(web, message) == {"email", "sms"}


# --- preferences ----------------------------------------------------------------------------------


def test_preferences_are_saved_and_shown(web: Web, clock: Clock) -> None:
    message = web.message()
    page = web.client.get(path(web, message, "p")).text
    assert re.findall(r'name="granted" value="(\w+)" checked', page) == ["email", "sms"]
    clock.advance(seconds=1)
    response = web.client.post(path(web, message, "p"), data={"shown": ["email", "sms"], "granted": "sms"})
    assert "Your preferences are saved." in shown(response)
    assert re.findall(r'name="granted" value="(\w+)" checked', response.text) == ["sms"]
    assert granted(web, message) == {"sms"}
    assert evidence(web)[2:] == ["preferences page"]


@on_sqlite
def test_preferences_are_only_of_what_the_page_showed(web: Web) -> None:
    message = web.message()
    form = {"shown": ["email", "telegram", "x'--"], "granted": ["telegram", "x'--", "email"]}
    for body in (form, {}, {"granted": "email"}):
        assert web.client.post(path(web, message, "p"), data=body).status_code == 200
    assert web.client.post(path(web, message, "p"), content=b"\xff=%zz&shown").status_code == 200
    assert granted(web, message) == {"email", "sms"}


@on_sqlite
def test_a_customer_who_cannot_be_reached_is_told_so(web: Web) -> None:
    message = web.message()
    web.client.post(path(web, message, "p"), data={"shown": ["email", "sms"]})
    with web.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM addresses")
    assert "has no address to write to you at" in shown(web.client.get(path(web, message, "p")))


def test_a_customer_says_which_messages_they_like_best_where_campaigns_ask_for_it(web: Web) -> None:
    message = web.message()
    link = path(web, message, "p")
    web.bench.campaign()
    assert 'name="preferred"' not in web.client.get(link).text
    web.client.post(link, data={"preferred": "email"})
    assert contact_of(web.bench.ws, message).preferred is None

    web.bench.campaign(send={"prefer": "customer"})
    both = {"shown": ["email", "sms"], "granted": ["email", "sms"]}
    assert 'value="email" selected' not in web.client.get(link).text
    response = web.client.post(link, data={**both, "preferred": "email"})
    assert 'value="email" selected' in response.text
    for tried in ("telegram", "x'--", "email; DROP TABLE customers"):
        web.client.post(link, data={**both, "preferred": tried})
    web.client.post(link, data=both)
    assert contact_of(web.bench.ws, message).preferred == "email"
    web.client.post(link, data={**both, "preferred": ""})
    assert contact_of(web.bench.ws, message).preferred is None
    assert granted(web, message) == {"email", "sms"}


# --- links that do not work -----------------------------------------------------------------------


@on_sqlite
def test_a_link_that_we_did_not_sign_for_this_changes_nothing(web: Web) -> None:
    message = web.message()
    token = path(web, message)[3:]
    old = web.bench.ws.signer.sign("preferences", message, web.bench.clock.now.date() - timedelta(days=1))
    for tried, status in [
        (f"/u/{token[:-1]}", 404),
        (f"/u/{message + 1}{token[len(str(message)) :]}", 404),
        (f"/p/{token}", 404),
        ("/u/<script>alert(1)</script>", 404),
        ("/u/%00%ff", 404),
        (path(web, message + 1), 404),
        (f"/p/{old}", 410),
    ]:
        for method in ("GET", "POST"):
            response = web.client.request(method, tried)
            assert response.status_code == status, tried
            assert "<script" not in response.text
    assert granted(web, message) == {"email", "sms"}


def test_a_database_that_is_away_is_said_to_the_customer_and_nothing_is_claimed(web: Web) -> None:
    message = web.message()
    with Outage(web.database):
        response = web.client.post(path(web, message), headers={"Accept-Language": "fa-IR,fa;q=0.9"})
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert "لطفاً کمی بعد دوباره امتحان کنید" in shown(response)
    assert granted(web, message) == {"email", "sms"}


@on_sqlite
def test_what_nobody_foresaw_is_a_page_too(web: Web) -> None:
    message = web.message()
    with web.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE responses")
    response = web.client.post(path(web, message))
    assert (response.status_code, "Please try again" in shown(response)) == (503, True)
    assert granted(web, message) == {"email", "sms"}


# --- languages and looks --------------------------------------------------------------------------


@on_sqlite
def test_a_page_speaks_the_customers_language_else_the_browsers_else_the_businesss(make_web: MakeWeb) -> None:
    web = make_web(business={"locale": "de-DE"})
    for locale, browser, language, direction in [
        ("de-AT", "en", "de", "ltr"),
        ("ar-EG", "en", "ar", "rtl"),
        ("fa", "en", "fa", "rtl"),
        ("sw", "en;q=1,de", "en", "ltr"),
        (None, "ar-SA,en", "ar", "rtl"),
        (None, "", "de", "ltr"),
        ("xx-nonsense", '"><script>', "de", "ltr"),
    ]:
        link = path(web, web.message(locale=locale))
        response = web.client.get(link, headers={"Accept-Language": browser})
        assert f'<html lang="{language}" dir="{direction}">' in response.text, locale


@on_sqlite
def test_a_page_may_load_nothing_run_nothing_and_be_framed_by_nobody(web: Web) -> None:
    for tried in (path(web, web.message()), "/u/forged"):
        response = web.client.get(tried)
        policy = response.headers["Content-Security-Policy"]
        [style] = re.findall("<style>(.*?)</style>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"


@on_sqlite
def test_a_brand_is_text_and_never_markup(make_web: MakeWeb) -> None:
    brand = {"name": "<script>alert('{0}')</script> & Söhne", "postal_address": "<img src=x>"}
    web = make_web(brand=brand)
    text = web.client.get(path(web, web.message())).text
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(&#39;{0}&#39;)&lt;/script&gt; &amp; Söhne" in text


@on_sqlite
def test_a_projects_own_pages_and_texts_go_before_ours(make_web: MakeWeb, tmp_path: Path) -> None:
    own = tmp_path / "templates" / "pages"
    own.mkdir(parents=True)
    (own / "sw.toml").write_text('[unsubscribe]\nbutton = "Jiondoe"\n')
    (own / "en.toml").write_text('[kinds]\nsms = "pigeons"\n')
    (own / "unsubscribed.html").write_text("Gone, {{ brand.name }}.")
    web = make_web()
    message = web.message(locale="sw")
    text = shown(web.client.get(path(web, message)))
    assert "Jiondoe" in text
    assert "no more pigeons from Acme" in text
    assert web.client.post(path(web, message)).text == "Gone, Acme."


def test_texts_that_cannot_be_read_are_told_at_the_start(tmp_path: Path) -> None:
    for text in (b"[kinds", b"kinds = 1", b"[kinds]\nsms = 1", b"\xff"):
        (tmp_path / "fr.toml").write_bytes(text)
        with pytest.raises(SettingsError, match=r"fr\.toml"):
            Languages(tmp_path, "en")


def test_every_language_says_everything_with_the_same_names_in_it() -> None:
    languages = Languages(SHIPPED, "en")
    english = languages.best(["en"]).texts
    for file in SHIPPED.glob("*.toml"):
        texts = tomllib.loads(file.read_text(encoding="utf-8"))
        assert {name: set(section) for name, section in texts.items()} == {
            name: set(section) for name, section in english.items()
        }
        for name, section in texts.items():
            for key, text in section.items():
                assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", english[name][key]))
