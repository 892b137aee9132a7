"""Planning: opening a run, enrolling its audience, planning due steps; and counting without writing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from holdfast.campaign.models import Campaign
from holdfast.delivery.publishing import plan_posts
from holdfast.delivery.workspace import Workspace
from holdfast.store import counting, enrolling, runs
from holdfast.store.runs import Run

Progress = Callable[[int, int], None]


def open_run(ws: Workspace, name: str, occurrence: str, as_of: datetime, now: datetime) -> Run:
    """The run of this occurrence: made now, or found as it is. Records the files' versions that it uses."""
    source = ws.source(name)
    return runs.open_run(
        ws.database,
        name,
        occurrence,
        source=source.text,
        templates=_template_digests(ws, source.campaign),
        as_of=as_of,
        holdout=ws.entry_plan(source.campaign).holdout if source.campaign.is_marketing else None,
        now=now,
    )


def _template_digests(ws: Workspace, campaign: Campaign) -> dict[str, str]:
    names = {
        file
        for step in campaign.sends
        for route in ws.routes(step)
        for template in [step.template, *(variant.template for variant in step.variants.values())]
        if template
        for file in ws.library.sources(template, route.kind)
    } | {
        file
        for post, _ in campaign.posts
        for channel in post.post
        for file in ws.library.sources(post.template, ws.channels.describe(channel).kind)
    }
    return {name: hashlib.sha256((ws.library.root / name).read_bytes()).hexdigest() for name in sorted(names)}


def enroll(ws: Workspace, run: Run, now: datetime, progress: Progress | None = None) -> None:
    """Enrolls the run's audience, plans its posts and its first step; goes on where it was broken off."""
    campaign = ws.campaign(run.campaign)
    plan_posts(ws, run)
    first, *others = ws.step_plans(campaign)
    enrolling.enroll(
        ws.database,
        run,
        # Whoever goes on with a run draws as it began: all its customers are of one share.
        replace(ws.entry_plan(campaign), holdout=run.holdout or 0.0),
        first,
        others[0] if others else None,
        ws.rule_context(run.as_of),
        now,
        progress,
    )


def advance(ws: Workspace, name: str, now: datetime) -> int:
    """Plans the steps that are due in the campaign's running runs; how many messages came of it."""
    campaign = ws.campaign(name)
    plans = ws.step_plans(campaign)
    planned = 0
    for run in running(ws, name):
        enrolling.end_unknown_steps(ws.database, run, tuple(plan.step.id for plan in plans))
        context = ws.rule_context(run.time_at(now))
        # Last step first, so that nobody goes through two steps in one call.
        for index in reversed(range(len(plans))):
            following = plans[index + 1] if index + 1 < len(plans) else None
            planned += enrolling.advance(ws.database, run, plans[index], following, context, now)
    return planned


def running(ws: Workspace, name: str) -> list[Run]:
    """The campaign's runs that may send, oldest first."""
    with ws.database.read() as connection:
        return runs.list_runs(connection, name, ("running",))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the campaign would do at a moment: the waterfall, and its messages by channel."""

    campaign: str
    as_of: datetime
    waterfall: counting.Waterfall
    to_send: dict[str, int]


def plan(ws: Workspace, name: str, as_of: datetime, now: datetime, progress: Progress | None = None) -> Plan:
    """Counts what a run would do, slice by slice, without writing anything."""
    campaign = ws.campaign(name)
    first = ws.step_plans(campaign)[0]
    context = ws.rule_context(as_of)
    waterfall, to_send = counting.count_plan(
        ws.database, ws.entry_plan(campaign), first, context, now, enrolling.SLICE, progress
    )
    return Plan(name, as_of, waterfall, to_send)
