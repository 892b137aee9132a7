"""Reports as pages: one self-contained HTML file each, without scripts or anything from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from holdfast import metrics
from holdfast.metrics.engagement import Funnel
from holdfast.report import formats, orders, plots, surveys
from holdfast.report.campaigns import CampaignReport
from holdfast.report.kpis import HEADLINES, KpiSheet
from holdfast.units import format_duration


@dataclass(frozen=True, slots=True)
class Stage:
    """A line of the funnel's table: a field of `Funnel`, in words, its rate and what that is of."""

    field: str
    words: str
    rate: str = ""
    per: str = ""
    rare: bool = False


_STAGES = (
    Stage("planned", "planned"),
    Stage("accepted", "accepted"),
    Stage("delivered", "delivered", "delivered_per_accepted", "per accepted"),
    Stage("bounced", "bounced", "bounces_per_accepted", "per accepted"),
    Stage("opened", "opened", "opens_per_delivered", "per delivered"),
    Stage("machine_opened", "opened by machines", "machine_opens_per_delivered", "per delivered", rare=True),
    Stage("clicked", "clicked", "clicks_per_delivered", "per delivered"),
    Stage(
        "machine_clicked", "clicked by machines", "machine_clicks_per_delivered", "per delivered", rare=True
    ),
    Stage("replied", "replied", "replies_per_delivered", "per delivered", rare=True),
    Stage("answered", "answered the survey", "answers_per_delivered", "per delivered", rare=True),
    Stage("unsubscribed", "unsubscribed", "unsubscribes_per_delivered", "per delivered"),
    Stage("complained", "reported as spam", "complaints_per_delivered", "per delivered"),
)
_CLICKED_UNDELIVERED = Stage("clicked", "clicked", "clicks_per_accepted", "per accepted")


def html(report: CampaignReport | KpiSheet) -> str:
    """The report's page."""
    name = "campaign" if isinstance(report, CampaignReport) else "kpis"
    return _render(name, report.brand, report.currency, report=report, zone=report.as_of.tzinfo)


def index(reports: Sequence[CampaignReport], sheet: KpiSheet) -> str:
    """A page that links to the reports' pages: `NAME.html`, and `kpis-2026-10.html`."""
    return _render(
        "index", sheet.brand, sheet.currency, reports=reports, sheet=sheet, zone=sheet.as_of.tzinfo
    )


def file_name(report: CampaignReport | KpiSheet) -> str:
    """What the report's page is called in a folder of reports."""
    if isinstance(report, CampaignReport):
        return f"{report.name}.html"
    return f"kpis-{report.month.month // 12}-{report.month.month % 12 + 1:02}.html"


def stages(columns: Mapping[str, Funnel]) -> list[Stage]:
    """The lines of a table of funnels; rare ones only where something is in them.

    Where no channel gives receipts, clicks are of the accepted.
    """

    def any_in(field: str) -> bool:
        return any(getattr(funnel, field) for funnel in columns.values())

    shown = [stage for stage in _STAGES if not stage.rare or any_in(stage.field)]
    if any_in("delivered"):
        return shown
    return [_CLICKED_UNDELIVERED if stage.field == "clicked" else stage for stage in shown]


def _render(name: str, brand: str, currency: str, **context: Any) -> str:
    page = _pages().get_template(f"{name}.html.j2")
    return page.render(brand=brand, money=partial(formats.money, currency=currency), **context)


@cache
def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("holdfast.report", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "count": formats.count,
        "percent": formats.percent,
        "rate_range": formats.rate_range,
        "mean": formats.mean,
        "result": surveys.shown,
        "interval": surveys.interval,
        "parts": surveys.parts,
        "points": formats.points,
        "points_range": formats.points_range,
        "moment": formats.moment,
        "month": formats.month_name,
        "p_value": formats.p_value,
        "signed_percent": formats.signed_percent,
        "duration": format_duration,
        "words": lambda state: state.replace("_", " "),
    }
    pages.globals |= {
        "stages": stages,
        "file_name": file_name,
        "figure": _figure,
        "headline_kpis": HEADLINES,
        "definitions": metrics.VERSION,
        "orders_meaning": orders.MEANING,
    }
    return pages


_PLOTS: dict[str, Callable[[Any, int], str]] = {
    "effects": plots.effects,
    "funnel": plots.funnel,
    "curves": plots.curves,
    "answers": plots.answers,
}


def _figure(name: str, data: Any) -> Markup:
    """The plot twice, for wide pages and for phones; the style sheet shows one."""
    draw = _PLOTS[name]
    wide, narrow = (plots.inline(draw(data, width)) for width in (plots.WIDE, plots.NARROW))
    # The SVG is ours, and matplotlib escapes the text in it.
    return Markup(f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>')  # noqa: S704
