"""`holdfast db …` and `holdfast import …`: the database and what comes into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.session import AsJson, Session, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.store.imports import Kind

database = typer.Typer(no_args_is_help=True, help="The database.")
importing = typer.Typer(no_args_is_help=True, help="Import CSV files; again and again, if you like.")

File = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="A CSV file.")
]
Rejects = Annotated[
    Path | None, typer.Option(help="Where refused rows go. Default: FILE with .rejects.csv at the end.")
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
def events(context: typer.Context, file: File, rejects: Rejects = None, as_json: AsJson = False) -> None:
    """Events: event_id,customer_id,event,occurred_at,…"""
    _import(context.obj, "events", file, rejects, as_json)


def _import(session: Session, kind: Kind, file: Path, rejects: Path | None, as_json: bool) -> None:
    from holdfast.store.imports import import_file

    rejects = rejects or file.with_suffix(".rejects.csv")
    with session.database() as opened, _progress(kind) as progress:
        report = import_file(
            opened,
            session.project,
            session.secret,
            kind,
            file,
            now=datetime.now(UTC),
            rejects=rejects,
            progress=progress,
        )
    if as_json:
        print_json(asdict(report))
    typer.echo(
        f"{kind}: {report.read:,} rows read, {report.kept:,} kept, {report.rejected:,} refused", err=True
    )
    if report.rejected:
        typer.echo(f"refused rows with their reasons: {report.rejects_path}", err=True)
        raise typer.Exit(1)


@contextmanager
def _progress(kind: str) -> Iterator[Callable[[int], None]]:
    """Shows the rows read so far, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} rows"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"importing {kind}", total=None)
        yield lambda rows: bar.update(task, completed=rows)
