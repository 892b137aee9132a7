"""Rows of text cells under a header: what every import reads, wherever they come from."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from holdfast.errors import Problem, ProblemsFound

Fields = Sequence[str]

# What a rejects file puts before the columns of the row; an import of the corrected file passes over them.
REJECT_COLUMNS = ("rejected.line", "rejected.reason")

_MOST_COLUMNS = 500
_HEADER_LENGTH = 100


class Header:
    """The columns of a row. Known ones are matched whatever their case; others keep their spelling.

    `line` is the text it was read from, where it was read from text.
    """

    def __init__(self, file: str, columns: Sequence[str], line: str = "") -> None:
        self.file = file
        self.line = line
        self.written = columns
        self.names = [column.strip() for column in columns]

    def require(self, required: Iterable[str], known: Iterable[str]) -> None:
        """Raises ProblemsFound with every missing, repeated or nameless column."""
        known = set(known)
        self.names = [name.lower() if name.lower() in known else name for name in self.names]
        problems = [
            self._problem(f"no column {name!r}", suggestion=self._alike(name))
            for name in required
            if name not in self.names
        ]
        for place, name in enumerate(self.names):
            if name in self.names[:place]:
                problems.append(self._problem(f"column {name!r} is there twice", name=name))
            elif not name:
                problems.append(self._problem(f"column {place + 1} has no name"))
            elif len(name) > _HEADER_LENGTH or unstorable(name):
                problems.append(
                    self._problem(f"column {place + 1}: not a name of at most {_HEADER_LENGTH} characters")
                )
        if len(self.names) > _MOST_COLUMNS:
            problems.append(self._problem(f"{len(self.names)} columns; at most {_MOST_COLUMNS} are read"))
        if problems:
            raise ProblemsFound(problems)

    def problem(self, what: str, *, name: str, expected: str) -> ProblemsFound:
        """What is wrong with one column."""
        return ProblemsFound([self._problem(what, name=name, expected=expected)])

    def picker(self, *names: str) -> Callable[[list[str]], tuple[str, ...]]:
        """A function from a row's fields to the cells of these columns; absent columns are empty."""
        absent = len(self.names)
        pick: Callable[[Any], tuple[str, ...]] = itemgetter(
            *(self.names.index(name) if name in self.names else absent for name in names)
        )
        return lambda fields: pick([*fields, ""])

    def _alike(self, name: str) -> str:
        return next(iter(difflib.get_close_matches(name, self.names, n=1)), "")

    def _problem(self, what: str, *, name: str = "", expected: str = "", suggestion: str = "") -> Problem:
        line = 1 if self.line else 0
        column = self.line.lower().rfind(name.lower()) + 1 if name else 1
        return Problem(self.file, line, max(column, line), what, expected, suggestion, self.line[:200])


class Row(NamedTuple):
    """One record: its line or number from 1, its cells, their columns, and why it is no record, if so."""

    line: int
    fields: list[str]
    header: Header
    malformed: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to import. `header` is that of all of them; None: each record names its own columns."""

    rows: Iterator[Row]
    header: Header | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What a chunk did: database rows inserted, updated or removed, and the lines refused, with reasons."""

    rows: int
    refused: dict[int, str] = field(default_factory=dict)


def unstorable(text: str) -> str:
    """Why not both databases take this text; empty where they do."""
    if "\0" in text:
        return "a NUL byte"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half a surrogate pair"
    return ""
