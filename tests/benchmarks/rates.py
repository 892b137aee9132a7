"""Rates: what a provider sees of workers that share one channel's rate.

First of the pace alone: nothing stands between it and the provider, and what is sent is ready. Then of the
whole send path, to a provider that takes its time, by one process and by two.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from holdfast import delivery
from holdfast.delivery.pace import Line, Pace
from holdfast.store.database import Database
from holdfast.store.paces import Limits
from holdfast.tables import metadata
from tests.benchmarks.databases import Databases, SqliteFiles, postgres_server
from tests.benchmarks.loops import Enrolled, check_sent, enrolled_shop
from tests.benchmarks.measuring import Bound
from tests.benchmarks.projects import RunningClock, hello
from tests.benchmarks.stamping import Call, Caller, StampedChannels, judged, running_stamps
from tests.benchmarks.workers import at_once

PROCESSES = 2
LATENCY = 0.05  # seconds, of the provider that messages of the send path go to


class _Kind(NamedTuple):
    """What is sent: at which rate, how many messages a call at most, by how many threads a process."""

    title: str
    rate: float
    batch: int
    threads: int


PACED = (_Kind("one message a call", 300.0, 1, 8), _Kind("batches", 3000.0, 1000, 4))
SENT = (_Kind("one message a call", 300.0, 1, 32), _Kind("batches", 1500.0, 1000, 4))


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=30, help="how long each is measured")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL too")


def run(arguments: Namespace) -> list[Bound]:
    """Each kind of sending over SQLite, and over PostgreSQL where that is asked for."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        bounds = _measure(SqliteFiles(Path(folder)), arguments.seconds)
        if arguments.postgres:
            with postgres_server(Path(folder, "postgres")) as server:
                bounds += _measure(server, arguments.seconds)
    return bounds


def _measure(databases: Databases, seconds: int) -> list[Bound]:
    bounds = []
    for kind in PACED:
        bounds += judged(
            f"pace, {_named(kind, PROCESSES, databases)}", kind.rate, _paced(kind, databases, seconds)
        )
    for kind in SENT:
        shop = enrolled_shop(databases, int(kind.rate * seconds))
        for processes in (1, PROCESSES):
            came = _sent(kind, shop, processes)
            bounds += judged(f"the send path, {_named(kind, processes, databases)}", kind.rate, came)
    return bounds


def _named(kind: _Kind, processes: int, databases: Databases) -> str:
    by = "one process" if processes == 1 else f"{processes} processes"
    return f"{kind.title} at {kind.rate:,.0f}/s by {by}, {databases.title}"


# --- the pace alone -------------------------------------------------------------------------------


def _paced(kind: _Kind, databases: Databases, seconds: int) -> list[Call]:
    location = databases.location(f"pace_{kind.batch}")
    database = Database(location)
    metadata.create_all(database.engine)
    database.close()
    with running_stamps() as (port, calls):
        at_once(PROCESSES, partial(_pacing, location, kind, port, seconds))
        return calls()


@contextmanager
def _pacing(
    location: str | Path, kind: _Kind, port: int, seconds: int, place: int
) -> Iterator[Callable[[], None]]:
    database, provider = Database(location), Caller(port)
    pace = Pace(database, [Line("channel email", lambda: Limits(rate=kind.rate))])

    def send(give_up: float) -> None:
        while time.monotonic() < give_up:
            n = min(pace.most or kind.batch, kind.batch)
            pace.take(n)
            provider.call(n)

    def work() -> None:
        with ThreadPoolExecutor(kind.threads) as pool:
            list(pool.map(send, [time.monotonic() + seconds] * kind.threads))

    yield work
    database.close()


# --- the send path --------------------------------------------------------------------------------


def _sent(kind: _Kind, shop: Enrolled, processes: int) -> list[Call]:
    location = shop.copy()
    with running_stamps(LATENCY) as (port, calls):
        at_once(processes, partial(_sending, location, shop.now, kind, port))
        came = calls()
    check_sent(location, shop.due)
    return came


@contextmanager
def _sending(
    location: str | Path, now: datetime, kind: _Kind, port: int, place: int
) -> Iterator[Callable[[], None]]:
    channels = StampedChannels(port, kind.batch, kind.threads)
    ws = replace(hello(Database(location), channels), rates=lambda channel, rate: kind.rate)
    clock, threads = RunningClock(now), ws.project.dispatch.threads

    def send(number: int) -> None:
        while delivery.dispatch_chunk(ws, "winback", "email", f"bench-{place}-{number}", clock).leased:
            pass

    def work() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(send, range(threads)))

    yield work
    ws.close()
