"""`holdfast erase` and `holdfast export`: what customers have a right to."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.session import AsJson, Session, operator, print_json

if TYPE_CHECKING:
    from holdfast.responses import Erased
    from holdfast.store.erasing import Request

CustomerId = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The id that the shop has for them.")]


def erase(
    context: typer.Context,
    customer: Annotated[
        str | None, typer.Argument(metavar="CUSTOMER", help="The id that the shop has for them.")
    ] = None,
    requested: Annotated[
        bool, typer.Option("--requested", help="All who asked for it: lists them, and asks.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="The customer is not to be erased after all: drops the wish.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a customer, or all who asked for it. Nobody can undo it."""
    from holdfast import responses

    if (customer is None) is not requested or (keep and requested):
        raise typer.BadParameter("either one CUSTOMER, or --requested", param_hint="CUSTOMER")
    session: Session = context.obj
    with session.workspace() as ws:
        if customer is not None and keep:
            responses.keep_customer(ws, customer)
            typer.echo("kept: nobody asks any more that they be erased", err=True)
            return
        if customer is not None:
            responses.require_customer(ws, customer)
            _confirm(f"erase {customer}?", yes)
            erased = responses.erase_customer(ws, customer, f"operator {operator()}", datetime.now(UTC))
        else:
            waiting = responses.waiting_to_be_erased(ws)
            _list(waiting)
            if waiting:
                _confirm(f"erase {_counted(len(waiting))}?", yes)
            erased = responses.erase_waiting(ws, datetime.now(UTC))
    _tell(erased, as_json)


def export(
    context: typer.Context,
    customer: CustomerId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Where to. Default: stdout."),
    ] = None,
) -> None:
    """Write all that there is of a customer, as JSON."""
    from holdfast import responses

    session: Session = context.obj
    with session.workspace() as ws:
        exported = responses.export_customer(ws, customer, datetime.now(UTC))
    if output is None:
        print_json(exported)
    else:
        # For nobody else on the machine to read.
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(exported, indent=2, ensure_ascii=False) + "\n")
        typer.echo(f"written: {output}", err=True)


def _confirm(question: str, yes: bool) -> None:
    # Also where nobody is at the keyboard: what cannot be undone is not done by chance.
    if not yes:
        typer.confirm(f"{question} Nobody can undo it", abort=True, err=True)


def _list(waiting: list[Request]) -> None:
    for request in waiting:
        asked = f"asked {request.asked_at:%Y-%m-%d %H:%M} UTC, {request.asked_by}"
        typer.echo(f"{request.external_id}  {asked}", err=True)


def _tell(erased: Erased, as_json: bool) -> None:
    if as_json:
        print_json(erased._asdict())
    elif not any(erased):
        typer.echo("nobody waits to be erased", err=True)
    else:
        typer.echo(f"erased: {_counted(erased.done)}")
    if erased.put_off:
        typer.echo(
            f"{_counted(erased.put_off)} being written to at this moment: ask again in a minute,"
            " with: holdfast erase --requested",
            err=True,
        )
        raise typer.Exit(1)


def _counted(n: int) -> str:
    return f"{n:,} customer{'' if n == 1 else 's'}"
