"""Imports from CSV: good rows kept, bad ones set aside with line and reason; a file twice changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from holdfast.errors import StoreError
from holdfast.settings import Project
from holdfast.store.database import Database
from holdfast.store.imports.customers import CustomerRows
from holdfast.store.imports.history import EventRows, LineRows, OrderRows
from holdfast.store.imports.rows import Header, RejectsFile, Row, Written, read_table
from holdfast.store.imports.values import Conventions, Rejected
from holdfast.store.staging import one_import_at_a_time

Kind = Literal["customers", "orders", "lines", "events"]

# Rows a transaction: enough that its fixed cost does not show, few enough to stay well under a second.
_CHUNK = 10_000

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file's rows: `read` = `kept` + `rejected`.

    `written` counts database rows inserted, updated or removed (addresses and consents too): 0 when the file
    said nothing new. `reasons` counts rejected rows by reason; `rejects_path` is None when there are none.
    """

    read: int
    kept: int
    written: int
    rejected: int
    reasons: dict[str, int] = field(default_factory=dict)
    rejects_path: Path | None = None


class _Rows(Protocol):
    def read(self, row: Row) -> tuple[Hashable, Any]: ...

    def write(self, connection: Connection, rows: Sequence[Any]) -> Written: ...


_ROWS: dict[Kind, Callable[[Header, Conventions, bytes, datetime], _Rows]] = {
    "customers": CustomerRows,
    "orders": OrderRows,
    "lines": LineRows,
    "events": EventRows,
}


def import_file(
    database: Database,
    project: Project,
    secret: bytes,
    kind: Kind,
    path: Path,
    *,
    now: datetime,
    rejects: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Imports a CSV file, a chunk a transaction, in constant memory; see docs/importing.md for its columns.

    Rows that cannot be kept go to `rejects`, if given. `progress` is told the rows read so far. Raises
    ProblemsFound for an unusable header and StoreError for an unreadable file, both before anything is
    written; StoreError when the database stops in the middle, after which the import can be run again.
    """
    conventions = Conventions.of(project.business, now)
    if rejects and rejects.resolve() == path.resolve():
        raise StoreError("the rejects file would overwrite the imported one", hint="give it another name")
    read = written = 0
    reasons: Counter[str] = Counter()
    with read_table(path) as (header, table):
        rows = _ROWS[kind](header, conventions, secret, now)
        with RejectsFile(rejects, header) as refused:
            for chunk in _chunks(table, _CHUNK):
                done = _import_chunk(database, rows, chunk)
                refused.write((row, done.refused[row.line]) for row in chunk if row.line in done.refused)
                reasons.update(done.refused.values())
                read += len(chunk)
                written += done.rows
                if progress:
                    progress(read)
    rejected = reasons.total()
    return ImportReport(read, read - rejected, written, rejected, dict(reasons), refused.path)


def _import_chunk(database: Database, rows: _Rows, chunk: list[Row]) -> Written:
    good: dict[Hashable, Any] = {}
    refused: dict[int, str] = {}
    for row in chunk:
        try:
            if row.malformed:
                raise Rejected(row.malformed)
            key, record = rows.read(row)
            # The last row of an id counts, within a chunk as over the whole file.
            good[key] = record
        except Rejected as why:
            refused[row.line] = str(why)
    try:
        with database.write() as connection:
            one_import_at_a_time(connection)
            done = rows.write(connection, list(good.values()))
    except DBAPIError as error:
        raise StoreError(
            f"the database stopped the import at line {chunk[0].line} ({type(error.orig).__name__})",
            hint="the rows before it are kept; import the file again when the database is well",
        ) from None
    return Written(done.rows, refused | done.refused)


def _chunks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
