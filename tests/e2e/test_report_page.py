"""The report's page in a real browser: wide, on a phone, in the dark, on paper, from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from holdfast import report
from holdfast.report import plots
from tests.fakes import made_up_reports

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `holdfast report` writes."""
    folder = tmp_path_factory.mktemp("report")
    campaign, sheet = made_up_reports.campaign(), made_up_reports.kpi_sheet()
    for each in (campaign, sheet):
        (folder / report.file_name(each)).write_text(report.html(each), encoding="utf-8")
    (folder / "index.html").write_text(report.index([campaign], sheet), encoding="utf-8")
    return folder


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that asks for nothing but files, and about which the browser has nothing to complain."""
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: complaints.append(request.url))
    yield page
    page.close()
    assert [text for text in complaints if not text.startswith(("file://", "data:,"))] == []


def width_of(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth")
    return width


@pytest.mark.parametrize("name", ["index", "winback", "kpis-2026-10"])
@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_runs_over_the_edge(page: Page, folder: Path, name: str, screen: dict[str, int]) -> None:
    page.set_viewport_size(screen)  # type: ignore[arg-type]
    page.goto((folder / f"{name}.html").as_uri())
    assert width_of(page) == screen["width"]
    figures = page.locator("figure svg:visible")
    assert figures.count() == {"index": 0, "winback": 3, "kpis-2026-10": 1}[name]
    for drawn in figures.all():
        edge = drawn.bounding_box()
        assert edge is not None
        for text in drawn.locator("text").all():
            box = text.bounding_box()
            assert box is not None
            assert edge["x"] - 1 <= box["x"]
            assert box["x"] + box["width"] <= edge["x"] + edge["width"] + 1, text.inner_html()


def test_on_a_phone_the_plots_are_drawn_for_it_and_tables_fit(page: Page, folder: Path) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.goto((folder / "winback.html").as_uri())
    boxes = [drawn.get_attribute("viewBox") or "" for drawn in page.locator("figure svg:visible").all()]
    assert all(box.split()[2] == str(plots.NARROW) for box in boxes)
    for table in page.locator("table").all():
        box = table.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= PHONE["width"]


def test_the_verdict_is_the_first_and_largest_thing_to_read(page: Page, folder: Path) -> None:
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.goto((folder / "winback.html").as_uri())
    sentence = page.locator(".sentence")
    assert sentence.inner_text().startswith("+5.1 points")
    box = sentence.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < WIDE["height"] / 2
    sizes = page.evaluate(
        "[...document.querySelectorAll('body *')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert max(sizes) == sentence.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_paper_by_day_and_night(page: Page, folder: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto((folder / "winback.html").as_uri())
    contrast = """
        () => {
            const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
            const light = ([r, g, b]) => [r, g, b]
                .map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const paper = light(rgb(getComputedStyle(document.documentElement).backgroundColor));
            const ratio = ink => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
            const of = (selector, property) => [...document.querySelectorAll(selector)]
                .map(e => ratio(light(rgb(getComputedStyle(e)[property]))));
            return Math.min(...of('body p, body td, body th, dt, small, figcaption, a', 'color'),
                            ...of('svg text', 'fill'));
        }
    """
    assert page.evaluate(contrast) >= 4.5


def test_the_index_leads_to_the_reports(page: Page, folder: Path) -> None:
    page.goto((folder / "index.html").as_uri())
    page.get_by_role("link", name="winback").click()
    assert page.get_by_role("heading", level=1).inner_text() == "winback"
    page.go_back()
    page.get_by_role("link", name="KPI sheet of October 2026").click()
    assert page.locator(".sentence").inner_text() == "90.0% of customers stayed"


def test_on_paper_nothing_is_cut_and_the_ink_is_dark(page: Page, folder: Path) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    page.goto((folder / "winback.html").as_uri())
    assert page.locator(".sentence").evaluate("e => getComputedStyle(e).color") == "rgb(0, 0, 0)"
    assert page.locator(".scroll").first.evaluate("e => getComputedStyle(e).overflowX") == "visible"
    assert page.pdf(format="A4").startswith(b"%PDF")
