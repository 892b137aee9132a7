"""A plan, told to whoever approves it: whom it writes to, what they get, how long it takes, what is new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from holdfast.delivery.pace import time_needed
from holdfast.delivery.planning import Plan
from holdfast.delivery.workspace import Workspace
from holdfast.report.runs import render_samples
from holdfast.store import approvals, counting, runs


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A row of the waterfall beside the last run's; `before` None: there is nothing to compare it with."""

    words: str
    customers: int
    before: int | None


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A plan with all that a person wants to know of it.

    `approve_above` None: nobody has to approve it. `last` is the occurrence of the campaign's last run, and
    `edited` says of each file that is not what it was then: edited, new or removed. `time_needed` is for the
    first step, under the rates and daily budgets; None: nothing holds it up. `rehearsed` says by which
    channels nothing is delivered.
    """

    plan: Plan
    approve_above: int | None
    time_needed: timedelta | None
    rows: list[PlanRow]
    channels: list[dict[str, str | int]]
    samples: list[dict[str, str]]
    last: str | None
    edited: dict[str, str]
    rehearsed: str = ""

    @property
    def to_write_to(self) -> int:
        """Customers: what the guard looks at."""
        return self.plan.waterfall.entries["treated"]

    @property
    def needs_approval(self) -> bool:
        """More customers are written to than the guard lets go without a person."""
        return self.approve_above is not None and self.to_write_to > self.approve_above

    @property
    def news(self) -> str:
        """What is new since the last run, in a sentence."""
        if self.last is None:
            return "The campaign's first run."
        edited = ", ".join(f"{name} ({what})" for name, what in self.edited.items())
        return f"Since {self.last}: {edited or 'no file was edited'}."


def plan_report(ws: Workspace, plan: Plan) -> PlanReport:
    """The plan beside the campaign's last run that enrolled an audience."""
    campaign = ws.campaign(plan.campaign)
    rows = plan.waterfall.rows()
    last, before, edited = None, {}, {}
    with ws.database.read() as connection:
        others = [
            run
            for run in runs.list_runs(connection, plan.campaign)
            if run.audience_at is not None and run.occurrence != plan.occurrence
        ]
        if others:
            last = others[-1]
            before = dict(counting.run_waterfall(connection, last.id, campaign.sends[0].id).rows())
            source, digests = approvals.files_of_run(connection, last.id)
            edited = _edited(_named(plan.campaign, source, digests), _files(plan))
    return PlanReport(
        plan=plan,
        approve_above=ws.guard(campaign).approve_above,
        time_needed=time_needed(ws, campaign, plan.to_send),
        rows=_beside(rows, before),
        channels=plan.waterfall.channels(),
        samples=render_samples(ws, plan.campaign, plan.samples, plan.as_of),
        last=last.occurrence if last else None,
        edited=edited,
        rehearsed=ws.rehearsed(campaign),
    )


def _files(plan: Plan) -> dict[str, str]:
    return _named(plan.campaign, plan.files.source, plan.files.digests)


def _named(campaign: str, source: str, digests: dict[str, str]) -> dict[str, str]:
    """What is in which file of the project."""
    return {f"campaigns/{campaign}.yaml": source, **digests}


def _edited(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """What became of each file that is not what it was."""
    gone = {name: "removed" for name in before if name not in now}
    changed = {name: "edited" if name in before else "new" for name in now if now[name] != before.get(name)}
    return changed | gone


def _beside(rows: list[tuple[str, int]], before: dict[str, int]) -> list[PlanRow]:
    """The rows beside those of the last run, and in their places those that it alone had."""
    now = dict(rows)
    words = list(now)
    totals = [word for word in before if not word.startswith(" ")]
    for previous, word in pairwise(totals):
        if word not in now:
            words.insert(words.index(previous) + 1, word)
    return [
        PlanRow(word, now.get(word, 0), before.get(word, 0) if before and not word.startswith(" ") else None)
        for word in words
    ]
