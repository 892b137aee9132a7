"""Scale: a million customers, from the plan to the last message, by two processes.

Against the time in which two bare loops send as many messages to the same people; they need no plan.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from holdfast.store.database import Database
from tests.benchmarks.databases import Databases, SqliteFiles, postgres_server
from tests.benchmarks.loops import Chunk, bare_loop, check_sent, check_taken, enroll, send_path
from tests.benchmarks.measuring import Bound, Taken
from tests.benchmarks.population import NOW, populate
from tests.benchmarks.sink import PAYLOADS, Sink, running_sink
from tests.benchmarks.workers import at_once

WORKERS = 2
QUICK = ["--customers", "20000"]
MOST_RATIO = 1.5
MOST_MEGABYTES = 400
MOST_GROWTH = 1.2  # of the peak, from a tenth of the customers to all of them
MOST_SLOWDOWN = 1.5  # of a chunk, and of its lease, from the first to the last
ENDS = 20  # how many chunks those are
LEAST_CUSTOMERS = 500_000  # that growth and slowdown are judged from: a tenth has ten chunks then


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=1_000_000, help="customers to write to")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL too")


def run(arguments: Namespace) -> list[Bound]:
    """A tenth of the customers, for the peak of memory; then all of them."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        bounds = _compare(SqliteFiles(Path(folder)), arguments.customers)
        if arguments.postgres:
            with postgres_server(Path(folder, "postgres")) as server:
                bounds += _compare(server, arguments.customers)
    return bounds


@dataclass(frozen=True, slots=True)
class _Whole:
    """A run from its plan to its last message. Its chunks are in the order in which they were begun."""

    location: str | Path
    planning: Taken
    sending: Taken
    chunks: Sequence[Chunk]

    @property
    def megabytes(self) -> float:
        return max(self.planning.megabytes, self.sending.megabytes)


def _compare(databases: Databases, customers: int) -> list[Bound]:
    with running_sink(PAYLOADS["sendgrid"]) as sink:
        tenth = _plan_and_send(databases, customers // 10, sink)
        whole = _plan_and_send(databases, customers, sink)
        bare = bare_loop(whole.location, sink, NOW, WORKERS)
        check_taken(sink, customers)
    _tell("bare loop", bare, customers)
    title = f"{customers:,} customers on {databases.title}"
    ratio = (whole.planning.wall + whole.sending.wall) / bare.wall
    bounds = [
        Bound(f"{title}, plan to last message, over a bare loop", ratio, MOST_RATIO),
        Bound(f"{title}, peak of a process", whole.megabytes, MOST_MEGABYTES, " MB"),
    ]
    growth = whole.sending.megabytes / tenth.sending.megabytes
    judged = [
        Bound(f"{title}, peak of sending over that of a tenth", growth, MOST_GROWTH),
        Bound(
            f"{title}, last leases over the first", _slowdown(whole, lambda each: each.lease), MOST_SLOWDOWN
        ),
        Bound(
            f"{title}, last chunks over the first", _slowdown(whole, lambda each: each.whole), MOST_SLOWDOWN
        ),
    ]
    if customers >= LEAST_CUSTOMERS:
        return bounds + judged
    print("  " + "; ".join(f"{bound.what.rpartition(', ')[2]}: {bound.figure:.2f}" for bound in judged))
    return bounds


def _slowdown(whole: _Whole, seconds: Callable[[Chunk], float]) -> float:
    first, last = (median(map(seconds, end)) for end in (whole.chunks[:ENDS], whole.chunks[-ENDS:]))
    return last / first


def _plan_and_send(databases: Databases, customers: int, sink: Sink) -> _Whole:
    print(f"\n{customers:,} customers of a made-up shop, {databases.title}")
    location = databases.location(f"shop_of_{customers}")
    populate(location, customers)
    planning = at_once(1, partial(_planning, location)).taken
    _tell("plan", planning, customers)
    sent = send_path(location, sink, NOW, WORKERS)
    _tell("send path", sent.taken, customers)
    check_taken(sink, customers)
    check_sent(location, customers)
    chunks = sorted(chunk for each in sent.results for chunk in each.chunks)
    return _Whole(location, planning, sent.taken, chunks)


@contextmanager
def _planning(location: str | Path, place: int) -> Iterator[Callable[[], int]]:
    database = Database(location)
    yield partial(enroll, database, NOW)
    database.close()


def _tell(what: str, taken: Taken, customers: int) -> None:
    print(
        f"  {what:22}{taken.wall:8.2f} s{customers / taken.wall:11,.0f}/s{taken.cpu:8.2f} s CPU"
        f"{taken.megabytes:6.0f} MB peak",
        flush=True,
    )
