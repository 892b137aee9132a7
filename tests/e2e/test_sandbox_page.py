"""The sandbox's pages in a real browser: wide, on a phone, by keyboard, in the dark, with hostile mail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from channels.sandbox import SandboxChannel, SandboxSettings
from channels.sandbox_files import read_outbox
from channels.sandbox_page import pages
from holdfast.channel import Message, Skeleton
from tests.servers.stand_in import Answer, Request, StandIn

WIDE: Any = {"width": 1280, "height": 860}
PHONE: Any = {"width": 390, "height": 844}
KINDS = {"email": False, "sms": False, "telegram": False, "whatsapp": False, "x": True}
ARABIC = "محمد، وصلت أنواع جديدة من الشاي.\nhttps://shop.example/new"
ENGLISH = "Anna, new teas are in.\nhttps://shop.example/new"
LONG = "x" * 300
LETTER = """\
<!doctype html><html lang="{lang}" dir="{dir}"><head><title>Tea</title></head>
<body><div style="display:none">A word before.</div><h1>{words}</h1>
<a href="{url}/back">Back</a><img src="{url}/pixel.gif" alt="">{more}</body></html>
"""
HOSTILE = """\
</iframe>"'><script>top.document.title = "owned"; fetch("{url}/script")</script>
<img src="{url}/image" onerror="top.document.title = 'owned'"><link rel="stylesheet" href="{url}/style">
<style>@import url("{url}/import"); body {{ background: url("{url}/background") }}</style>
<meta http-equiv="refresh" content="0;url={url}/refresh"><base href="{url}/">
<iframe src="{url}/frame"></iframe><object data="{url}/object"></object>
<video src="{url}/video" autoplay></video>
<form action="{url}/form" target="_top"><button autofocus>Win</button></form>
<a href="javascript:top.document.title='owned'">Run</a>
"""


class Elsewhere(StandIn):
    """What letters would like to reach."""

    def do(self, request: Request) -> Answer:
        """Answers whatever it is asked."""
        return Answer(200, b"hello")


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        yield server


def of(number: int, to: str, text: str = "", html: str = "", subject: str = "", name: str = "") -> Message:
    sender = "Acme <hello@acme.example>" if html else ""
    return Message(f"{number}.key", to, name, sender, subject, Skeleton(html=(html,), text=(text,)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, elsewhere: Elsewhere) -> Path:
    """What `holdfast sandbox` writes."""
    root, url = tmp_path_factory.mktemp("sandbox"), elsewhere.url
    addresses = {"sms": "+4915155500{}", "whatsapp": "+4915155500{}", "telegram": "7000000{}"}
    english = LETTER.format(lang="en", dir="ltr", words="Hello Ann", url=url, more="")
    arabic = LETTER.format(lang="ar", dir="rtl", words="مرحبا", url=url, more="")
    hostile = LETTER.format(lang="en", dir="ltr", words="Win", url=url, more=HOSTILE.format(url=url))
    forged = 'Win<script>top.document.title="owned"</script>\r\nBcc: everyone@shop.example\r\n\r\n<h1>no</h1>'
    sent = {
        "email": [
            of(1, "mallory@shop.example", "Win", hostile, forged, forged),
            of(2, "nour@shop.example", "مرحبا", arabic, "احتفظنا لك بما تحب", "نور"),
            of(3, "ann@shop.example", "Hello", english, f"We kept your favourites {LONG}", "Ann"),
        ]
    }
    for kind, address in addresses.items():
        texts = [f"{HOSTILE.format(url=url)} {LONG}", ARABIC, ENGLISH]
        sent[kind] = [of(n, address.format(n), text) for n, text in enumerate(texts, start=31)]
    boxes = []
    for kind, is_posts in KINDS.items():
        channel = SandboxChannel(kind, SandboxSettings(kind=kind, folder=root / kind, post=is_posts))
        if is_posts:
            for text in (HOSTILE[:200], ARABIC, ENGLISH):
                channel.publish(text)
        else:
            for number, message in enumerate(sent[kind]):
                channel.send([message])
                os.utime(next((root / kind).glob(f"{message.key}.*")), (1e9 + number, 1e9 + number))
        boxes.append(read_outbox(kind, kind, root / kind, is_posts=is_posts, latest=50))
    for name, page in pages(boxes, "Acme", datetime(2026, 6, 3, tzinfo=UTC)).items():
        (root / name).write_text(page, encoding="utf-8")
    return root


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport=WIDE)
    yield page
    page.context.close()


def opened(page: Page, folder: Path, kind: str = "email", message: int | None = None) -> Page:
    name = "index" if kind == "email" else f"channel-{kind}"
    page.goto((folder / f"{name}.html").as_uri() + (f"#m{message}" if message else ""))
    return page


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("message", [None, 1, 2, 3])
@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_runs_over_the_edge(
    page: Page, folder: Path, kind: str, message: int | None, screen: Any
) -> None:
    page.set_viewport_size(screen)
    opened(page, folder, kind, message)
    assert page.evaluate("document.documentElement.scrollWidth") == screen["width"]
    for box in page.locator(".bubble:visible, .said:visible, .list a:visible, iframe:visible").all():
        edge = box.bounding_box()
        assert edge is not None
        assert edge["x"] >= 0
        assert edge["x"] + edge["width"] <= screen["width"]


def test_a_letter_is_shown_beside_the_list_as_a_mail_program_shows_it(page: Page, folder: Path) -> None:
    opened(page, folder)
    rows = page.locator(".list a")
    names = rows.locator(".who").all_inner_texts()
    assert names[:2] == ["Ann", "نور"]
    assert names[2].startswith("Win<script>")
    assert rows.first.locator(".peek").inner_text().startswith("A word before. Hello Ann")
    rows.nth(1).click()
    reader = page.get_by_role("region", name="احتفظنا لك بما تحب")
    assert reader.locator("dd").first.inner_text() == "Acme <hello@acme.example>"
    letter = reader.locator("iframe").content_frame
    assert letter.locator("h1").inner_text() == "مرحبا"
    assert letter.locator("html").get_attribute("dir") == "rtl"
    assert letter.locator("h1").evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert letter.locator("html").evaluate("() => document.compatMode") == "CSS1Compat"
    assert page.locator("section:visible").count() == 1


@pytest.mark.parametrize("kind", ["sms", "telegram", "whatsapp"])
def test_a_text_is_a_bubble_that_runs_its_languages_way(page: Page, folder: Path, kind: str) -> None:
    opened(page, folder, kind, 2)
    bubble = page.locator(".bubble:visible")
    assert bubble.inner_text() == ARABIC
    assert bubble.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert bubble.get_by_role("link").get_attribute("href") == "https://shop.example/new"
    told = page.locator(".size:visible").inner_text()
    assert told == ("57 characters, 1 segment" if kind == "sms" else "57 characters")


def test_posts_stand_in_a_timeline_with_their_length_as_the_network_counts(page: Page, folder: Path) -> None:
    opened(page, folder, "x")
    cards = page.get_by_role("article")
    assert cards.count() == 3
    english = cards.filter(has_text="Anna, new teas")
    assert english.locator(".size").inner_text() == "46 of 280 characters, as X counts"


def test_it_is_read_by_keyboard_alone(page: Page, folder: Path) -> None:
    opened(page, folder)
    for _ in KINDS:
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#m2"
    page.keyboard.press("Enter")
    assert page.locator("section:visible").get_attribute("id") == "m2"
    assert page.evaluate("document.activeElement.id") == "m2"
    chosen, other = (
        page.locator(f'.list [href="#m{n}"]').evaluate("e => getComputedStyle(e).backgroundColor")
        for n in (2, 3)
    )
    assert chosen != other


def test_a_phone_shows_the_list_or_a_message_and_leads_back(page: Page, folder: Path) -> None:
    page.set_viewport_size(PHONE)
    opened(page, folder, "sms")
    assert page.locator("section:visible").count() == 0
    row = page.locator(".list a").nth(1)
    box = row.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    row.click()
    assert page.locator(".list").is_hidden()
    assert page.locator(".bubble:visible").inner_text() == ARABIC
    page.get_by_role("link", name="All messages").locator("visible=true").click()
    assert page.locator(".list").is_visible()
    assert page.locator("section:visible").count() == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(page: Page, folder: Path, kind: str, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    opened(page, folder, kind)
    least = page.evaluate("""
        () => {
            const rgb = text => text.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => [r, g, b]
                .map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const paper = e => {
                const colour = rgb(getComputedStyle(e).backgroundColor);
                return colour.length === 4 && colour[3] === 0 ? paper(e.parentElement) : colour;
            };
            const says = e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
            const seen = e => e.checkVisibility() && says(e);
            return Math.min(...[...document.querySelectorAll('body *')].filter(seen).map(e => {
                const [ink, behind] = [light(rgb(getComputedStyle(e).color)), light(paper(e))];
                return (Math.max(ink, behind) + 0.05) / (Math.min(ink, behind) + 0.05);
            }));
        }
    """)
    assert least >= 4.5


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_messages_stay_inert_and_nothing_is_fetched(
    page: Page, folder: Path, elsewhere: Elsewhere, kind: str
) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    elsewhere.requests.clear()
    opened(page, folder, kind, 3)
    title, url = page.title(), page.url
    for frame in page.locator("iframe:visible").all():
        letter = frame.content_frame
        letter.get_by_role("button", name="Win").click()  # a form
        letter.get_by_role("link", name="Run").click()
        assert "allow-scripts" not in (frame.get_attribute("sandbox") or "")
    page.wait_for_load_state("networkidle")
    assert (page.title(), page.url, dialogs) == (title, url, [])
    assert "owned" not in title
    assert page.locator("h1").inner_text() == "Sandbox"
    assert page.locator("script, img, form, object, video").count() == 0
    assert not any(frame.url.startswith(elsewhere.url) for frame in page.frames)
    assert [request.path for request in elsewhere.requests] == []


def test_a_link_in_a_letter_opens_beside_the_sandbox(page: Page, folder: Path, elsewhere: Elsewhere) -> None:
    elsewhere.requests.clear()
    opened(page, folder, "email", 1)
    with page.expect_popup() as opening:
        page.locator("iframe:visible").content_frame.get_by_role("link", name="Back").click()
    opening.value.wait_for_load_state()
    assert opening.value.url == f"{elsewhere.url}/back"
    assert opening.value.evaluate("window.opener") is None
    first = elsewhere.requests[0]
    assert (first.path, first.headers.get("referer")) == ("/back", None)
