"""The schema's version: bringing a database up to it, and saying so when it is not."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from holdfast.errors import SchemaOutdated, StoreError
from holdfast.store.database import Database
from holdfast.tables import metadata

# The newest file of migrations/versions.
HEAD = "0005"

# Not Alembic's own name, so that Prefect's tables can live in the same database.
VERSION_TABLE = "holdfast_version"


def upgrade(database: Database) -> None:
    """Brings the database to the schema of this version, in one transaction; does nothing when it is there.

    Any number of processes may call it at once. Raises SchemaOutdated for a database of a newer Holdfast.
    """
    # Alembic takes a quarter of a second to import, and only this function needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with database.write(exclusive=True) as connection:
        version = _version(connection)
        if version == HEAD:
            return
        _refuse_newer(version)
        if version is None and _has_tables(connection):
            raise StoreError(
                "the database has tables of Holdfast's names, but not made by Holdfast",
                hint="give Holdfast a database, or a PostgreSQL schema, of its own",
            )
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except DBAPIError as error:
            raise StoreError(f"the database refused the upgrade ({type(error.orig).__name__})") from None


def check(database: Database) -> None:
    """Raises SchemaOutdated unless the database has the schema of this version."""
    with database.read() as connection:
        version = _version(connection)
    if version == HEAD:
        return
    _refuse_newer(version)
    raise SchemaOutdated(
        "the database has no tables yet" if version is None else "the database is of an older Holdfast",
        hint="holdfast db upgrade",
    )


def ensure(database: Database) -> None:
    """Makes the tables of an empty database. Raises SchemaOutdated for one that needs an upgrade.

    An upgrade may take long and wants a backup, so it is never a side effect of another command.
    """
    with database.read() as connection:
        empty = _version(connection) is None and not _has_tables(connection)
    if empty:
        upgrade(database)
    else:
        check(database)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
    return version


def _has_tables(connection: Connection) -> bool:
    return not metadata.tables.keys().isdisjoint(inspect(connection).get_table_names())


def _refuse_newer(version: str | None) -> None:
    if version is not None and version > HEAD:
        raise SchemaOutdated("the database is of a newer Holdfast", hint="upgrade Holdfast itself")
