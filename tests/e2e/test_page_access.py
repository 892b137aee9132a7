"""The pages for customers, for everybody: axe-core, keyboard, small screens, large letters, any colours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from holdfast.web.wording import SHIPPED
from tests.e2e.customer_pages import SIGHTS, Site

# A language of each direction, the one with the longest words.
TONGUES = ("ar", "de")
SMALL, PHONE, DESKTOP = (320, 640), (390, 844), (1280, 800)
THUMB = 44  # pixels
# WCAG 2.2 AA and what axe calls best practices; once as a whole, then what colours and widths change.
WHOLE = {
    "type": "tag",
    "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
LOOKS = {"type": "rule", "values": ["color-contrast", "target-size", "link-in-text-block"]}


@pytest.fixture(scope="module")
def visitors(browser: Browser) -> Iterator[dict[str, Page]]:
    """A page for each of these languages: its browser speaks it, and lets axe in."""
    contexts = {locale: browser.new_context(locale=locale, bypass_csp=True) for locale in TONGUES}
    yield {locale: context.new_page() for locale, context in contexts.items()}
    for context in contexts.values():
        context.close()


@pytest.fixture(scope="module", params=SIGHTS.values(), ids=SIGHTS)
def seen(request: pytest.FixtureRequest, site: Site, visitors: dict[str, Page]) -> dict[str, Page]:
    """One sight after the other, in each language; all tests look at it before the next one comes."""
    for locale, page in visitors.items():
        size(page, PHONE)
        page.emulate_media(color_scheme="light", forced_colors="none")
        request.param.visit(page, site, locale)
    return visitors


def size(page: Page, of: tuple[int, int]) -> None:
    page.set_viewport_size({"width": of[0], "height": of[1]})


def test_every_page_has_been_looked_at() -> None:
    templates = {path.name for path in SHIPPED.glob("*.html")} - {"layout.html"}
    assert {sight.template for sight in SIGHTS.values()} == templates


# --- axe ------------------------------------------------------------------------------------------


def violations(page: Page, rules: dict[str, Any]) -> list[str]:
    """What axe finds, a line each; also text whose contrast it cannot tell."""
    options = {"runOnly": rules, "resultTypes": ["violations", "incomplete"]}
    found = page.evaluate("options => axe.run(options)", options)
    doubtful = [rule for rule in found["incomplete"] if rule["id"] == "color-contrast"]
    return [
        f"{rule['id']}: {node['html']} {node['failureSummary']}"
        for rule in (*found["violations"], *doubtful)
        for node in rule["nodes"]
    ]


def test_axe_finds_nothing(seen: dict[str, Page]) -> None:
    for locale, page in seen.items():
        assert page.locator("html").get_attribute("lang") == locale
        page.evaluate(AXE_SCRIPT)
        assert violations(page, WHOLE) == []
    # Colours and widths are the same in both.
    page.emulate_media(color_scheme="dark")
    assert violations(page, LOOKS) == []
    size(page, DESKTOP)
    assert violations(page, LOOKS) == []


# --- room -----------------------------------------------------------------------------------------

STICKING_OUT = """() => [document.documentElement, ...document.querySelectorAll('body *')]
    .filter(e => getComputedStyle(e).display !== 'inline' && e.clientWidth > 1)
    .filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.outerHTML.slice(0, 120))"""
# A link inside a sentence is as high as its line.
TOO_SMALL = """n => [...document.querySelectorAll('a, button, select, textarea, summary, label:has(input)')]
    .filter(e => getComputedStyle(e).display !== 'inline'
        || e.parentElement.textContent.trim() === e.textContent.trim())
    .filter(e => e.getBoundingClientRect().height < n || e.getBoundingClientRect().width < n)
    .map(e => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("locale", TONGUES)
def test_a_page_has_room_for_a_small_phone_large_letters_and_a_thumb(
    seen: dict[str, Page], locale: str
) -> None:
    page = seen[locale]
    size(page, SMALL)
    assert page.evaluate(STICKING_OUT) == []
    assert page.evaluate(TOO_SMALL, THUMB) == []
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate(STICKING_OUT) == []
    page.evaluate("document.documentElement.style.fontSize = ''")


# --- keyboard, colours ----------------------------------------------------------------------------

# A group of radio buttons is one stop: the chosen one, else the first.
STOPS = """() => {
    const all = [...document.querySelectorAll(
        'a[href], button, input:not([type=hidden]), select, textarea, summary')];
    const stop = e => all.find(o => o.name === e.name && o.checked) ?? all.find(o => o.name === e.name);
    return all.filter(e => e.checkVisibility()).filter(e => e.type !== 'radio' || stop(e) === e);
}"""
FOCUS = f"""() => {{
    const seen = e => getComputedStyle(e).outlineStyle !== 'none'
        && parseFloat(getComputedStyle(e).outlineWidth) >= 2;
    const e = document.activeElement;
    return [({STOPS})().indexOf(e), seen(e) || seen(e.closest('label') ?? e)];
}}"""
EDGES = """() => [...document.querySelectorAll('button, select, textarea')]
    .map(e => getComputedStyle(e).borderTopWidth)"""


def test_the_keyboard_reaches_every_control_in_order_and_customers_colours_leave_edges(
    seen: dict[str, Page],
) -> None:
    page = seen["de"]
    page.emulate_media(forced_colors="active")
    assert "0px" not in page.evaluate(EDGES)
    assert page.evaluate("document.getAnimations().length") == 0
    for place in range(page.evaluate(f"({STOPS})().length")):
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS) == [place, True]
