"""The pages for customers in a real browser: wide, on a phone, right to left, in the dark, by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import insert

from holdfast.responses import contact_of
from holdfast.store.database import Database
from holdfast.tables import consents, metadata
from holdfast.web import create_app
from tests.integration.conftest import Bench, Clock, Shop, make_bench
from tests.servers.web_server import serving

PHONE = {"width": 390, "height": 844}
LANGUAGES = {"en": "Unsubscribe", "de": "Abmelden", "ar": "إلغاء الاشتراك", "fa": "لغو اشتراک"}


@dataclass
class Site:
    """A project behind its web app, with a message to a customer of each language."""

    bench: Bench
    url: str
    messages: dict[str, int]
    letters: dict[str, int]

    def link(self, page: str, locale: str = "en") -> str:
        purpose: Any = {"u": "unsubscribe", "p": "preferences"}[page]
        return f"{self.url}/{page}/{self.bench.ws.signer.sign(purpose, self.messages[locale])}"

    def letter(self, locale: str = "en") -> str:
        """The link of the letter that asks a customer to confirm, in its last week."""
        letter = self.bench.messages(id=self.letters[locale])[0]
        until = datetime.now(UTC).date() + timedelta(days=7)
        token = self.bench.ws.signer.sign_confirmation(letter.id, f"telegram{letter.customer_id}", until)
        return f"{self.url}/y/{token}"

    def granted(self, locale: str = "en") -> set[str]:
        return {*contact_of(self.bench.ws, self.messages[locale]).granted}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root: Path = tmp_path_factory.mktemp("site")
    database = Database(root / "holdfast.db")
    metadata.create_all(database.engine)
    clock = Clock(datetime.now(UTC))
    shop = Shop(database, clock)
    brand = {"name": "Acme Tea & Söhne", "postal_address": "1 High St, 10115 Berlin"}
    bench = make_bench(database, shop, clock, root, brand=brand)
    for locale in LANGUAGES:
        shop.customers(1, kinds=("sms", "email", "telegram"), locale=locale)
    bench.campaign(send={"prefer": "customer"})
    bench.run()
    messages = {locale: row.id for locale, row in zip(LANGUAGES, bench.messages(), strict=True)}
    letters = _letters(bench)
    with serving(create_app(bench.ws, lambda: datetime.now(UTC))) as url:
        yield Site(bench, url, messages, letters)
    database.close()


def _letters(bench: Bench) -> dict[str, int]:
    """A letter to a customer of each language who is to confirm a yes, by the channel that is at hand."""
    bench.edit("ask.telegram.txt", "{% block body %}{{ links.confirm }}{% endblock %}")
    steps = [{"id": "ask", "channels": ["telegram"], "template": "ask"}]
    bench.campaign("confirm", purpose="confirmation", steps=steps)
    ids = {
        locale: bench.shop.customers(1, kinds=("telegram",), consent=None, locale=locale)[0]
        for locale in LANGUAGES
    }
    with bench.ws.database.write() as connection:
        said = {
            "kind": "telegram",
            "purpose": "marketing",
            "granted": False,
            "pending": True,
            "evidence": "test",
        }
        rows = [{"customer_id": id_, "recorded_at": bench.clock.now, **said} for id_ in ids.values()]
        connection.execute(insert(consents), rows)
    bench.clock.advance(seconds=1)
    bench.run("confirm", "c1")
    of_customer = {
        row.customer_id: row.id for row in bench.messages(purpose="confirmation", state="accepted")
    }
    return {locale: of_customer[id_] for locale, id_ in ids.items()}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page without JavaScript, as every customer may have switched it off; no complaint in its console."""
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    yield page
    context.close()
    assert [text for text in complaints if "favicon" not in text] == []


def test_a_customer_unsubscribes_and_chooses_again_by_keyboard_alone(site: Site, page: Page) -> None:
    page.goto(site.link("u"))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    assert page.get_by_role("heading", level=1).inner_text() == "You are unsubscribed"
    assert site.granted() == {"email", "telegram"}
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("group", name="Your preferences").wait_for()
    assert not page.get_by_role("checkbox", name="text messages").is_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.get_by_role("checkbox", name="Telegram messages").uncheck()
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("status").inner_text() == "Your preferences are saved."
    assert page.get_by_role("checkbox", name="Telegram messages").is_checked() is False
    assert "telegram" not in site.granted()


YES = {"en": "Yes, please", "de": "Ja, gerne", "ar": "نعم", "fa": "بله"}


@pytest.mark.parametrize("locale", LANGUAGES)
def test_a_yes_is_confirmed_by_keyboard_in_every_language(site: Site, page: Page, locale: str) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(site.letter(locale))
    contact = contact_of(site.bench.ws, site.letters[locale])
    assert (contact.granted, contact.pending) == (set(), {"telegram"})
    assert page.get_by_role("button", name=YES[locale], exact=True).is_visible()
    assert page.locator("html").get_attribute("dir") == ("rtl" if locale in ("ar", "fa") else "ltr")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    assert contact_of(site.bench.ws, site.letters[locale]).granted == {"telegram"}
    page.reload()  # which posts once more
    assert page.get_by_role("status").is_visible()


def test_a_customer_chooses_what_they_like_best(site: Site, page: Page) -> None:
    page.goto(site.link("p", "de"))
    page.get_by_label("Was ist Ihnen am liebsten?").select_option("Telegram-Nachrichten")
    page.get_by_role("button", name="Speichern").click()
    assert page.get_by_label("Was ist Ihnen am liebsten?").input_value() == "telegram"
    assert contact_of(site.bench.ws, site.messages["de"]).preferred == "telegram"


@pytest.mark.parametrize("locale", LANGUAGES)
def test_a_page_fits_a_small_phone_and_runs_the_languages_way(
    site: Site, browser: Browser, locale: str
) -> None:
    page = browser.new_page(viewport={"width": 320, "height": 640})
    page.goto(site.link("u", locale))
    assert page.get_by_role("button", name=LANGUAGES[locale], exact=True).is_visible()
    assert fits(page)
    page.goto(site.link("p", locale))
    assert fits(page)
    box = page.get_by_role("checkbox").first.bounding_box()
    assert box is not None
    assert (box["x"] > 160) is (locale in ("ar", "fa"))
    page.close()


def fits(page: Page) -> bool:
    """Nothing sticks out at the side, and the button is large enough for a thumb."""
    box = page.get_by_role("button").bounding_box()
    width = page.evaluate("document.documentElement.scrollWidth")
    return box is not None and box["height"] >= 44 and width <= 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(site: Site, browser: Browser, scheme: Any) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(site.link("u"))
    pairs = {"header": "body", "h1": "main", "p": "main", "a": "main", "button": "button", "footer": "body"}
    for text, behind in pairs.items():
        ink = page.locator(text).first.evaluate("e => getComputedStyle(e).color")
        paper = page.locator(behind).first.evaluate("e => getComputedStyle(e).backgroundColor")
        assert contrast(ink, paper) >= 4.5, text
    page.close()


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours `rgb(r, g, b)`, by WCAG 2.2."""

    def luminance(colour: str) -> float:
        channels = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)
