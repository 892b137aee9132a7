"""The command line. Results go to stdout, messages to stderr; exit 1 is a finding or failure, 2 wrong use.

Only light modules are imported here: a command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import (
    answers,
    cases,
    checking,
    data,
    operating,
    planning,
    privacy,
    reporting,
    running,
    sandbox,
    settling,
    testing,
)
from holdfast.cli.session import Session
from holdfast.errors import HoldfastError

__all__ = ["app", "main"]

app = typer.Typer(
    name="holdfast",
    help="Retention campaigns as code: select, render, send once, and measure against a holdout.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"holdfast {version('holdfast')}")
        raise typer.Exit


@app.callback()
def _project(
    context: typer.Context,
    project: Annotated[
        Path,
        typer.Option(
            envvar="HOLDFAST_PROJECT", metavar="DIR", help="The project's folder, or one inside it."
        ),
    ] = Path(),
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = Session(project)


app.command()(checking.validate)
app.command()(checking.schema)
app.command()(planning.plan)
app.command()(running.preview)
app.command()(testing.send_test)
app.command()(running.run)
app.command()(planning.approve)
app.command()(running.status)
app.command()(running.why)
app.command()(sandbox.sandbox)
app.command()(settling.settle)
app.command()(answers.collect)
app.add_typer(cases.cases, name="cases")
app.command()(cases.conversations)
app.command()(privacy.erase)
app.command()(privacy.export)
app.command()(reporting.report)
app.command()(operating.deploy)
app.command()(operating.up)
app.command()(operating.refresh)
app.command()(operating.demo)
app.command()(data.sync)
app.add_typer(data.database, name="db")
app.add_typer(data.importing, name="import")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits; a failure is told in words, never as a traceback, unless HOLDFAST_DEBUG=1."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of another script still shows the rest
    try:
        app(arguments)
    except HoldfastError as error:
        typer.echo(f"error: {error}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
    except Exception as error:
        if os.environ.get("HOLDFAST_DEBUG") == "1":
            raise
        typer.echo(_told(error), err=True)
    sys.exit(1)


def _told(error: Exception) -> str:
    """A foreign exception in a line. Its text is not shown: it may quote a customer's data or a secret."""
    if isinstance(error, OSError) and error.filename:
        return f"error: cannot use {error.filename}: {error.strerror}"
    return f"unexpected {type(error).__name__} at {_place(error)}; HOLDFAST_DEBUG=1 shows more"


def _place(error: Exception) -> str:
    """The innermost line of our own code on the way to the error."""
    root = Path(__file__).parents[2]
    own = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    for path, frame in reversed(list(zip(own, traceback.extract_tb(error.__traceback__), strict=True))):
        if path.is_relative_to(root) and path.relative_to(root).parts[0] in ("holdfast", "channels", "flows"):
            return f"{path.relative_to(root)}:{frame.lineno}"
    return "an unknown place"
