"""Rates: what a sink sees of two processes that share one channel's rate.

Nothing but the pace stands between them and the sink: what they send is ready, and as fast as it may go.
"""

from __future__ import annotations

import socket
import time
from argparse import ArgumentParser, Namespace
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, NamedTuple

from holdfast.delivery.pace import Line, Pace
from holdfast.store.database import Database
from holdfast.store.paces import Limits
from holdfast.tables import metadata
from tests.benchmarks.databases import postgres_server
from tests.benchmarks.measuring import Bound

PROCESSES = 2
MOST_IN_10_S, MOST_IN_1_S, LEAST_IN_THE_MEAN = 1.02, 1.25, 0.9
_SIZE = 4  # bytes: a call is the number of its messages


class _Kind(NamedTuple):
    """What is sent: at which rate, how many messages a call at most, by how many threads a process."""

    title: str
    rate: float
    batch: int
    threads: int


KINDS = (_Kind("one message a call", 300.0, 1, 8), _Kind("batches", 3000.0, 1000, 4))


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=30, help="how long each is measured")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL too")


def run(arguments: Namespace) -> list[Bound]:
    """Each kind of sending over SQLite, and over PostgreSQL where that is asked for."""
    bounds = []
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        for kind in KINDS:
            bounds += _measure(kind, "SQLite", Path(folder, f"{kind.batch}.db"), arguments.seconds)
        if arguments.postgres:
            with postgres_server(Path(folder, "postgres")) as server:
                for kind in KINDS:
                    location = server.location(f"rates_{kind.batch}")
                    bounds += _measure(kind, "PostgreSQL", location, arguments.seconds)
    return bounds


def _measure(kind: _Kind, engine: str, location: str | Path, seconds: int) -> list[Bound]:
    database = Database(location)
    metadata.create_all(database.engine)
    database.close()
    context = get_context("spawn")
    with _sink() as (port, stamps):
        senders = [
            context.Process(target=_send, args=(location, kind, port, seconds)) for _ in range(PROCESSES)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        if any(sender.exitcode for sender in senders):
            raise SystemExit("a sender failed")
        arrived = stamps()
    return _judge(kind, engine, arrived)


def _judge(kind: _Kind, engine: str, arrived: list[tuple[float, int]]) -> list[Bound]:
    moments, so_far = [at for at, _ in arrived], [0, *accumulate(n for _, n in arrived)]

    def most_within(seconds: float) -> int:
        """The most messages in any window of so many seconds, half-open."""
        ends = (bisect_left(moments, start + seconds) for start in moments)
        return max(so_far[end] - so_far[first] for first, end in enumerate(ends))

    lasted = moments[-1] - moments[0]
    what = f"{kind.title} at {kind.rate:.0f}/s by {PROCESSES} processes, {engine}"
    print(f"\n{what}: {so_far[-1]:,} messages, {len(arrived):,} calls, {lasted:.1f} s", flush=True)
    # What the last call brought belongs to the time after it.
    return [
        Bound(f"{what}: any 10 s over the rate", most_within(10) / (10 * kind.rate), MOST_IN_10_S),
        Bound(f"{what}: any second over the rate", most_within(1) / kind.rate, MOST_IN_1_S),
        Bound(
            f"{what}: in the mean over the rate",
            so_far[-2] / (lasted * kind.rate),
            LEAST_IN_THE_MEAN,
            at_least=True,
        ),
    ]


# --- the senders ----------------------------------------------------------------------------------


def _send(location: str | Path, kind: _Kind, port: int, seconds: int) -> None:
    database = Database(location)
    pace = Pace(database, [Line("channel email", lambda: Limits(rate=kind.rate))])
    give_up = time.monotonic() + seconds

    def send(_: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as sink:
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.monotonic() < give_up:
                n = min(pace.most or kind.batch, kind.batch)
                pace.take(n)
                sink.sendall(n.to_bytes(_SIZE))
                sink.recv(1)

    with ThreadPoolExecutor(kind.threads) as pool:
        list(pool.map(send, range(kind.threads)))
    database.close()


# --- the sink -------------------------------------------------------------------------------------


@contextmanager
def _sink() -> Iterator[tuple[int, Any]]:
    """A process that stamps what comes: its port, and what gives the stamps, in order."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()

    def stamps() -> list[tuple[float, int]]:
        ours.send("done")
        return sorted(ours.recv())

    try:
        yield ours.recv(), stamps
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    arrived: list[tuple[float, int]] = []

    class Stamp(BaseRequestHandler):
        def handle(self) -> None:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while call := self.request.recv(_SIZE):
                arrived.append((time.monotonic(), int.from_bytes(call)))
                self.request.sendall(b".")

    with ThreadingTCPServer(("127.0.0.1", 0), Stamp) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        pipe.send(server.server_address[1])
        pipe.recv()
        pipe.send(arrived)
        server.shutdown()
