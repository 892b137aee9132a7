"""Syncing: customers and what they did, from the project's sources, as far as they are new there.

Only what changed is read: of a query, what its cursor has not passed yet; of files, those that are not as
they were. Reading something twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from holdfast.delivery import Workspace
from holdfast.errors import HoldfastError, ProblemsFound, SettingsError, StoreError
from holdfast.mistakes import closest
from holdfast.settings import Kind, ReadBlock, SecretRef, SourcePart, SyncSource, resolve_secret
from holdfast.store.cursors import read_cursor, write_cursor
from holdfast.store.imports import COLUMNS, ImportReport, import_table, read_file, rejects_suffix
from holdfast.store.imports.queries import Query, Reading, cursor_text, cursor_value, not_ahead, open_source
from holdfast.store.imports.rows import Table

Progress = Callable[[str, int], None]
"""Is told what is being read, and the rows read so far."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What became of a source's part, or of one of its files; `problem`: why it was not read to its end."""

    source: str
    kind: Kind
    file: str = ""
    report: ImportReport | None = None
    problem: HoldfastError | None = None

    @property
    def name(self) -> str:
        """What was read, for people: `shop.orders`, `files.orders data/may.csv`."""
        return f"{self.source}.{self.kind} {self.file}".rstrip()

    @property
    def is_clean(self) -> bool:
        """Whether all was read, and no row refused."""
        return self.problem is None and not (self.report and self.report.rejected)

    def __str__(self) -> str:
        if isinstance(self.problem, ProblemsFound):
            return str(self.problem)  # which says where it is
        if self.problem:
            return f"{self.name}: {self.problem} ({self.problem.hint})".removesuffix(" ()")
        return f"{self.name}: {self.report}"


def sync(
    ws: Workspace,
    now: datetime,
    read_block: ReadBlock,
    only: str | None = None,
    progress: Progress | None = None,
) -> list[SyncReport]:
    """Syncs all sources, or only one; files that are as they were are not in the reports.

    A part that cannot be read is reported with its problem. What comes after it in its source waits, because
    an order needs its customer; other sources go on. Raises SettingsError for a source that is not there.
    """
    reports = []
    for name, source in _chosen(ws.project.sources, only).items():
        for kind, part in source.parts.items():
            done = list(_synced(_Part(ws, name, kind, now, progress), source, part, read_block))
            reports += done
            if any(report.problem for report in done):
                break
    return reports


def _chosen(sources: dict[str, SyncSource], only: str | None) -> dict[str, SyncSource]:
    if only is None:
        return sources
    if only not in sources:
        suggestion = closest(only, sources)
        raise SettingsError(
            f"there is no source {only!r}" + (f"; did you mean {suggestion!r}?" if suggestion else ""),
            hint=f"known are: {', '.join(sources) or 'none'}",
        )
    return {only: sources[only]}


def _synced(here: _Part, source: SyncSource, part: SourcePart, read_block: ReadBlock) -> Iterator[SyncReport]:
    if part.sql and source.url:
        query = Query(here.name, part.sql, part.cursor)
        yield here.from_query(query, source.url, read_block)
    elif part.file:
        yield from here.from_files(part.file)


@dataclass(frozen=True, slots=True)
class _Part:
    """One kind of records of one source, on its way into the database."""

    ws: Workspace
    source: str
    kind: Kind
    now: datetime
    progress: Progress | None

    @property
    def name(self) -> str:
        return f"{self.source}.{self.kind}"

    # --- a query ----------------------------------------------------------------------------------

    def from_query(self, query: Query, url: SecretRef, read_block: ReadBlock) -> SyncReport:
        """Reads what the query's cursor has not passed."""
        try:
            location = resolve_secret(url, read_block)
            with open_source(location, str(url)) as connection:
                report = self._import_query(
                    Reading(connection, query, self._since(query), COLUMNS[self.kind])
                )
        except HoldfastError as problem:
            return SyncReport(self.source, self.kind, problem=problem)
        return SyncReport(self.source, self.kind, report=report)

    def _import_query(self, reading: Reading) -> ImportReport:
        def remember(connection: Connection) -> None:
            if reading.query.cursor and reading.latest is not None:
                here = self.now.astimezone(ZoneInfo(self.ws.project.business.timezone))
                latest = cursor_text(not_ahead(reading.latest, here))
                reached = json.dumps([_digest(reading.query), latest])
                write_cursor(connection, self._cursor(), reached, self.now)

        return self._import(reading.table, f"{self.source}-{self.kind}.csv", remember)

    def _since(self, query: Query) -> Any:
        """The value that was reached. A query that was edited since is read from its start."""
        with self.ws.database.read() as connection:
            digest, reached = json.loads(read_cursor(connection, self._cursor()) or '["", ""]')
        return cursor_value(reached) if digest == _digest(query) else None

    # --- files ------------------------------------------------------------------------------------

    def from_files(self, pattern: str) -> Iterator[SyncReport]:
        """Reads the files that are not as they were, in the order of their names."""
        root = self.ws.project.root
        for path in sorted(glob(pattern, root_dir=root, recursive=True)) or [pattern]:
            try:
                if report := self._import_if_new(root / path, path):
                    yield SyncReport(self.source, self.kind, path, report)
            except HoldfastError as problem:
                yield SyncReport(self.source, self.kind, path, problem=problem)

    def _import_if_new(self, path: Path, file: str) -> ImportReport | None:
        try:
            stat = path.stat()
        except OSError as error:
            raise StoreError(
                f"cannot be read: {error.strerror}",
                hint="correct `file` in holdfast.yaml; it is in the project's folder",
            ) from None
        version = f"{stat.st_size} {stat.st_mtime_ns}"
        with self.ws.database.read() as connection:
            if read_cursor(connection, self._cursor(file)) == version:
                return None
        with read_file(path) as table:
            name = file.removesuffix(path.suffix).strip("/").replace("/", "-")
            report = self._import(table, f"{self.source}-{self.kind}-{name}{rejects_suffix(path)}")
        # One with refused rows is read again next time: what they refer to may have come by then.
        if not report.rejected:
            with self.ws.database.write() as connection:
                write_cursor(connection, self._cursor(file), version, self.now)
        return report

    # --- both -------------------------------------------------------------------------------------

    def _import(
        self, table: Table, rejects: str, along: Callable[[Connection], None] | None = None
    ) -> ImportReport:
        folder = self.ws.project.root / ".holdfast" / "rejects"
        folder.mkdir(parents=True, exist_ok=True)
        return import_table(
            self.ws.database,
            self.ws.project,
            self.ws.secret,
            self.kind,
            table,
            now=self.now,
            rejects=folder / rejects,
            progress=partial(self.progress, self.name) if self.progress else None,
            along=along,
            signer=self.ws.signer,
        )

    def _cursor(self, file: str = "") -> str:
        return f"source {self.name} {file}".rstrip()


def _digest(query: Query) -> str:
    return hashlib.sha256(f"{query.cursor}\n{query.sql}".encode()).hexdigest()[:16]
