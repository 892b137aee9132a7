"""Rows of a query in someone else's database: read only, in the order of a cursor, streamed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Engine,
    Result,
    Select,
    Subquery,
    column,
    create_engine,
    event,
    false,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from holdfast.errors import SettingsError, StoreError
from holdfast.mistakes import closest
from holdfast.store.imports.records import as_row
from holdfast.store.imports.rows import Header, Row, Table

_FETCHED = 2000

# A change that was made before the last one we saw may be committed after it; it is read with the next ones.
OVERLAP = timedelta(minutes=5)

_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "int": int,
    "float": float,
    "Decimal": Decimal,
    "UUID": UUID,
    "str": str,
}


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT, `cursor` the column that grows with every change; `name` is what errors call it."""

    name: str
    sql: str
    cursor: str | None = None

    def columns(self) -> Select[Any]:
        """Gives no rows."""
        return self._all(self._source()).where(false())

    def rows(self, since: Any = None) -> Select[Any]:
        """The rows from the cursor's value on, in its order; all of them where it is None.

        Rows without a value are among them each time: nothing else says that they have changed.
        """
        source = self._source()
        everything = self._all(source)
        if self.cursor is None:
            return everything
        at = source.c[self.cursor]
        if since is not None:
            everything = everything.where(or_(at >= since, at.is_(None)))
        return everything.order_by(at)

    @staticmethod
    def _all(source: Subquery) -> Select[Any]:
        return select(literal_column("*")).select_from(source)

    def _source(self) -> Subquery:
        # A colon is no parameter here. The new line ends a comment in the query's last line.
        written = text(re.sub(r"[;\s]+$", "", self.sql).replace(":", r"\:") + "\n")
        return written.columns(*([column(self.cursor)] if self.cursor else [])).subquery("source")


class Reading:
    """A query that is being read: `table` has its rows, `latest` is the cursor of the last row taken."""

    def __init__(
        self, connection: Connection, query: Query, since: Any, kept_columns: tuple[str, ...]
    ) -> None:
        self.latest = since
        self.query = query
        columns = list(_executed(connection, query, query.columns()).keys())
        if query.cursor and query.cursor not in columns:
            raise _no_cursor(query, columns)
        cursor_only = query.cursor if query.cursor not in kept_columns else None
        self._place = columns.index(query.cursor) if query.cursor else None
        self._kept = [place for place, name in enumerate(columns) if name != cursor_only]
        header = Header(query.name, [columns[place] for place in self._kept])
        self.table = Table(self._rows(connection, header, since), header)

    def _rows(self, connection: Connection, header: Header, since: Any) -> Iterator[Row]:
        if isinstance(since, datetime):
            since -= OVERLAP
        result = _executed(connection, self.query, self.query.rows(since))
        try:
            for number, values in enumerate(result, start=1):
                if self._place is not None and values[self._place] is not None:
                    self.latest = values[self._place]
                yield as_row(number, header, [values[place] for place in self._kept])
        except DBAPIError as error:
            raise StoreError(
                f"its database broke off ({_named(error)})",
                hint="what was read is kept; the next sync goes on from there",
            ) from None


@contextmanager
def open_source(url: str, setting: str) -> Iterator[Connection]:
    """A connection that only reads. Raises SettingsError and StoreError, which name the setting, no URL."""
    engine = _engine(url, setting)
    try:
        try:
            connection = engine.connect()
        except DBAPIError as error:
            raise StoreError(
                f"its database cannot be reached ({_named(error)})",
                hint=f"start it, or correct the URL: {setting}",
            ) from None
        with connection:
            yield connection.execution_options(
                yield_per=_FETCHED, **({"postgresql_readonly": True} if _is_postgresql(engine) else {})
            )
    finally:
        engine.dispose()


def not_ahead(value: Any, now: datetime) -> Any:
    """A cursor's value; for a time in the future the present, in the zone of `now` where it has none.

    A change that is dated ahead is read each time until then, and hides none of those before it.
    """
    if isinstance(value, datetime):
        return min(value, now if value.tzinfo else now.replace(tzinfo=None))
    return min(value, now.date()) if isinstance(value, date) else value


def cursor_text(value: Any) -> str:
    """A cursor's value with its type, as text to keep. Raises SettingsError for what cannot be one."""
    kind = next((kind.__name__ for kind in type(value).__mro__ if kind.__name__ in _FROM_TEXT), "")
    if not kind or isinstance(value, bool):
        raise SettingsError(
            f"a cursor of type {type(value).__name__}", hint="use a column of times, numbers or text"
        )
    return json.dumps([kind, value.isoformat() if isinstance(value, date) else str(value)])


def cursor_value(written: str) -> Any:
    """The value that `cursor_text` was given."""
    kind, value = json.loads(written)
    return _FROM_TEXT[kind](value)


def _executed(connection: Connection, query: Query, statement: Select[Any]) -> Result[Any]:
    try:
        return connection.execute(statement)
    except DBAPIError as error:
        # The database's own words could quote a customer's data.
        raise StoreError(
            f"its database does not take the query ({_named(error)})",
            hint="try the query there by hand: a table or column may have another name now",
        ) from None


def _no_cursor(query: Query, columns: list[str]) -> SettingsError:
    suggestion = closest(str(query.cursor), columns)
    return SettingsError(
        f"the query has no column {query.cursor!r} for its cursor"
        + (f"; did you mean {suggestion!r}?" if suggestion else ""),
        hint="select it, or correct `cursor` in holdfast.yaml",
    )


def _engine(written: str, setting: str) -> Engine:
    try:
        url = make_url(written)
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        # Values of customers must not reach the text of an exception, hence hide_parameters.
        engine = create_engine(url, hide_parameters=True, poolclass=NullPool)
    except ArgumentError:
        raise SettingsError(
            f"its URL cannot be read: {setting}",
            hint="write it like postgresql://user:password@host/name or sqlite:////path/to/file.db",
        ) from None
    except (NoSuchModuleError, ModuleNotFoundError):
        raise SettingsError(
            f"there is no driver for {url.drivername}", hint="install the one that SQLAlchemy names"
        ) from None
    if engine.dialect.name == "sqlite":
        _check_sqlite(url, setting)
        event.listen(engine, "connect", _only_reads)
    return engine


def _check_sqlite(url: URL, setting: str) -> None:
    """SQLite would make the file that is not there."""
    if not Path(url.database or "").is_file():
        raise StoreError(
            "its database file is not there", hint=f"correct the URL, with the whole path: {setting}"
        )


def _only_reads(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA query_only = ON")


def _is_postgresql(engine: Engine) -> bool:
    return engine.dialect.name == "postgresql"


def _named(error: DBAPIError) -> str:
    return type(error.orig).__name__
