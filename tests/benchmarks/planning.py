"""Planning: selecting, drawing and planning customers, against inserting the same rows bare.

The bare statements are one INSERT … SELECT a table, in one transaction, of copies of the rows that planning
wrote into the same tables, emptied. They judge nothing, and nobody else can write until they are done.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from sqlalchemy import Connection, event, func, select, text

from holdfast import delivery
from holdfast.delivery import Workspace
from holdfast.store.database import Database
from holdfast.tables import customers, enrollments, messages
from tests.benchmarks.databases import postgres_server
from tests.benchmarks.measuring import Bound, Taken, measure, stopwatch
from tests.benchmarks.population import CDNOW_END, NOW, import_cdnow, populate
from tests.benchmarks.projects import workspace

MOST_RATIO = 4
LEAST_CUSTOMERS = 100_000  # that the ratio is judged from
MOST_MEGABYTES = 500
MOST_SECONDS_TO_WRITE = 1


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=1_000_000, help="customers to judge")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is measured")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL too")


def run(arguments: Namespace) -> list[Bound]:
    """A made-up shop and the CDNOW histories on SQLite; the shop on PostgreSQL where asked for."""
    bounds = []
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        populate(Path(folder, "shop.db"), arguments.customers, lines=False)
        bounds += _compare("a made-up shop, SQLite", Path(folder, "shop.db"), NOW, arguments.rounds)
        import_cdnow(Path(folder, "cdnow.db"))
        bounds += _compare(
            "the CDNOW histories, SQLite", Path(folder, "cdnow.db"), CDNOW_END, arguments.rounds
        )
        if arguments.postgres:
            with postgres_server(Path(folder, "postgres")) as server:
                populate(server.location("shop"), arguments.customers, lines=False)
                bounds += _compare(
                    "a made-up shop, PostgreSQL", server.location("shop"), NOW, arguments.rounds
                )
    return bounds


def _compare(title: str, location: str | Path, now: datetime, rounds: int) -> list[Bound]:
    database = Database(location)
    with database.read() as connection:
        judged = connection.scalar(select(func.count()).select_from(customers)) or 0
    print(f"\n{judged:,} customers of {title}")
    planning = _Planning(workspace(database), now)
    taken = measure(rounds, judged, planning=planning.run, bare_inserts=planning.insert_bare)
    print(f"  {planning.enrolled:,} enrollments, {planning.planned:,} messages")
    database.close()
    ratio = taken["planning"].wall / taken["bare_inserts"].wall
    print(f"  planning over bare inserts: {ratio:.2f}")
    bounds = [
        Bound(f"planning {title}, peak", taken["planning"].megabytes, MOST_MEGABYTES, " MB"),
        Bound(f"planning {title}, longest write", max(planning.writes), MOST_SECONDS_TO_WRITE, " s"),
    ]
    # Below that, opening a run and building its statements is most of it.
    if judged >= LEAST_CUSTOMERS:
        bounds.insert(0, Bound(f"planning {title}, over bare inserts", ratio, MOST_RATIO))
    return bounds


@dataclass
class _Planning:
    """Plans the campaign again and again, and what it took."""

    ws: Workspace
    now: datetime
    enrolled: int = 0
    planned: int = 0
    writes: list[float] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def run(self) -> Taken:
        """Opens and enrolls a run, as if it were the first one."""
        self._empty()
        with _transactions(self.ws.database, self.writes), stopwatch() as elapsed:
            run = delivery.open_run(self.ws, "winback", f"bench-{next(self._numbers)}", self.now, self.now)
            delivery.enroll(self.ws, run, self.now)
            return elapsed()

    def insert_bare(self) -> Taken:
        """Inserts again what the run before this wrote."""
        with self.ws.database.write() as connection:
            for table in ("enrollments", "messages"):
                connection.execute(text(f"DROP TABLE IF EXISTS staged_{table}"))
                connection.execute(text(f"CREATE TABLE staged_{table} AS SELECT * FROM {table}"))  # noqa: S608
            self.enrolled, self.planned = (
                connection.scalar(select(func.count()).select_from(table)) or 0
                for table in (enrollments, messages)
            )
        self._empty()
        with stopwatch() as elapsed:
            with self.ws.database.write() as connection:
                connection.execute(text("INSERT INTO enrollments SELECT * FROM staged_enrollments"))
                connection.execute(text("INSERT INTO messages SELECT * FROM staged_messages"))
            return elapsed()

    def _empty(self) -> None:
        """Makes the tables anew: a deleted row would leave its place behind."""
        with self.ws.database.write() as connection:
            if not self.ws.database.is_sqlite:
                # There a table that others refer to cannot be dropped.
                connection.execute(text("TRUNCATE enrollments, messages CASCADE"))
                return
            messages.drop(connection)
            enrollments.drop(connection)
            enrollments.create(connection)
            messages.create(connection)


@contextmanager
def _transactions(database: Database, seconds: list[float]) -> Iterator[None]:
    """Notes how long each transaction takes that writes."""
    begun: dict[int, float] = {}

    def begin(connection: Connection) -> None:
        begun[id(connection)] = perf_counter()

    def commit(connection: Connection) -> None:
        seconds.append(perf_counter() - begun[id(connection)])

    event.listen(database.engine, "begin", begin)
    event.listen(database.engine, "commit", commit)
    try:
        yield
    finally:
        event.remove(database.engine, "begin", begin)
        event.remove(database.engine, "commit", commit)
