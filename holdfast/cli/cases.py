"""`holdfast cases …` and `holdfast conversations`: what customers complain about, and what we do about it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.session import AsJson, Session, operator, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from holdfast.store.casework import Case
    from holdfast.store.conversations import Conversation, Turn

cases = typer.Typer(help="Complaints of customers: list them, read one, answer it, close it.")

Id = Annotated[int, typer.Argument(metavar="ID", min=1, help="The case's number.")]
Because = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")]

# Of the last words in a table.
_SHOWN = 60
# Signs that turn the direction of what follows them on a terminal.
_TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


@cases.callback(invoke_without_command=True)
def list_cases(
    context: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the open cases, or all: whose, why, since when, how long they have waited for an answer."""
    if context.invoked_subcommand is not None:
        return
    from holdfast.cli.shown import show
    from holdfast.responses import cases as casework

    session: Session = context.obj
    now = datetime.now(UTC)
    with session.workspace() as ws:
        found = casework.list_cases(ws, open_only=not all_)
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        show("", _cases_table(found, now))
    else:
        typer.echo("no case" if all_ else "no open case", err=True)


@cases.command("show")
def show_case(context: typer.Context, id_: Id, as_json: AsJson = False) -> None:
    """Show a case: what the customer said, what they were sent, and what was done, in the order of time."""
    from holdfast.cli.shown import show
    from holdfast.responses import cases as casework

    session: Session = context.obj
    now = datetime.now(UTC)
    with session.workspace() as ws:
        file = casework.show_case(ws, id_, now)
    if as_json:
        print_json(asdict(file))
    else:
        show("", _cases_table([file.case], now))
        typer.echo()
        _print_turns(file.turns)


@cases.command("open")
def open_case(
    context: typer.Context,
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The id they were imported with.")],
    because: Because,
    as_json: AsJson = False,
) -> None:
    """Open a case by hand, for a complaint that came another way or that the words did not tell."""
    from holdfast.responses import cases as casework

    session: Session = context.obj
    with session.workspace() as ws:
        case = casework.open_case(ws, customer, because, operator(), datetime.now(UTC))
    _tell(case, "open", as_json)


@cases.command()
def answer(
    context: typer.Context,
    id_: Id,
    text: Annotated[str, typer.Option(metavar="TEXT", help="What the customer was told.")],
    as_json: AsJson = False,
) -> None:
    """Record that the customer was answered, and what. It sends nothing."""
    from holdfast.responses import cases as casework

    session: Session = context.obj
    with session.workspace() as ws:
        case = casework.answer(ws, id_, text, operator(), datetime.now(UTC))
    _tell(case, "answered", as_json)


@cases.command()
def note(
    context: typer.Context,
    id_: Id,
    text: Annotated[str, typer.Option(metavar="TEXT", help="What is to be known about it.")],
    as_json: AsJson = False,
) -> None:
    """Write down what is to be known about a case; no customer sees it."""
    from holdfast.responses import cases as casework

    session: Session = context.obj
    with session.workspace() as ws:
        case = casework.note(ws, id_, text, operator(), datetime.now(UTC))
    _tell(case, "noted", as_json)


@cases.command()
def close(
    context: typer.Context,
    ids: Annotated[list[int], typer.Argument(metavar="ID…", min=1, help="The cases' numbers.")],
    because: Because,
    as_json: AsJson = False,
) -> None:
    """Close cases; marketing goes to their customers again."""
    from holdfast.responses import cases as casework

    session: Session = context.obj
    now = datetime.now(UTC)
    with session.workspace() as ws:
        closed = casework.close_all(ws, ids, because, operator(), now)
    if as_json:
        print_json([asdict(case) for case in closed])
    for case in () if as_json else closed:
        _tell(case, "closed", as_json)


def conversations(
    context: typer.Context,
    customer: Annotated[
        str | None, typer.Argument(metavar="CUSTOMER", help="All that was said with this one.")
    ] = None,
    latest: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what customers wrote lately, by customer and channel; or all that was said with one of them."""
    from holdfast.cli.shown import show
    from holdfast.responses import cases as casework

    session: Session = context.obj
    with session.workspace() as ws:
        if customer is not None:
            turns = casework.conversation_of(ws, customer, datetime.now(UTC))
            found = []
        else:
            turns, found = [], casework.list_conversations(ws, latest)
    if as_json:
        print_json([asdict(one) for one in (turns or found)])
    elif found:
        show("", _conversations_table(found))
    elif turns:
        _print_turns(turns)
    else:
        typer.echo("nothing was said", err=True)


def _tell(case: Case, what: str, as_json: bool) -> None:
    if as_json:
        print_json(asdict(case))
    else:
        typer.echo(f"case {case.id}: {what}")


# --- tables and lines -----------------------------------------------------------------------------


def _cases_table(found: Iterable[Case], now: datetime) -> Table:
    from holdfast.cli.shown import rows_table

    names = ("id", "customer", "reason", "channel", "opened (UTC)", "waiting for", "first answered", "closed")
    rows = [
        (
            str(one.id),
            one.customer_id or "unknown",
            one.reason.replace("_", " ") + (f", reopened {one.reopened}" if one.reopened else ""),
            one.channel,
            _time(one.opened_at),
            _span(now - one.waiting_since) if one.waiting_since else "",
            _time(one.answered_at),
            _time(one.closed_at),
        )
        for one in found
    ]
    return rows_table(names, rows, right=("id", "waiting for"))


def _conversations_table(found: Iterable[Conversation]) -> Table:
    from holdfast.cli.shown import rows_table

    rows = [
        (
            one.customer_id or "unknown",
            one.channel,
            f"{one.said:,}",
            _time(one.last_at),
            _shortened(one.last or ""),
            ", ".join(map(str, one.cases)),
        )
        for one in found
    ]
    return rows_table(("customer", "channel", "said", "last (UTC)", "last words", "cases"), rows, ("said",))


def _print_turns(turns: Iterable[Turn]) -> None:
    for turn in turns:
        for line in _lines(turn):
            typer.echo(line)


def _lines(turn: Turn) -> Iterator[str]:
    of_step = f"{turn.campaign}/{turn.step}" if turn.campaign else ""
    if turn.what == "sent":
        said = f"we sent {of_step}"
    elif turn.side == "us":
        said = f"{_printable(turn.who or '')}: {turn.what}"
    else:
        score = f" {turn.survey} {turn.score}" if turn.survey else ""
        said = f"customer: {turn.what}{score}" + (f" to {of_step}" if of_step else "")
    by = f" by {turn.channel}" if turn.channel else ""
    of_case = f" (case {turn.case_id})" if turn.case_id and turn.side == "customer" else ""
    yield f"{_time(turn.at)}  {said}{by}{of_case}"
    for line in _printable(turn.text or "").splitlines():
        yield f"    {line}"


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _span(span: timedelta) -> str:
    minutes = max(0, int(span.total_seconds()) // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"


def _shortened(text: str) -> str:
    line = " ".join(_printable(text).split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _printable(text: str) -> str:
    """What strangers wrote, without signs that command a terminal."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if (unicodedata.category(sign) == "Cc" and sign not in "\n\t") or ord(sign) in _TURNING
        else sign
        for sign in text
    )
