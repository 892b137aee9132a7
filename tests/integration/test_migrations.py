from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, inspect, text

import holdfast.store.migrations
from holdfast.errors import SchemaOutdated, StoreError
from holdfast.store import schema
from holdfast.store.database import Database
from holdfast.tables import metadata, suppressions

MIGRATIONS = Path(holdfast.store.migrations.__file__).parent


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    if request.param == "sqlite":
        database = Database(tmp_path / "empty" / "holdfast.db")
    else:
        database = Database(request.getfixturevalue("fresh_postgres_url"))
    yield database
    database.close()


def set_version(database: Database, version: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE holdfast_version SET version_num = :version"), {"version": version})


def definitions(database: Database) -> list[tuple[str, ...]]:
    """Every table, column, constraint and index, as the database itself spells it."""
    queries = (
        ["SELECT type, name, sql FROM sqlite_master WHERE tbl_name != 'holdfast_version'"]
        if database.is_sqlite
        else [
            "SELECT indexname, indexdef FROM pg_indexes"
            " WHERE schemaname = 'public' AND tablename != 'holdfast_version'",
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text != 'holdfast_version'",
            "SELECT table_name, column_name, data_type, is_nullable, column_default"
            " FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name != 'holdfast_version'",
        ]
    )
    with database.read() as connection:
        rows = [row for query in queries for row in connection.execute(text(query))]
    return sorted(tuple(_normal(str(cell)) for cell in row) for row in rows)


def _normal(definition: str) -> str:
    """Spaces and quotes do not count, nor does the order in which columns and constraints are written."""
    folded = " ".join(definition.replace('"', "").split())
    if not folded.startswith("CREATE TABLE"):
        return folded
    head, _, body = folded.partition(" (")
    return head + str(sorted(part.strip() for part in re.split(r",(?![^()]*\))", body.removesuffix(")"))))


def test_alembic_finds_no_difference_between_the_migrations_and_the_tables(empty: Database) -> None:
    schema.upgrade(empty)
    with empty.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": schema.VERSION_TABLE,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_migrations_make_exactly_what_the_tables_say(empty: Database) -> None:
    schema.upgrade(empty)
    migrated = definitions(empty)
    metadata.drop_all(empty.engine)
    metadata.create_all(empty.engine)
    assert len(migrated) > 30
    assert migrated == definitions(empty)


def test_the_newest_migration_is_the_version_that_is_checked_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_an_empty_database_is_made_ready(empty: Database) -> None:
    schema.ensure(empty)
    schema.check(empty)
    with empty.read() as connection:
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, schema.VERSION_TABLE}


def test_upgrading_again_keeps_everything(empty: Database) -> None:
    schema.upgrade(empty)
    with empty.write() as connection:
        connection.execute(
            insert(suppressions).values(
                kind="email", address_key="a@b.example", reason="bounced", created_at=1
            )
        )
    schema.upgrade(empty)
    schema.ensure(empty)
    with empty.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM suppressions")) == 1


def test_a_database_without_tables_does_not_pass_the_check(empty: Database) -> None:
    with pytest.raises(SchemaOutdated, match="no tables yet") as refused:
        schema.check(empty)
    assert refused.value.hint == "holdfast db upgrade"


def test_an_old_database_is_not_upgraded_by_the_way(empty: Database) -> None:
    schema.upgrade(empty)
    set_version(empty, "0000")
    with pytest.raises(SchemaOutdated, match="of an older Holdfast") as refused:
        schema.ensure(empty)
    assert refused.value.hint == "holdfast db upgrade"


def test_a_database_of_a_newer_version_is_left_alone(empty: Database) -> None:
    schema.upgrade(empty)
    set_version(empty, "9999")
    for action in (schema.ensure, schema.check, schema.upgrade):
        with pytest.raises(SchemaOutdated, match="of a newer Holdfast"):
            action(empty)


def test_tables_of_somebody_else_are_not_taken_over(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(text("CREATE TABLE customers (name text)"))
    with pytest.raises(StoreError, match="not made by Holdfast"):
        schema.upgrade(empty)


def test_another_program_with_alembic_may_live_in_the_same_database(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('of-another-program')"))
    schema.ensure(empty)
    schema.check(empty)


def test_many_processes_may_upgrade_at_once(empty: Database) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def upgrade() -> None:
        mine = Database(empty.engine.url.render_as_string(hide_password=False))
        start.wait()
        try:
            schema.ensure(mine)
        except BaseException as failure:
            failures.append(failure)
        mine.close()

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    schema.check(empty)
