from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import matplotlib
import pytest

from holdfast.metrics.effects import newcombe
from holdfast.metrics.rates import Rate
from holdfast.report import plots
from holdfast.report.plots import Answer, Bar, Curve, Effect
from tests.fakes import made_up_reports

SVG = "{http://www.w3.org/2000/svg}"


def effect(label: str, treated: Rate, holdout: Rate) -> Effect:
    uplift = newcombe(treated, holdout)
    assert uplift is not None
    return Effect(label, treated, holdout, uplift)


EFFECTS = [
    effect("all runs", Rate(276, 2214), Rate(18, 246)),
    effect("2026-10-05", Rate(140, 1107), Rate(8, 123)),
]
BARS = [Bar("planned", 1107), Bar("opened", 402, 160), Bar("clicked", 131)]
CURVE = Curve("Retention", ["Sep 2026", "Oct 2026"], [None, 0.9], "90.0%", [None, 0.88], [None, 0.92])


def parsed(svg: str | bytes) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("width", [plots.WIDE, plots.NARROW])
def test_dots_are_labelled_with_what_they_say(width: int) -> None:
    shown = texts(plots.effects(EFFECTS, width))
    assert {"treated 12.5%", "holdout 7.3%", "+5.1", "+6.1", "all runs", "2026-10-05"} <= set(shown)


def test_bars_tell_people_from_machines() -> None:
    assert texts(plots.funnel(BARS)) == ["planned", "1,107", "opened", "402, machines 160", "clicked", "131"]


def test_a_curve_shows_its_last_value_and_its_months() -> None:
    assert {"Retention", "Sep 2026", "Oct 2026", "90.0%"} <= set(texts(plots.curves([CURVE])))


def test_answers_are_counted_by_their_group() -> None:
    scale = made_up_reports.survey("csat").plotted
    shown = texts(plots.answers(scale))
    assert {"1", "7", "4", "41", "not satisfied 15.8%", "satisfied 84.2%"} <= set(shown)
    assert {"not satisfied", "15.8%"} <= set(texts(plots.answers(scale, plots.NARROW)))


@pytest.mark.parametrize(
    "svg",
    [
        plots.effects([effect("nobody converted", Rate(0, 10), Rate(0, 10))]),
        plots.effects([effect("everybody did", Rate(10, 10), Rate(1, 1))]),
        plots.funnel([Bar("planned", 0)]),
        plots.answers([Answer("0", 0, "detractors")]),
        plots.curves([Curve("nothing", ["Oct 2026"], [None], "–")]),
    ],
)
def test_the_least_of_data_is_drawn_without_a_flaw(svg: str) -> None:
    assert texts(svg)
    assert "nan" not in svg


def test_labels_are_text_and_nothing_else() -> None:
    label = '<script>&"$x^2$'
    shown = plots.effects([effect(label, Rate(1, 2), Rate(1, 2))])
    assert "<script" not in shown
    assert label in texts(shown)


def test_the_same_plot_is_the_same_to_the_byte_whatever_else_is_drawn() -> None:
    first, style = plots.effects(EFFECTS), dict(matplotlib.rcParams)
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(plots.funnel, BARS) for _ in range(4)]
        again = [pool.submit(plots.effects, EFFECTS) for _ in range(4)]
        assert {plot.result() for plot in again} == {first}
        assert len({plot.result() for plot in others}) == 1
    assert dict(matplotlib.rcParams) == style
    assert len(first) < 20_000


def test_on_a_page_the_colours_are_the_pages_and_alone_a_plot_has_paper() -> None:
    svg = plots.funnel(BARS)
    assert "var(--accent, #0a66a0)" in plots.inline(svg)
    kind, _, data = plots.data_uri(svg).partition(",")
    assert kind == "data:image/svg+xml;base64"
    alone = parsed(base64.b64decode(data))
    assert alone[0].attrib["fill"] == plots.PAPER
    assert float(alone.attrib["width"]) > plots.WIDE
