"""`holdfast collect`: what customers answered, now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from holdfast.cli.session import AsJson, Session, print_json

if TYPE_CHECKING:
    from holdfast.responses import Collected


def collect(context: typer.Context, as_json: AsJson = False) -> None:
    """Take in what customers answered: read the inbox, ask the channels, settle doubt, count conversions."""
    from holdfast import responses
    from holdfast.cli.shown import progress_bars

    session: Session = context.obj
    with session.workspace() as ws, progress_bars() as progress:
        collected = responses.collect(
            ws, datetime.now(UTC), lambda done, total: progress("read", done, total)
        )
    if as_json:
        print_json(asdict(collected))
    else:
        for line in _told(collected):
            typer.echo(line)
        if collected.cases and (recovery := session.project.cases.recovery):
            typer.echo(f"make it up to them with: holdfast run {recovery}", err=True)
        for problem in collected.problems:
            typer.echo(problem, err=True)
    if collected.problems or collected.unreadable:
        raise typer.Exit(1)


def _told(collected: Collected) -> Iterator[str]:
    unreadable = f", {collected.unreadable:,} of them unreadable" if collected.unreadable else ""
    yield f"{collected.letters:,} letters read{unreadable}"
    unknown = f"{collected.unknown:,} of unknown messages"
    yield f"{collected.new:,} new answers, {unknown}; {collected.repeated:,} repeated"
    if collected.left_out:
        each = ", ".join(f"{count:,} {type_}" for type_, count in collected.left_out.items())
        yield f"{sum(collected.left_out.values()):,} events that change nothing: {each}"
    yield f"{collected.settled:,} messages settled, {collected.in_doubt:,} in doubt"
    if collected.cases:
        yield f"{collected.cases:,} cases opened"
    yield f"{collected.conversions:,} conversions changed, {collected.attributions:,} attributions"
    if collected.erased:
        yield f"{collected.erased:,} customers erased who had asked for it"
    if collected.posts:
        yield f"{collected.posts:,} posts measured"
