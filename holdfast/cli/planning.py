"""`holdfast plan | approve`: what a run would do, and leave to do it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.running import AsOf, CampaignName, moment_of
from holdfast.cli.session import AsJson, Session, operator, print_json
from holdfast.cli.shown import plan_table, progress_bars, results_table, show

if TYPE_CHECKING:
    from holdfast.delivery import Run
    from holdfast.report import PlanReport

_LINES = 4  # of a sample's text on a terminal


def plan(
    context: typer.Context,
    campaign: CampaignName,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Show the plan of this occurrence; default: of a run now."),
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would do now: to whom, to whom not and why, how it looks, how long. Sends nothing."""
    from holdfast import delivery, report

    now = datetime.now(UTC)
    with context.obj.workspace() as ws, progress_bars() as progress:
        if key is None:
            moment = moment_of(ws, as_of) or now
            found = delivery.plan(
                ws, campaign, moment, now, lambda done, total: progress("count", done, total)
            )
        else:
            found = delivery.plan_of_occurrence(ws, campaign, key, now)
        told = report.plan_report(ws, found)
        waiting = delivery.awaiting(ws, campaign)
    if as_json:
        print_json(_facts(told, waiting))
        return
    _print(told)
    for run in waiting:
        if run.occurrence != key:
            typer.echo(
                f"occurrence {run.occurrence} waits for approval; its plan is shown by --key", err=True
            )


def approve(
    context: typer.Context,
    campaign: CampaignName,
    plan_hash: Annotated[
        str, typer.Argument(metavar="HASH", help="Of the plan that waits; `holdfast plan` shows it.")
    ],
    because: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of this occurrence, where several wait with the same plan."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a run go that waits for the approval of its plan. Recorded with who and why."""
    from holdfast import delivery

    session: Session = context.obj
    now = datetime.now(UTC)
    with session.workspace() as ws, progress_bars() as progress:
        run = delivery.approve(
            ws,
            campaign,
            plan_hash,
            who=operator(),
            why=because,
            now=now,
            occurrence=key,
            progress=lambda done, total: progress("enroll", done, total),
        )
    passed_on = run.state == "running" and _pass_on(session, campaign, run, because, now)
    if as_json:
        print_json({"campaign": campaign, "occurrence": run.occurrence, "approved": plan_hash,
                    "state": run.state, "passed_on": passed_on})  # fmt: skip
        return
    typer.echo(f"approved: {plan_hash}, occurrence {run.occurrence}")
    if passed_on:
        typer.echo("a worker goes on with it", err=True)
    elif run.state == "running":
        typer.echo(f"send it with: holdfast run {campaign} --resume", err=True)


def _pass_on(session: Session, campaign: str, run: Run, because: str, now: datetime) -> bool:
    """Whether workers were told: not where no Prefect server is up, nor where it is not deployed."""
    from holdfast.orchestration.server import find_server

    if find_server(session.root / ".holdfast" / "prefect") is None:
        return False
    from holdfast.orchestration.approvals import pass_on

    return pass_on(campaign, run, because, now)


def _print(told: PlanReport) -> None:
    from holdfast.report.formats import duration

    plan = told.plan
    of = f", occurrence {plan.occurrence}" if plan.occurrence else ""
    show(f"{plan.campaign}{of}, as of {plan.as_of:%Y-%m-%d %H:%M} UTC", plan_table(told.rows, told.last))
    if len(told.channels) > 1:
        show("\nby channel", results_table(told.channels))
    for sample in told.samples:
        subject = f": {sample['subject']}" if sample["subject"] else ""
        typer.echo(f"\nto {sample['to']}, by {sample['channel']}{subject}")
        lines = [line for line in sample["text"].splitlines() if line.strip()]
        for line in lines[:_LINES]:
            typer.echo(f"    {line}")
        if len(lines) > _LINES:
            typer.echo("    …")
    if told.time_needed is not None:
        typer.echo(f"\nUnder the rates, sending takes {duration(told.time_needed)}.")
    if told.rehearsed:
        typer.echo(f"\nThis is {told.rehearsed}.")
    typer.echo(f"\n{told.news}")
    typer.echo(f"Plan {plan.hash}: {_verdict(told)}.")


def _verdict(told: PlanReport) -> str:
    if told.plan.is_void:
        return "void, its files were edited since; the run is planned anew when it goes on"
    if told.approve_above is None:
        return "nobody has to approve it"
    if told.needs_approval:
        return f"needs approval, {told.to_write_to:,} customers are more than {told.approve_above:,}"
    return f"needs no approval up to {told.approve_above:,} customers"


def _facts(told: PlanReport, waiting: list[Run]) -> dict[str, Any]:
    plan = told.plan
    return {
        "campaign": plan.campaign,
        "occurrence": plan.occurrence,
        "as_of": plan.as_of.isoformat(),
        "plan": plan.hash,
        "approve_above": told.approve_above,
        "needs_approval": told.needs_approval,
        "void": plan.is_void,
        "waterfall": [
            {"step": row.words.strip(), "customers": row.customers, "before": row.before} for row in told.rows
        ],
        "to_send": plan.to_send,
        "channels": told.channels,
        "seconds_needed": told.time_needed and told.time_needed.total_seconds(),
        "rehearsal": told.rehearsed,
        "last_run": told.last,
        "edited": told.edited,
        "samples": told.samples,
        "awaiting_approval": [run.occurrence for run in waiting],
    }
