"""`holdfast deploy | up | refresh | demo`: the project in Prefect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from holdfast.cli.session import AsJson, Session, print_json


def deploy(context: typer.Context, as_json: AsJson = False) -> None:
    """Register each campaign and the project's own flows, with their schedules; remove what is gone."""
    session: Session = context.obj
    with session.workspace() as ws:
        session.prefect()
        from holdfast.orchestration import deployments, limits
        from holdfast.units import format_rate

        done = deployments.deploy(ws.project, [source.campaign for source in ws.sources.values()])
        rates = limits.deploy_limits(ws.project, ws.database, datetime.now(UTC))
    facts = {
        "created": done.created,
        "updated": done.updated,
        "unchanged": done.unchanged,
        "removed": done.removed,
        "rates": [f"{channel} {format_rate(rate)}" for channel, rate in rates.items()],
    }
    if as_json:
        print_json(facts)
    else:
        for what, names in facts.items():
            if names:
                typer.echo(f"{what}: {', '.join(names)}")


def up(context: typer.Context) -> None:
    """Run everything on this machine until Ctrl-C: Prefect's server, deployments, a worker, the web app."""
    session: Session = context.obj
    deploy(context)
    from holdfast.cli.serving import web_app
    from holdfast.orchestration import follow_ups, running, worker

    with session.workspace() as ws:
        for name in follow_ups.pick_up(ws, datetime.now(UTC)):
            typer.echo(f"{name}: goes on with what waits when it is due", err=True)
    with web_app(session.project, session.root / ".holdfast" / "web.log") as address:
        typer.echo(f"Prefect UI: {running.ui_url()}\nweb app: {address}", err=True)
        typer.echo("working; Ctrl-C stops at the next batch", err=True)
        worker.work(lambda message: typer.echo(message, err=True))


def refresh(context: typer.Context, as_json: AsJson = False) -> None:
    """Work out now what campaigns achieved, through Prefect: results pages and the KPI sheet in its UI."""
    session: Session = context.obj
    with session.workspace():
        session.prefect()
    from holdfast.orchestration import running

    ended = running.refresh_now(session.root)
    if as_json:
        print_json({"state": ended.state, "message": ended.message, "url": ended.url})
    else:
        typer.echo(f"{ended.state}: {ended.message}\n{ended.url}", err=True)


def demo(
    context: typer.Context,
    customers: Annotated[
        int, typer.Option(min=100, max=100_000, help="How many the shop has; few show no effect.")
    ] = 5000,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the demo's servers.")] = False,
) -> None:
    """Make a shop, run campaigns, have customers answer, show the effect. Nothing leaves this machine."""
    from holdfast.cli import demonstration

    session: Session = context.obj
    if not stop:
        demonstration.run(session, customers)
    elif not demonstration.stop(session):
        typer.echo("the demo is not up", err=True)
