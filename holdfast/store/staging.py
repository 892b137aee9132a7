"""Many rows at once: into a temporary table by the driver's fastest way, from there by one statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Executable, MetaData, Select, Table, delete, or_, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from holdfast.errors import StoreError

# Any constant will do; it only has to differ from the other locks of a project's database.
_IMPORT_LOCK = 4_820_412


def one_import_at_a_time(connection: Connection) -> None:
    """No other transaction imports until this one ends: two that touch the same rows could block each other.

    On SQLite there is one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _IMPORT_LOCK})


def staging_table(name: str, *columns: Column[Any]) -> Table:
    """A temporary table that is empty again in the next transaction."""
    return Table(name, MetaData(), *columns, prefixes=["TEMPORARY"], postgresql_on_commit="DELETE ROWS")


def stage(connection: Connection, table: Table, rows: Collection[Sequence[Any]]) -> None:
    """Fills a staging table with exactly these rows, values as the driver takes them."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in table.c)
    stage_columns(connection, table, dict(zip(table.c.keys(), columns, strict=True)))


def stage_columns(connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]]) -> None:
    """Fills a staging table with exactly the rows that these columns make; any other is NULL."""
    connection.execute(CreateTable(table, if_not_exists=True))
    connection.execute(delete(table))
    # SQLite's driver takes three numbers in the time of one None.
    filled = {name: values for name, values in columns.items() if values.count(None) < len(values)}
    if not filled:
        return
    names = ", ".join(map(connection.dialect.identifier_preparer.quote, filled))
    rows = zip(*filled.values(), strict=True)
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(filled))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({places})", list(rows))  # noqa: S608
        return
    # Values must not reach the text of an exception, hence no cause.
    try:
        cursor: Any = connection.connection.cursor()
        with cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        raise StoreError(f"PostgreSQL did not take the rows ({type(error).__name__})") from None


def insert_or(connection: Connection, table: Table, rows: Select[Any]) -> Any:
    """INSERT … SELECT by the names of the select's columns, ready for its ON CONFLICT."""
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    names = [column.name for column in rows.selected_columns]
    # Without a WHERE, SQLite takes ON CONFLICT for the condition of a join.
    return insert(table).from_select(names, rows.where(text("1 = 1")))


def upsert(
    connection: Connection,
    table: Table,
    values: Select[Any],
    *,
    key: Sequence[str],
    update: Sequence[str],
    together: Sequence[str] = (),
) -> int:
    """Inserts the rows of a select, or updates where the key is there and an `update` column differs.

    `together` columns are written when the row is, but are no reason to write it. Gives the number of rows
    inserted or updated.
    """
    statement = insert_or(connection, table, values)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=key,
        set_={name: new[name] for name in (*update, *together)},
        where=or_(*(table.c[name].is_distinct_from(new[name]) for name in update)),
    )
    return rows_written(connection, statement)


def rows_written(connection: Connection, statement: Executable) -> int:
    """Executes a statement that writes; the number of rows it inserted, updated or deleted."""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount
