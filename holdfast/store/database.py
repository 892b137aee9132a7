"""Opening the database: SQLite or PostgreSQL behind the same verbs, read and write."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Subquery,
    Text,
    cast,
    column,
    create_engine,
    event,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from holdfast.errors import DatabaseUnreachable, SettingsError

# Any constant will do; it only has to be the same for every process of a project's database.
_PROJECT_LOCK = 4_820_411
# How long to wait, in seconds, before SQLite is asked again whether its one writer is done.
_ASK_AGAIN_AFTER = 0.0005


class database_now(FunctionElement[int]):  # noqa: N801 - reads as SQL
    """The database's own clock, in microseconds: it judges leases, so that workers' clocks may differ."""

    type = BigInteger()
    inherit_cache = True
    name = "database_now"


@compiles(database_now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kwargs: Any) -> str:
    return "(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000)"


@compiles(database_now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **kwargs: Any) -> str:
    return "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def _url(location: str | Path) -> URL:
    if isinstance(location, Path):
        return URL.create("sqlite", database=str(location))
    try:
        url = make_url(location)
    except ArgumentError:
        raise SettingsError(
            "the database URL cannot be read",
            hint="write it like postgresql://user:password@host/name or sqlite:///path/to/file.db",
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise SettingsError(
            f"a {url.get_backend_name()} database is not supported", hint="use PostgreSQL 15+ or SQLite"
        )
    return url


class _Turnstile:
    """Passed on the way to a write on SQLite: who waits for the writer before them stands in it, and lets
    nobody by. SQLite keeps no queue: whoever writes slice after slice would be the next one, and the next."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def __enter__(self) -> None:
        # Without it who is next is left to chance, and no more; what else is wrong there SQLite tells.
        with suppress(OSError):
            if self._descriptor is None:
                self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *exception: object) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Gives the file back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    __del__ = close


class Database:
    """A project's database. Safe to share between threads; not across a fork."""

    def __init__(self, location: str | Path) -> None:
        """Opens lazily: the first connection is made by the first use.

        `location` is an SQLite file, or a URL. Raises SettingsError for a URL that cannot be used.
        """
        url = _url(location)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        # SQLite has one writer; threads of this process queue here instead of polling its file lock.
        self._writer = threading.Lock() if self.is_sqlite else nullcontext()
        self._turn: _Turnstile | nullcontext[None] = nullcontext()
        if self.is_sqlite and url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            self._turn = _Turnstile(Path(f"{url.database}-turn"))
        try:
            # Values of customers must not reach the text of an exception, hence hide_parameters.
            self.engine: Engine = create_engine(
                url,
                hide_parameters=True,
                pool_pre_ping=not self.is_sqlite,
                connect_args={"timeout": 60, "check_same_thread": False} if self.is_sqlite else {},
            )
        except (NoSuchModuleError, ModuleNotFoundError):
            raise SettingsError(
                "PostgreSQL needs the psycopg driver", hint="pip install 'holdfast[postgres]'"
            ) from None
        if self.is_sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, and sees one state throughout on SQLite."""
        with self._connection() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, exclusive: bool = False) -> Iterator[Connection]:
        """A transaction that writes, committed at the end; keep it under a second.

        `exclusive` takes the one project-wide lock, under which caps are counted and messages become
        `sending`. SQLite has one writer at a time anyway.
        """
        with self._writer, self._connection() as connection:
            if self.is_sqlite:
                connection = connection.execution_options(holdfast_immediate=True)
            with self._turn:
                transaction = connection.begin()
            with transaction:
                if exclusive and not self.is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PROJECT_LOCK})
                yield connection

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            connection = self.engine.connect()
        except DBAPIError:
            raise self._unreachable("does not answer") from None
        with connection:
            try:
                yield connection
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise self._unreachable("broke the connection") from None
                raise

    def _unreachable(self, what: str) -> DatabaseUnreachable:
        return DatabaseUnreachable(
            f"the database at {self.engine.url.render_as_string(hide_password=True)} {what}",
            hint="start it, or correct HOLDFAST_DATABASE_URL",
        )

    def rows(self, records: Sequence[Sequence[Any]], **columns: TypeEngine[Any]) -> Subquery:
        """Records as a FROM clause with these columns, sent as one JSON parameter however many there are.

        Unlike a list of bound parameters it has no limit, and the statement's text stays the same.
        """
        return rows_of(literal(packed(records), Text), self.is_sqlite, columns)

    def among(self, ids: Sequence[int]) -> Select[Any]:
        """These ids as a subquery, for `column.in_(database.among(ids))`."""
        given = self.rows([(value,) for value in ids], id=BigInteger())
        return select(given.c.id)

    def close(self) -> None:
        """Gives all connections back."""
        self.engine.dispose()
        if isinstance(self._turn, _Turnstile):
            self._turn.close()


def packed(records: Iterable[Iterable[Any]]) -> str:
    """Records as the text that `rows_of` takes apart."""
    return json.dumps([list(record) for record in records])


def rows_of(
    parameter: ColumnElement[str], is_sqlite: bool, columns: Mapping[str, TypeEngine[Any]]
) -> Subquery:
    """Packed records as a FROM clause with these columns. The parameter may be bound when it is executed."""
    if is_sqlite:
        source = func.json_each(parameter).table_valued("value")
        cells = [
            cast(func.json_extract(source.c.value, f"$[{number}]"), kind).label(name)
            for number, (name, kind) in enumerate(columns.items())
        ]
    else:
        source = func.jsonb_array_elements(cast(parameter, JSONB)).table_valued(column("value", JSON))
        cells = [
            cast(source.c.value.op("->>")(number), kind).label(name)
            for number, (name, kind) in enumerate(columns.items())
        ]
    return select(*cells).select_from(source).subquery("given")


def _configure_sqlite(connection: Any, record: Any) -> None:
    # We say BEGIN ourselves: the driver would begin only before the first write, and never immediately.
    connection.isolation_level = None
    cursor = connection.cursor()
    _write_ahead(cursor)
    # A commit survives the process, and the operating system's crash all but the last moments' commits:
    # FULL, because a `sending` that is forgotten could repeat a message.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 60000")
    cursor.execute("PRAGMA cache_size = -65536")
    cursor.execute("PRAGMA temp_store = MEMORY")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Turns write-ahead logging on. Several may open a new file at once, and no busy timeout holds then."""
    give_up = time.monotonic() + 60
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("holdfast_immediate"):
        _wait_to_write(connection)
    else:
        connection.exec_driver_sql("BEGIN")


def _wait_to_write(connection: Connection) -> None:
    """Begins when no other process writes, or after the connection's busy timeout fails as SQLite does.

    SQLite's own waits grow to a tenth of a second: two processes that write much would be idle for most of
    them.
    """
    raw = connection.connection.cursor()
    raw.execute("PRAGMA busy_timeout")
    [patience] = raw.fetchone() or (0,)  # milliseconds
    give_up = time.monotonic() + patience / 1000
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < give_up:
            try:
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(_ASK_AGAIN_AFTER)
            else:
                return
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        raw.execute(f"PRAGMA busy_timeout = {patience}")
        raw.close()
