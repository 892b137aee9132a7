"""What the Prefect UI shows of runs, campaigns and months, each under a stable key."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from holdfast.report import CampaignReport, KpiSheet, PlanReport, plots, surveys
from holdfast.report.formats import count, duration, moment, percent, points, points_range, rate_range
from holdfast.report.kpis import HEADLINES
from holdfast.report.orders import MEANING

_UPDATE_EVERY = 1.0  # seconds: an update is a request to Prefect's server
# A bare address becomes a link in most renderers.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>]|:(?=//))")

# Whoever runs the flow in this process may listen: (what, done, total).
listener: ContextVar[Callable[[str, int, int], None] | None] = ContextVar("listener", default=None)


class Progress:
    """A campaign's progress bar in the UI, and for whoever listens in this process. Used from one thread."""

    def __init__(self, campaign: str) -> None:
        self._key = artifact_key(campaign, "progress")
        self._artifact: UUID | None = None
        self._updated = -_UPDATE_EVERY

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` of `what` ("enroll", "dispatch"); the last one is always shown."""
        if (tell := listener.get()) is not None:
            tell(what, done, total)
        if done < total and time.monotonic() - self._updated < _UPDATE_EVERY:
            return
        self._updated = time.monotonic()
        percent = min(100.0, 100.0 * done / total) if total else 100.0
        description = f"{what}: {done:,} of {total:,}"
        if self._artifact is None:
            self._artifact = create_progress_artifact(  # type: ignore[assignment]  # a coroutine only in async code
                percent, key=self._key, description=description
            )
        else:
            update_progress_artifact(self._artifact, percent, description=description)


def publish_waterfall(campaign: str, waterfall: Iterable[tuple[str, int]]) -> None:
    """How the audience became the messages: one row a step of the waterfall."""
    rows = [{"audience": label, "customers": n} for label, n in waterfall]
    create_table_artifact(
        rows, key=artifact_key(campaign, "waterfall"), description=f"Audience of {campaign}"
    )


def publish_results(campaign: str, rows: list[dict[str, Any]]) -> None:
    """What became of the messages."""
    create_table_artifact(rows, key=artifact_key(campaign, "results"), description=f"Results of {campaign}")


def publish_samples(campaign: str, samples: Iterable[Mapping[str, str]]) -> None:
    """Rendered samples, addresses masked. The customer's text is shown as text, never as markdown or HTML."""
    pages = [_sample_page(number, sample) for number, sample in enumerate(samples, start=1)]
    create_markdown_artifact("\n\n".join(pages) or "No messages.", key=artifact_key(campaign, "samples"))


def publish_plan(plan: PlanReport) -> None:
    """What waits for approval."""
    create_markdown_artifact(plan_page(plan), key=artifact_key(plan.plan.campaign, "plan"))


def plan_page(report: PlanReport) -> str:
    """The plan with its waterfall beside the last run's, samples, and what is new, in markdown."""
    plan = report.plan
    needed = f" Under the rates that takes {duration(report.time_needed)}." if report.time_needed else ""
    head = ["Audience", "Customers", *([f"In {escape_markdown(report.last)}"] if report.last else [])]
    rows = [(row.words.strip(), count(row.customers), _cell(row.before))[: len(head)] for row in report.rows]
    by_channel = [map(_cell, row.values()) for row in report.channels]
    parts = [
        f"# Plan {plan.hash} of {escape_markdown(plan.campaign)}",
        f"**{count(report.to_write_to)}** customers are to be written to.{needed}",
        f"**This is {escape_markdown(report.rehearsed)}.**" if report.rehearsed else "",
        escape_markdown(report.news),
        _table(head, rows),
        _table(report.channels[0], by_channel) if len(by_channel) > 1 else "",
        *(_sample_page(number, sample) for number, sample in enumerate(report.samples, start=1)),
    ]
    return "\n\n".join(filter(None, parts))


def _cell(value: str | int | None) -> str:
    return count(value) if isinstance(value, int) else value or ""


def publish_report(report: CampaignReport) -> None:
    """What the campaign achieved."""
    create_markdown_artifact(report_page(report), key=artifact_key(report.name, "report"))


def report_page(report: CampaignReport) -> str:
    """The campaign's verdict, plots, arms and runs, in markdown."""
    parts = [
        f"# {escape_markdown(report.headline)}",
        escape_markdown(f"{report.meaning} {report.basis}"),
        _image("Effect", plots.effects(report.effects)) if report.effects else "",
        _table(
            ("Arm", "Assigned", "Converted", "Rate", "95% interval"),
            [
                (name, count(arm.assigned), count(arm.converted), percent(rate.value), rate_range(rate))
                for name, arm in report.arms.items()
                for rate in (arm.conversions_per_assigned,)
            ],
        ),
    ]
    if report.orders.any:
        lines = report.orders.lines(report.currency)
        parts += ["## Orders", MEANING, _table(("", "Orders", "", "Revenue", ""), lines)]
    for funnel in report.funnels:
        parts.append(f"## {escape_markdown(funnel.step)}, by {escape_markdown(funnel.channel)}")
        parts.append(_image("Messages; hatched: by machines", plots.funnel(funnel.bars)))
    for survey in report.surveys:
        parts += [
            f"## {escape_markdown(survey.step)}: {survey.name}",
            _table(
                ("Run", survey.name, "95% interval", "Answered", "Of the delivered"),
                [
                    (
                        name,
                        surveys.shown(wave.result),
                        surveys.interval(wave.result),
                        count(wave.answered),
                        percent(wave.answers_per_delivered.value),
                    )
                    for name, wave in (("all", survey.total), *survey.runs)
                ],
            ),
        ]
    parts += [
        "## Runs",
        _table(
            ("Occurrence", "Enrolled", "Past their window", "Uplift, points", "95% interval"),
            [
                (
                    run.occurrence,
                    count(run.assigned),
                    count(run.matured),
                    points(run.uplift.difference if run.uplift else None),
                    points_range(run.uplift) if run.uplift else "",
                )
                for run in report.runs
            ],
        ),
        f"As of {moment(report.as_of)}, {report.as_of.tzinfo}. More: `holdfast report {report.name}`.",
    ]
    return "\n\n".join(filter(None, parts))


def publish_kpis(sheet: KpiSheet) -> None:
    """The KPI sheet: a page of its month, and a table of the months."""
    create_markdown_artifact(kpi_page(sheet), key="kpi-sheet")
    create_table_artifact(
        [
            {"month": each.short_name} | {kpi.name: kpi.shown(each, sheet.currency) for kpi in HEADLINES}
            for each in reversed(sheet.months)
        ],
        key="kpi-months",
        description="KPIs by month, the latest first",
    )


def kpi_page(sheet: KpiSheet) -> str:
    """The month's plots and KPIs with their definitions, in markdown."""
    month = sheet.month
    parts = [
        f"# {month.name}{'' if sheet.complete else ', so far'}",
        _image("KPIs by month", plots.curves(sheet.curves)),
    ]
    for title, kpis in sheet.kpis.items():
        lines = [(kpi.name, kpi.shown(month, sheet.currency), kpi.meaning) for kpi in kpis]
        parts += [f"## {title}", _table(("KPI", month.name, "Definition"), lines)]
    if sheet.care_lines:
        parts += [
            "## How complaints were dealt with",
            _table(("KPI", month.name, "Definition"), sheet.care_lines),
        ]
    parts.append(f"As of {moment(sheet.as_of)}, {sheet.as_of.tzinfo}.")
    return "\n\n".join(parts)


def artifact_key(campaign: str, what: str) -> str:
    """Prefect allows lower-case letters, digits and dashes in keys."""
    return f"{campaign.replace('_', '-')}-{what}"


def escape_markdown(text: str) -> str:
    """One line of text that no markdown renderer reads as anything but text."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\1", line)


def _image(title: str, svg: str) -> str:
    return f"![{title}]({plots.data_uri(svg)})"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A markdown table; '' without rows."""
    lines = [f"| {' | '.join(map(escape_markdown, row))} |" for row in rows]
    if not lines:
        return ""
    names = list(head)
    return "\n".join([f"| {' | '.join(names)} |", "|---" * len(names) + "|", *lines])


def _sample_page(number: int, sample: Mapping[str, str]) -> str:
    # Indented code takes any text as it is; a fence could be closed by the text.
    body = "\n".join(f"    {line}" for line in sample["text"].splitlines())
    heading = f"## {number}. {escape_markdown(sample['subject'] or '(no subject)')}"
    return (
        f"{heading}\n\nto {escape_markdown(sample['to'])}, by {escape_markdown(sample['channel'])}\n\n{body}"
    )
