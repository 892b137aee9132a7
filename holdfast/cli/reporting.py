"""`holdfast report`: what campaigns achieved and how the shop does, as pages to keep and to pass on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.running import AsOf, moment_of
from holdfast.cli.session import AsJson, Output, Session, print_json
from holdfast.cli.shown import results_table, show
from holdfast.metrics.rates import Rate
from holdfast.metrics.surveys import Csat, Nps, Wave

if TYPE_CHECKING:
    from holdfast.delivery import Workspace
    from holdfast.report import CampaignReport, KpiSheet


def report(
    context: typer.Context,
    campaign: Annotated[
        str | None, typer.Argument(metavar="[CAMPAIGN]", help="Default: all that ran, and the KPI sheet.")
    ] = None,
    month: Annotated[
        str | None,
        typer.Option(metavar="MONTH", help="Only the KPI sheet, of this month: 2026-10."),
    ] = None,
    output: Output = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Write what campaigns achieved, a page each, and the KPI sheet of a month. Sends and changes nothing."""
    from holdfast import report as reports

    if campaign is not None and month is not None:
        raise typer.BadParameter("a KPI sheet is of all campaigns; leave one out", param_hint="'--month'")
    session: Session = context.obj
    with session.workspace() as ws:
        now = moment_of(ws, as_of) or datetime.now(UTC)
        names = [campaign] if campaign else [] if month else reports.campaigns_with_runs(ws)
        found = [reports.campaign_report(ws, name, now) for name in names]
        sheet = None if campaign else reports.kpi_sheet(ws, _month(ws, month, now), now)
    folder = output or session.root / ".holdfast" / "report"
    written = write_pages(folder, found, sheet, with_index=not month)
    if as_json:
        print_json({"campaigns": list(map(_campaign_facts, found)), "kpis": sheet and _kpi_facts(sheet)})
    else:
        tables = {
            "Campaigns": _verdicts(found),
            "Orders that came after (attributed), and because of it (incremental)": _orders(found),
            "Surveys": _surveys(found),
            "KPIs": _kpis(sheet),
        }
        for title, rows in tables.items():
            if rows:
                show(title, results_table(rows))
    typer.echo(f"written: {', '.join(map(str, written))}", err=True)


def write_pages(
    folder: Path, found: Sequence[CampaignReport], sheet: KpiSheet | None, *, with_index: bool = True
) -> list[Path]:
    """Writes the reports' pages into the folder, an index first where there is a sheet; their paths."""
    from holdfast import report as reports

    pages = {"index.html": reports.index(found, sheet)} if sheet and with_index else {}
    of_each: list[CampaignReport | KpiSheet] = [*found, *([sheet] if sheet else [])]
    pages |= {reports.file_name(each): reports.html(each) for each in of_each}
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        (folder / name).write_text(page, encoding="utf-8")
    return [folder / name for name in pages]


def _month(ws: Workspace, text: str | None, now: datetime) -> int:
    """A month as people write it, as year * 12 + month - 1; without one, the last that is over."""
    from holdfast.report import month_before

    if text is None:
        return month_before(ws, now)
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        if not 1971 <= first.year <= 9998:  # the sheet has the year before, too
            raise ValueError(text)
    except ValueError:
        what = f"{text!r} is not a month; write it like 2026-10"
        raise typer.BadParameter(what, param_hint="'--month'") from None
    return first.year * 12 + first.month - 1


def _verdicts(found: Sequence[CampaignReport]) -> list[dict[str, str | int]]:
    return [
        {
            "campaign": each.name,
            "enrolled": each.assigned,
            "past their window": each.matured,
            "verdict": each.headline,
        }
        for each in found
    ]


def _orders(found: Sequence[CampaignReport]) -> list[dict[str, str | int]]:
    rows: list[dict[str, str | int]] = []
    for each in found:
        if each.orders.any:
            rows.append({"campaign": each.name})
            for line in each.orders.lines(each.currency):
                rows[-1] |= {
                    f"{line.name.lower()} orders": f"{line.orders} ({line.of_orders})".removesuffix(" ()"),
                    f"{line.name.lower()} revenue": f"{line.revenue} ({line.of_revenue})".removesuffix(" ()"),
                }
    return rows


def _surveys(found: Sequence[CampaignReport]) -> list[dict[str, str | int]]:
    from holdfast.report import surveys
    from holdfast.report.formats import percent

    return [
        {
            "campaign": each.name,
            "step": survey.step,
            "survey": survey.name,
            "result": surveys.shown(survey.total.result),
            "95% interval": surveys.interval(survey.total.result),
            "customers": sum(survey.total.answers.values()),
            "answered": percent(survey.total.answers_per_delivered.value),
        }
        for each in found
        for survey in each.surveys
    ]


def _kpis(sheet: KpiSheet | None) -> list[dict[str, str | int]]:
    from holdfast.report.kpis import HEADLINES

    if sheet is None:
        return []
    return [
        {"month": month.short_name, **{kpi.name: kpi.shown(month, sheet.currency) for kpi in HEADLINES}}
        for month in reversed(sheet.months)
    ]


def _campaign_facts(found: CampaignReport) -> dict[str, Any]:
    goal = found.goal and found.goal.model_dump(mode="json")
    surveys = [
        {
            "step": survey.step,
            "survey": survey.survey,
            "all": _wave_facts(survey.total),
            "runs": {occurrence: _wave_facts(wave) for occurrence, wave in survey.runs},
        }
        for survey in found.surveys
    ]
    facts = {"goal": goal, "headline": found.headline, "matured": found.matured, "surveys": surveys}
    return asdict(found) | facts


def _wave_facts(wave: Wave) -> dict[str, Any]:
    result = wave.result
    numbers = _score_facts(result) if isinstance(result, Nps) else _csat_facts(result)
    return {"answers": wave.answers, "answers_per_delivered": _facts(wave.answers_per_delivered)} | numbers


def _score_facts(score: Nps) -> dict[str, Any]:
    return asdict(score) | {"score": score.score, "low": score.low, "high": score.high}


def _csat_facts(satisfaction: Csat) -> dict[str, Any]:
    return {"satisfied_per_answer": _facts(satisfaction.satisfied_per_answer), "mean": satisfaction.mean}


def _kpi_facts(sheet: KpiSheet) -> dict[str, Any]:
    from holdfast.report.kpis import KPIS

    referral = sheet.referral
    return asdict(sheet) | {
        "care": asdict(sheet.care) | {"reopened_per_closed": _facts(sheet.care.reopened_per_closed)},
        "referral": asdict(referral)
        | {"conversion": referral.conversion, "coefficient": referral.coefficient},
        "months": [
            {"month": f"{each.month // 12}-{each.month % 12 + 1:02}"}
            | {kpi.key: _facts(kpi.of(each)) for kpis in KPIS.values() for kpi in kpis}
            for each in sheet.months
        ],
    }


def _facts(value: Rate | Nps | float | None) -> Any:
    if isinstance(value, Nps):
        return _score_facts(value)
    if not isinstance(value, Rate):
        return value
    return asdict(value) | {"value": value.value, "low": value.low, "high": value.high}
