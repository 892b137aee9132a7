"""`holdfast db …`, `holdfast import …` and `holdfast sync`: the database and what comes into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.session import AsJson, Session, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.store.imports import ImportReport, Kind
    from holdfast.sync import SyncReport

database = typer.Typer(no_args_is_help=True, help="The database.")
importing = typer.Typer(
    no_args_is_help=True, help="Import CSV, JSON lines or Parquet files; again and again, if you like."
)

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, readable=True, help="CSV; .jsonl and .parquet by name."
    ),
]
Rejects = Annotated[
    Path | None, typer.Option(help="Where refused rows go. Default: beside FILE, with .rejects in its name.")
]


@database.command()
def upgrade(context: typer.Context) -> None:
    """Bring the database's schema to this version, making it where there is none."""
    from holdfast.store import schema

    session: Session = context.obj
    with session.database(of_any_schema=True) as opened:
        schema.upgrade(opened)
    typer.echo("the database is up to date", err=True)


@importing.command()
def customers(context: typer.Context, file: File, rejects: Rejects = None, as_json: AsJson = False) -> None:
    """Customers, their addresses, consents and attributes: customer_id,email,first_name,…"""
    _import(context.obj, "customers", file, rejects, as_json)


@importing.command()
def orders(context: typer.Context, file: File, rejects: Rejects = None, as_json: AsJson = False) -> None:
    """Orders: order_id,customer_id,ordered_at,total,currency,status."""
    _import(context.obj, "orders", file, rejects, as_json)


@importing.command()
def lines(context: typer.Context, file: File, rejects: Rejects = None, as_json: AsJson = False) -> None:
    """Order lines: order_id,sku,name,category,quantity,unit_price."""
    _import(context.obj, "lines", file, rejects, as_json)


@importing.command()
def refunds(context: typer.Context, file: File, rejects: Rejects = None, as_json: AsJson = False) -> None:
    """Refunds: refund_id,order_id,refunded_at,amount."""
    _import(context.obj, "refunds", file, rejects, as_json)


@importing.command()
def events(context: typer.Context, file: File, rejects: Rejects = None, as_json: AsJson = False) -> None:
    """Events: event_id,customer_id,event,occurred_at,…"""
    _import(context.obj, "events", file, rejects, as_json)


def _import(session: Session, kind: Kind, file: Path, rejects: Path | None, as_json: bool) -> None:
    from holdfast.store.imports import import_file, rejects_suffix

    rejects = rejects or file.with_suffix(f".rejects{rejects_suffix(file)}")
    with session.database() as opened, _progress() as progress:
        report = import_file(
            opened,
            session.project,
            session.secret,
            kind,
            file,
            now=datetime.now(UTC),
            rejects=rejects,
            progress=partial(progress, kind),
            signer=session.signer,
        )
    if as_json:
        print_json(_facts(report))
    typer.echo(f"{kind}: {report}", err=True)
    if report.rejected:
        typer.echo(f"refused rows with their reasons: {report.rejects_path}", err=True)
        raise typer.Exit(1)


def sync(
    context: typer.Context,
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", help="Default: all of them.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read what is new in the project's sources: customers and what they did."""
    from holdfast import sync as syncing

    session: Session = context.obj
    with session.workspace() as ws, _progress() as progress:
        done = syncing.sync(ws, datetime.now(UTC), session.read_block, source, progress)
    if as_json:
        print_json([_synced(one) for one in done])
    for one in done:
        typer.echo(one, err=True)
        if one.report and one.report.rejects_path:
            typer.echo(f"refused rows with their reasons: {one.report.rejects_path}", err=True)
    if not done:
        typer.echo("nothing new in the sources", err=True)
    if not all(one.is_clean for one in done):
        raise typer.Exit(1)


def _synced(one: SyncReport) -> dict[str, Any]:
    place = {"source": one.source, "kind": one.kind, "file": one.file, "problem": one.problem}
    return place | {"report": _facts(one.report) if one.report else None}


def _facts(report: ImportReport) -> dict[str, Any]:
    """What a report says as a whole; single rows are in the rejects file."""
    facts = asdict(report)
    del facts["refused"]
    return facts


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """Shows what is read and the rows so far, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} rows"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda name, rows: bar.update(task, description=f"importing {name}", completed=rows)
