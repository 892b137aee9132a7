"""`holdfast deploy | up | demo`: the project in Prefect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from holdfast.cli.session import AsJson, Session, print_json


def deploy(context: typer.Context, as_json: AsJson = False) -> None:
    """Register a deployment for each campaign, with its schedule; remove those whose file is gone."""
    session: Session = context.obj
    with session.workspace() as ws:
        session.prefect()
        from holdfast.orchestration import deployments

        done = deployments.deploy(ws.project, [source.campaign for source in ws.sources.values()])
    facts = {
        "created": done.created,
        "updated": done.updated,
        "unchanged": done.unchanged,
        "removed": done.removed,
    }
    if as_json:
        print_json(facts)
    else:
        for what, names in facts.items():
            if names:
                typer.echo(f"{what}: {', '.join(names)}")


def up(context: typer.Context) -> None:
    """Run everything on this machine until Ctrl-C: Prefect's server, the deployments, a worker."""
    session: Session = context.obj
    deploy(context)
    from holdfast.orchestration import follow_ups, running, worker

    with session.workspace() as ws:
        for name in follow_ups.pick_up(ws, datetime.now(UTC)):
            typer.echo(f"{name}: goes on with what waits when it is due", err=True)
    typer.echo(f"Prefect UI: {running.ui_url()}\nworking; Ctrl-C stops at the next batch", err=True)
    worker.work(lambda message: typer.echo(message, err=True))


def demo(
    context: typer.Context,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the demo's Prefect server.")] = False,
) -> None:
    """Make a shop, run two campaigns through Prefect, show what came of it. Nothing leaves this machine."""
    from holdfast.cli import demonstration

    session: Session = context.obj
    if not stop:
        demonstration.run(session)
    elif not demonstration.stop(session):
        typer.echo("the demo's Prefect server is not up", err=True)
