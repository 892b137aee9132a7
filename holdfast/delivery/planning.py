"""Planning: opening a run, enrolling its audience, planning due steps; and counting without writing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from holdfast.delivery.files import files_of
from holdfast.delivery.publishing import plan_posts
from holdfast.delivery.workspace import Workspace
from holdfast.errors import RunError
from holdfast.store import approvals, counting, enrolling, runs
from holdfast.store.approvals import Files, PlanHash
from holdfast.store.counting import Sample, Waterfall
from holdfast.store.runs import Run

Progress = Callable[[int, int], None]


def open_run(ws: Workspace, name: str, occurrence: str, as_of: datetime, now: datetime) -> Run:
    """The run of this occurrence: made now, or found as it is. Records the files' versions that it uses."""
    files = files_of(ws, name)
    needs_review = ws.guard(ws.campaign(name)).approve_above is not None
    return runs.open_run(
        ws.database,
        name,
        occurrence,
        source=files.source,
        digests=files.digests,
        as_of=as_of,
        holdout=files.holdout,
        state="planned" if needs_review else "running",
        now=now,
    )


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
    return _in_states(ws, name, "running")


def awaiting(ws: Workspace, name: str) -> list[Run]:
    """The campaign's runs whose plan waits for approval, oldest first."""
    return _in_states(ws, name, "awaiting_approval")


def unfinished(ws: Workspace, name: str) -> list[Run]:
    """The campaign's runs that there is something to do for, without a person, oldest first."""
    return _in_states(ws, name, "planned", "running")


def _in_states(ws: Workspace, name: str, *states: str) -> list[Run]:
    with ws.database.read() as connection:
        return runs.list_runs(connection, name, states)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the campaign does, or would do, at a moment: whom it writes to, and whom not and why.

    `hash` is what it is approved by. `occurrence` None: of no run yet. `samples` are a few of its messages.
    `is_void`: its files were edited since, and the run is planned anew when it goes on.
    """

    campaign: str
    occurrence: str | None
    as_of: datetime
    hash: str
    files: Files
    waterfall: Waterfall
    samples: list[Sample]
    is_void: bool = False

    @property
    def to_send(self) -> dict[str, int]:
        """Messages of the first step that are still to go out, by channel."""
        return self.waterfall.to_send


SAMPLES = 3


def plan(ws: Workspace, name: str, as_of: datetime, now: datetime, progress: Progress | None = None) -> Plan:
    """Counts what a run would do, slice by slice, without writing anything."""
    campaign = ws.campaign(name)
    files = files_of(ws, name)
    plan_hash = PlanHash(files.version, files.holdout)
    waterfall, samples = counting.count_plan(
        ws.database,
        ws.entry_plan(campaign),
        ws.step_plans(campaign)[0],
        ws.rule_context(as_of),
        now,
        enrolling.SLICE,
        plan_hash.add,
        SAMPLES,
        progress,
    )
    return Plan(name, None, as_of, str(plan_hash), files, waterfall, samples)


def plan_of_occurrence(ws: Workspace, name: str, occurrence: str, now: datetime) -> Plan:
    """The plan of an occurrence. Raises RunError where there is none, or it is not enrolled to its end."""
    ws.campaign(name)
    with ws.database.read() as connection:
        run = runs.find_run(connection, name, occurrence)
    if run is None or run.audience_at is None:
        what = "is not planned to its end" if run else "has not begun"
        raise RunError(f"occurrence {occurrence!r} of {name!r} {what}", hint=f"see: holdfast status {name}")
    return plan_of(ws, run, now)


def plan_of(ws: Workspace, run: Run, now: datetime) -> Plan:
    """The plan of a run that is enrolled, from the ledger; its hash is over the version that the run has."""
    plan_hash = approvals.hash_of_run(ws.database, run)
    files, first = files_of(ws, run.campaign), ws.campaign(run.campaign).sends[0].id
    with ws.database.read() as connection:
        waterfall = counting.run_waterfall(connection, run.id, first, now)
        samples = counting.sample_messages(connection, run.id, SAMPLES)
    is_void = run.version != files.version
    return Plan(run.campaign, run.occurrence, run.as_of, plan_hash, files, waterfall, samples, is_void)
