"""Approval: a plan over the guard's size goes on only when a person has approved it, by its hash."""

from __future__ import annotations

from datetime import datetime
from shlex import quote

from holdfast.delivery.files import files_of
from holdfast.delivery.planning import Progress, awaiting, enroll
from holdfast.delivery.workspace import Workspace
from holdfast.errors import RunError
from holdfast.store import approvals, runs
from holdfast.store.runs import Run


def prepare(ws: Workspace, name: str, now: datetime, progress: Progress | None = None) -> None:
    """Readies the campaign's runs: what an edit voids is planned anew, who is to be enrolled is, and runs
    go on that need no approval or have it."""
    with ws.database.read() as connection:
        found = runs.list_runs(connection, name, ("planned", "awaiting_approval", "running"))
    for run in found:
        run = void_if_edited(ws, run, now)
        enroll(ws, run, now, progress)
        review(ws, run, now)


def void_if_edited(ws: Workspace, run: Run, now: datetime) -> Run:
    """The run as it is, or, where its plan is to be approved and its files were edited since, `planned`
    again: see `approvals.void`. A run that goes on without approval goes on by the files of now, as ever."""
    if run.state == "running" and run.approved_hash is None:
        return run
    files = files_of(ws, run.campaign)
    if run.version != files.version:
        approvals.void(ws.database, run, files, now)
    return _again(ws, run)


def review(ws: Workspace, run: Run, now: datetime) -> Run:
    """Moves a run that is enrolled from `planned` to `running` or `awaiting_approval`, and one that waits
    for an approval that it no longer needs to `running`.

    Not by other files than the run's: whoever has planned it anew meanwhile judges it by theirs.
    """
    run = _again(ws, run)
    if run.audience_at is None or run.state not in ("planned", "awaiting_approval"):
        return run
    if run.version != files_of(ws, run.campaign).version:
        return run
    state = "awaiting_approval" if _needs_approval(ws, run) else "running"
    if state != run.state:
        approvals.move(ws.database, run, state)
    return _again(ws, run)


def _needs_approval(ws: Workspace, run: Run) -> bool:
    most = ws.guard(ws.campaign(run.campaign)).approve_above
    if most is None:
        return False
    with ws.database.read() as connection:
        customers = approvals.count_treated(connection, run.id)
    return customers > most and (run.approved_hash is None or run.approved_hash != hash_of(ws, run))


def hash_of(ws: Workspace, run: Run) -> str:
    """The hash that the run's plan is approved by."""
    return approvals.hash_of_run(ws.database, run)


def approve(
    ws: Workspace,
    name: str,
    plan_hash: str,
    *,
    who: str,
    why: str,
    now: datetime,
    occurrence: str | None = None,
    progress: Progress | None = None,
) -> Run:
    """Lets the run with this plan go; one that was approved before stays as it is.

    Runs that write to the same customers by the same files have one plan: `occurrence` tells them apart.
    Raises RunError where no run with this plan waits, as it was edited, or is another's; or where several do.
    """
    ws.campaign(name)
    prepare(ws, name, now, progress)
    waiting = [(hash_of(ws, run), run) for run in awaiting(ws, name) if occurrence in (None, run.occurrence)]
    chosen = [run for known, run in waiting if known == plan_hash]
    if len(chosen) > 1:
        raise RunError(
            f"several runs wait with this plan: {', '.join(run.occurrence for run in chosen)}",
            hint=f"say which: holdfast approve {name} {plan_hash} --key {quote(chosen[0].occurrence)}",
        )
    if not chosen:
        with ws.database.read() as connection:
            approved = [
                run
                for run in runs.list_runs(connection, name)
                if run.approved_hash == plan_hash and occurrence in (None, run.occurrence)
            ]
        if approved:
            return approved[-1]
    if not waiting:
        raise RunError(
            f"no run of {name!r} waits for approval", hint=f"look at its runs with: holdfast status {name}"
        )
    if not chosen:
        current = ", ".join(f"{known} of {run.occurrence}" for known, run in waiting)
        raise RunError(
            f"{plan_hash} is not the plan of {name!r} by now, which is {current}",
            hint=f"look at it first: holdfast plan {name} --key {quote(waiting[0][1].occurrence)}",
        )
    [run] = chosen
    if not approvals.approve(ws.database, run, plan_hash, who=who, why=why, now=now):
        raise RunError(f"{plan_hash} was changed while it was approved", hint="look at it again")
    return _again(ws, run)


def decline(ws: Workspace, run: Run, why: str = "") -> None:
    """Stops a run that waits: its plan is not what was wanted. Resumed, it is asked for again."""
    approvals.decline(ws.database, run, why)


def _again(ws: Workspace, run: Run) -> Run:
    with ws.database.read() as connection:
        return runs.get_run(connection, run.id)
