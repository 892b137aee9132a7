"""A provider on this machine that keeps when each call came and how many messages it brought."""

from __future__ import annotations

import socket
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from multiprocessing import get_context
from multiprocessing.connection import Connection
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any, ClassVar, NamedTuple

from holdfast.channel import Accepted, Capabilities, Channel, ChannelSettings, Message, Outcome, by_count
from tests.benchmarks.measuring import Bound

MOST_IN_10_S, MOST_IN_1_S, LEAST_IN_THE_MEAN = 1.02, 1.25, 0.9
_SIZE = 4  # bytes: a call is the number of its messages


class Call(NamedTuple):
    """When it came, by the machine's monotonic clock, and its messages."""

    at: float
    messages: int


def judged(what: str, rate: float, came: Sequence[Call], longest: float = 0.0) -> list[Bound]:
    """What a provider saw of a channel's rate; in the mean, without so many seconds at either end."""
    moments, so_far = [call.at for call in came], [0, *accumulate(call.messages for call in came)]

    def most_within(seconds: float) -> int:
        """The most messages in any window of so many seconds, half-open."""
        ends = (bisect_left(moments, start + seconds) for start in moments)
        return max(so_far[end] - so_far[first] for first, end in enumerate(ends))

    begin, end = moments[0] + longest, moments[-1] - longest
    print(f"\n{what}: {so_far[-1]:,} messages, {len(came):,} calls, {end - begin:.1f} s", flush=True)
    # What the last call brought belongs to the time after it.
    within = so_far[bisect_left(moments, end)] - so_far[bisect_left(moments, begin)]
    mean = within / ((end - begin) * rate)
    return [
        Bound(f"{what}: any 10 s over the rate", most_within(10) / (10 * rate), MOST_IN_10_S),
        Bound(f"{what}: any second over the rate", most_within(1) / rate, MOST_IN_1_S),
        Bound(f"{what}: in the mean over the rate", mean, LEAST_IN_THE_MEAN, at_least=True),
    ]


@contextmanager
def running_stamps(latency: float = 0.0) -> Iterator[tuple[int, Callable[[], list[Call]]]]:
    """Its port, and what gives the calls that came, in order. Each is answered after so many seconds."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, latency), daemon=True)
    process.start()

    def calls() -> list[Call]:
        ours.send("done")
        return sorted(ours.recv())

    try:
        yield ours.recv(), calls
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, latency: float) -> None:
    came: list[Call] = []

    class Stamp(BaseRequestHandler):
        def handle(self) -> None:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while call := self.request.recv(_SIZE):
                came.append(Call(time.monotonic(), int.from_bytes(call)))
                time.sleep(latency)
                self.request.sendall(b".")

    class Server(ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128  # all connections come at once

    with Server(("127.0.0.1", 0), Stamp) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        pipe.send(server.server_address[1])
        pipe.recv()
        pipe.send(came)
        server.shutdown()


class Caller:
    """Calls it, over one connection a thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()

    def call(self, messages: int) -> None:
        """Returns when the call was answered."""
        if not hasattr(self._local, "connection"):
            self._local.connection = socket.create_connection(("127.0.0.1", self._port))
            self._local.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._local.connection.sendall(messages.to_bytes(_SIZE))
        if self._local.connection.recv(1) != b".":
            raise OSError("the provider went away")


class StampedChannels:
    """It, as every channel of a project: so many messages a call, so many calls at once."""

    def __init__(self, port: int, batch: int, at_once: int) -> None:
        self._port = port
        self._can = Capabilities(kind="email", html=True, batch_size=batch, concurrency=at_once)

    def describe(self, name: str) -> Capabilities:
        return self._can

    def open(self, name: str) -> Channel:
        return _StampedChannel(self._can, Caller(self._port))


class _StampedChannel:
    Settings: ClassVar[type[ChannelSettings]] = ChannelSettings
    capabilities: Capabilities

    def __init__(self, capabilities: Any, settings: Any) -> None:
        self.capabilities, self._caller = capabilities, settings

    @classmethod
    def describe(cls, settings: Any) -> Capabilities:
        return settings

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        return by_count(messages, self.capabilities.batch_size)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        self._caller.call(len(batch))
        return [Accepted()] * len(batch)

    def lookup(self, keys: Sequence[str], since: Any) -> dict[str, Outcome]:
        return {}

    def close(self) -> None:
        pass
