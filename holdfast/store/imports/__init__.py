"""Imports: good rows kept, bad ones set aside with number and reason; the same again changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from holdfast.errors import ProblemsFound, StoreError
from holdfast.settings import Kind, Project
from holdfast.store.database import Database
from holdfast.store.imports.csv_files import read_csv
from holdfast.store.imports.customers import COLUMNS as CUSTOMER_COLUMNS
from holdfast.store.imports.customers import CustomerRows
from holdfast.store.imports.history import (
    EVENT_COLUMNS,
    LINE_COLUMNS,
    ORDER_COLUMNS,
    REFUND_COLUMNS,
    EventRows,
    LineRows,
    OrderRows,
    RefundRows,
)
from holdfast.store.imports.records import read_json_lines, read_parquet, record_rows
from holdfast.store.imports.rejects import RejectsFile
from holdfast.store.imports.rows import Header, Row, Table, Written
from holdfast.store.imports.values import Conventions, Rejected
from holdfast.store.staging import one_import_at_a_time
from holdfast.tokens import Signer

__all__ = [
    "COLUMNS",
    "ImportReport",
    "Kind",
    "import_file",
    "import_records",
    "import_table",
    "read_file",
    "rejects_suffix",
]

COLUMNS: dict[Kind, tuple[str, ...]] = {
    "customers": CUSTOMER_COLUMNS,
    "orders": ORDER_COLUMNS,
    "lines": LINE_COLUMNS,
    "refunds": REFUND_COLUMNS,
    "events": EVENT_COLUMNS,
}
"""The columns that have a meaning; others are custom attributes, properties, or passed over."""

# Rows a transaction: enough that its fixed cost does not show, few enough to stay well under a second.
_CHUNK = 10_000
# Shapes of records whose readers are kept; others are made again.
_READERS = 1000

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the rows: `read` = `kept` + `rejected`.

    `written` counts database rows inserted, updated or removed (addresses and consents too): 0 when nothing
    new was said. `reasons` counts rejected rows by reason; `refused` has the first 10,000 of them, each by
    its line (its number from 1, where there are no lines) with its reason. `rejects_path` is None when there
    are none.
    """

    read: int
    kept: int
    written: int
    rejected: int
    reasons: dict[str, int] = field(default_factory=dict)
    rejects_path: Path | None = None
    refused: list[tuple[int, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.read:,} rows read, {self.kept:,} kept, {self.rejected:,} refused"


class _Rows(Protocol):
    def read(self, row: Row) -> tuple[Hashable, Any]: ...

    def write(self, connection: Connection, rows: Sequence[Any]) -> Written: ...


_ReaderOf = Callable[[Header], _Rows]

_ROWS: dict[Kind, Callable[[Header, Conventions, bytes, datetime], _Rows]] = {
    "customers": CustomerRows,
    "orders": OrderRows,
    "lines": LineRows,
    "refunds": RefundRows,
    "events": EventRows,
}


_READ: dict[str, Callable[[Path], AbstractContextManager[Table]]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
}


def read_file(path: Path) -> AbstractContextManager[Table]:
    """A file's rows, by its extension: .jsonl (or .ndjson), .parquet, anything else is CSV.

    Raises StoreError, before the first row, for a file that cannot be read.
    """
    return _READ.get(path.suffix.lower(), read_csv)(path)


def rejects_suffix(path: Path) -> str:
    """How the rejects of this file are written: as JSON lines, where the file is; else as CSV."""
    return ".jsonl" if _READ.get(path.suffix.lower()) is read_json_lines else ".csv"


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
    signer: Signer | None = None,
) -> ImportReport:
    """Imports a CSV, JSON lines or Parquet file; see docs/importing.md for its columns.

    Otherwise as `import_table`. Raises StoreError for an unreadable file too, before anything is written.
    """
    if rejects and rejects.resolve() == path.resolve():
        raise StoreError("the rejects file would overwrite the imported one", hint="give it another name")
    with read_file(path) as table:
        return import_table(
            database, project, secret, kind, table, now=now, rejects=rejects, progress=progress, signer=signer
        )


def import_records(
    database: Database,
    project: Project,
    secret: bytes,
    kind: Kind,
    records: Iterable[Mapping[str, Any]],
    *,
    now: datetime,
    source: str = "records",
    rejects: Path | None = None,
    progress: Callable[[int], None] | None = None,
    signer: Signer | None = None,
) -> ImportReport:
    """Imports records that name their own columns, by the rules of a file; otherwise as `import_table`.

    A key that a record lacks leaves what is stored; None clears it, as an empty cell does. A record without
    a required key is rejected. `source` is the evidence of consents: "import SOURCE".
    """
    table = Table(record_rows(source, enumerate(records, start=1)))
    return import_table(
        database, project, secret, kind, table, now=now, rejects=rejects, progress=progress, signer=signer
    )


def import_table(
    database: Database,
    project: Project,
    secret: bytes,
    kind: Kind,
    table: Table,
    *,
    now: datetime,
    rejects: Path | None = None,
    progress: Callable[[int], None] | None = None,
    along: Callable[[Connection], None] | None = None,
    signer: Signer | None = None,
) -> ImportReport:
    """Imports rows, a chunk a transaction, in constant memory.

    Rows that cannot be kept go to `rejects`, if given. `progress` is told the rows read so far. `along` is
    called in each chunk's transaction, when its rows are written. `signer` believes the codes of invitations;
    None: the one of the secret. Raises ProblemsFound for an unusable
    header, before anything is written; StoreError when the database stops in the middle, after which the
    import can be run again.
    """
    believed = signer or Signer(secret)
    conventions = Conventions.of(project.business, now, believed, project.defaults.double_opt_in)

    @lru_cache(_READERS)
    def reader_of(header: Header) -> _Rows:
        return _ROWS[kind](header, conventions, secret, now)

    if table.header:
        reader_of(table.header)
    read = written = 0
    reasons: Counter[str] = Counter()
    refused: list[tuple[int, str]] = []
    with RejectsFile(rejects, table.header) as set_aside:

        def finish(connection: Connection, why: Mapping[int, str]) -> None:
            # Before the commit: what a crash makes us read again is refused again, but never forgotten.
            set_aside.write((row, why[row.line]) for row in chunk if row.line in why)
            set_aside.flush()
            if along:
                along(connection)

        for chunk in _chunks(table.rows, _CHUNK):
            done = _import_chunk(database, reader_of, chunk, finish)
            reasons.update(done.refused.values())
            refused += sorted(done.refused.items())[: _CHUNK - len(refused)]
            read += len(chunk)
            written += done.rows
            if progress:
                progress(read)
    rejected = reasons.total()
    return ImportReport(read, read - rejected, written, rejected, dict(reasons), set_aside.path, refused)


def _import_chunk(
    database: Database,
    reader_of: _ReaderOf,
    chunk: list[Row],
    finish: Callable[[Connection, Mapping[int, str]], None],
) -> Written:
    groups, refused = _read(reader_of, chunk)
    written = 0
    try:
        with database.write() as connection:
            one_import_at_a_time(connection)
            for rows, good in groups:
                done = rows.write(connection, list(good.values()))
                written += done.rows
                refused |= done.refused
            finish(connection, refused)
    except DBAPIError as error:
        raise StoreError(
            f"the database stopped the import at line {chunk[0].line} ({type(error.orig).__name__})",
            hint="the rows before it are kept; import again when the database is well",
        ) from None
    return Written(written, refused)


def _read(
    reader_of: _ReaderOf, chunk: Iterable[Row]
) -> tuple[list[tuple[_Rows, dict[Hashable, Any]]], dict[int, str]]:
    """The chunk's good rows, by their columns, in groups to be written in turn; and why the others are not.

    The last row of an id counts, within a chunk as over the whole source: a row never comes into a group
    before that of an earlier row of the same id.
    """
    groups: list[tuple[_Rows, dict[Hashable, Any]]] = []
    refused: dict[int, str] = {}
    group_of_columns: dict[Header, int] = {}
    group_of_id: dict[Hashable, int] = {}
    for row in chunk:
        try:
            if row.malformed:
                raise Rejected(row.malformed)
            rows = reader_of(row.header)
            key, record = rows.read(row)
        except Rejected as why:
            refused[row.line] = str(why)
            continue
        except ProblemsFound as error:
            refused[row.line] = error.problems[0].what
            continue
        group = group_of_columns.get(row.header, -1)
        if group < group_of_id.get(key, 0):
            group = group_of_columns[row.header] = len(groups)
            groups.append((rows, {}))
        group_of_id[key] = group
        groups[group][1][key] = record
    return groups, refused


def _chunks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
