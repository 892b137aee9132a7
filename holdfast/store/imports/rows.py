"""CSV files as people have them: rows with their physical line numbers; rejected rows written back out."""

from __future__ import annotations

import codecs
import csv
import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from holdfast.errors import Problem, ProblemsFound, StoreError

Fields = Sequence[str]

# What a rejects file puts before the columns of the row; an import of the corrected file passes over them.
REJECT_COLUMNS = ("rejected.line", "rejected.reason")

_BLOCK = 1 << 20
_MOST_COLUMNS = 500
_HEADER_LENGTH = 100


class Row(NamedTuple):
    """One record: the line it starts on, its fields, and why it is not a record of this file, if so."""

    line: int
    fields: list[str]
    malformed: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What a chunk did: database rows inserted, updated or removed, and the lines refused, with reasons."""

    rows: int
    refused: dict[int, str] = field(default_factory=dict)


class Header:
    """The columns of a file. Known ones are matched whatever their case; others keep their spelling."""

    def __init__(self, file: str, line: str, columns: list[str]) -> None:
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
            elif len(name) > _HEADER_LENGTH or "\0" in name:
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
        column = self.line.lower().rfind(name.lower()) + 1 if name else 1
        return Problem(self.file, 1, max(column, 1), what, expected, suggestion, self.line[:200])


@contextmanager
def read_table(path: Path) -> Iterator[tuple[Header, Iterator[Row]]]:
    """A CSV file's header and its rows, one at a time.

    Comma, semicolon or tab, whichever splits the header into most columns. Raises StoreError, before the
    first row, for a file that is missing, empty or not UTF-8 text.
    """
    has_nul = _check_text(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        if not first.strip():
            raise StoreError(f"{path.name} has no header", hint="its first line names the columns")
        delimiter = max(",;\t", key=lambda sign: len(next(csv.reader([first], delimiter=sign))))
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            columns = next(reader)
        except csv.Error as error:
            raise StoreError(f"{path.name}: the header cannot be read: {error}") from None
        yield Header(path.name, first.rstrip("\r\n"), columns), _rows(reader, len(columns), has_nul)


def _rows(reader: Any, width: int, has_nul: bool) -> Iterator[Row]:
    line = reader.line_num + 1
    while True:
        try:
            for fields in reader:
                if len(fields) == width:
                    yield Row(line, fields, "a NUL byte" if has_nul and "\0" in "".join(fields) else "")
                elif fields:
                    yield Row(line, fields, f"{len(fields)} fields where the header has {width}")
                line = reader.line_num + 1
            return
        except csv.Error as error:
            yield Row(line, [], f"not CSV: {error}")
            line = reader.line_num + 1


def _check_text(path: Path) -> bool:
    """Reads the whole file once, so that nothing of a file in another encoding is written.

    Says whether there is a NUL byte anywhere: only then has every row to be looked through for it.
    """
    has_nul = False
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, since_newline = 1, 0
    try:
        if not path.is_file():
            raise StoreError(f"no file {path.name}", hint="give the path of a CSV file")
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as error:
                    line = lines + block.count(b"\n", 0, error.start)
                    raise StoreError(
                        f"{path.name}:{line}: not UTF-8 text",
                        hint="save the file as UTF-8 and import it again",
                    ) from None
                has_nul = has_nul or b"\0" in block
                lines += block.count(b"\n")
                since_newline = (
                    len(block) - 1 - block.rfind(b"\n") if b"\n" in block else since_newline + len(block)
                )
                if since_newline > 4 * _BLOCK:
                    raise StoreError(f"{path.name}:{lines}: a line of over 4 MB", hint="is this a CSV file?")
            try:
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                raise StoreError(f"{path.name}:{lines}: the file ends in the middle of a character") from None
    except OSError as error:
        raise StoreError(f"{path.name} cannot be read: {error.strerror}") from None
    return has_nul


class RejectsFile:
    """The rows that were not kept, with line and reason; made when the first one comes.

    They are customers' data: the file can be read by its owner alone.
    """

    def __init__(self, path: Path | None, header: Header) -> None:
        self._path = path
        self._header = header
        self._file: TextIO | None = None

    @property
    def path(self) -> Path | None:
        """Where the rows are; None while there are none."""
        return self._path if self._file else None

    def __enter__(self) -> RejectsFile:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file:
            self._file.close()

    def write(self, rejected: Iterable[tuple[Row, str]]) -> None:
        """Adds rows with their reasons."""
        for row, reason in rejected:
            if self._path is None:
                return
            if self._file is None:
                self._file = self._open(self._path)
                self._writer = csv.writer(self._file)
                self._writer.writerow(
                    (*REJECT_COLUMNS, *_without_reject_columns(self._header, self._header.written))
                )
            self._writer.writerow((row.line, reason, *_without_reject_columns(self._header, row.fields)))

    @staticmethod
    def _open(path: Path) -> TextIO:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            os.fchmod(descriptor, 0o600)
        except OSError as error:
            raise StoreError(f"the rejects file {path.name} cannot be written: {error.strerror}") from None
        return open(descriptor, "w", encoding="utf-8", newline="")


def _without_reject_columns(header: Header, fields: Fields) -> list[str]:
    names = header.names
    return [
        field
        for place, field in enumerate(fields)
        if place >= len(names) or names[place] not in REJECT_COLUMNS
    ]
