"""How results look on a terminal: tables on stdout, progress on stderr. Imports rich only when it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from holdfast.report import PlanRow, RunStatus
    from holdfast.store.decisions import Decision


_WIDE = 1000
_TOTALS = ("matched", "enrolled", "to send")


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar a kind of work on stderr; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def waterfall_table(rows: list[tuple[str, int]]) -> Table:
    """From whom the rule matched to who is written to; the totals stand out."""
    table = _table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for words, n in rows:
        total = words in _TOTALS
        table.add_row(words if total else f"  {words}", f"{n:,}", style="bold" if total else None)
    return table


def plan_table(rows: Sequence[PlanRow], last: str | None) -> Table:
    """A plan's waterfall, beside that of the last run where there was one."""
    table = _table(show_header=last is not None)
    for name in ("", "customers", *([f"in {last}"] if last else [])):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        total = row.words in _TOTALS
        before = [] if last is None else ["" if row.before is None else f"{row.before:,}"]
        words = row.words if total else f"  {row.words}"
        table.add_row(words, f"{row.customers:,}", *before, style="bold" if total else None)
    return table


def status_table(found: list[RunStatus]) -> Table:
    """Runs, a row each."""
    table = _table()
    has_posts = any(row.posts for row in found)
    for name in ("campaign", "occurrence", "state", "messages", "posts", "in doubt", "next due (UTC)"):
        if name != "posts" or has_posts:
            table.add_column(name, justify="right" if name == "in doubt" else "left")
    for row in found:
        counts = _counts(row.messages)
        of_posts = [_counts(row.posts)] if has_posts else []
        state = row.run.state if row.run.reason is None else f"{row.run.state}: {row.run.reason}"
        due = f"{row.next_due:%Y-%m-%d %H:%M}" if row.next_due else ""
        doubt = str(row.in_doubt) if row.in_doubt else ""
        table.add_row(row.run.campaign, row.run.occurrence, state, counts or "none", *of_posts, doubt, due)
    return table


def decisions_table(decided: Sequence[Decision]) -> Table:
    """What people decided by hand, a row each."""
    table = _table()
    for name in ("decided (UTC)", "occurrence", "decision", "messages", "who", "why"):
        table.add_column(name, justify="right" if name == "messages" else "left")
    for one in decided:
        table.add_row(
            f"{one.decided_at:%Y-%m-%d %H:%M}",
            one.occurrence or "all",
            f"{one.what}: {one.detail}",
            "" if one.messages is None else f"{one.messages:,}",
            one.who,
            one.why,
        )
    return table


def rows_table(names: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> Table:
    """A table of texts; a column that says nothing in any row is left out."""
    table = _table()
    shown = [number for number in range(len(names)) if any(row[number] for row in rows)]
    for number in shown:
        table.add_column(names[number], justify="right" if names[number] in right else "left")
    for row in rows:
        table.add_row(*(row[number] for number in shown))
    return table


def _counts(states: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {state}" for state, n in sorted(states.items()) if state != "in_doubt")


def results_table(rows: Sequence[dict[str, str | int]]) -> Table:
    """What became of messages: a row a step, variant and channel; a column a state. `rows` is not empty."""
    table = _table()
    # A column that says nothing in any row, as `variant` where there are none, is left out.
    names = [name for name in rows[0] if any(row[name] != "" for row in rows)]
    for name in names:
        table.add_column(
            name.replace("_", " "), justify="right" if isinstance(rows[0][name], int) else "left"
        )
    for row in rows:
        cells = [row[name] for name in names]
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells))
    return table


def show(title: str, table: Table) -> None:
    """Prints the table as a result."""
    from rich.console import Console

    # Square brackets in an occurrence's key are text, not rich's markup.
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDE  # whoever reads this by a program wants a row in a line
    if title:
        console.print(title, style="bold")
    console.print(table)


def _table(**options: Any) -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, **options)
