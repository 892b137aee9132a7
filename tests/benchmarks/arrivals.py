"""Requests that arrive by a schedule, whatever became of those before: an open loop.

A request's latency is counted from the moment that it was due, not from when a connection was free for it:
whoever is slow is charged for all that waited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import quantiles
from typing import cast

MOST_CONNECTIONS = 200


@dataclass(slots=True)
class Latencies:
    """Seconds from when each request was due to its answer."""

    seconds: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return quantiles(self.seconds, n=100)[49]

    @property
    def p99(self) -> float:
        return quantiles(self.seconds, n=100)[98]

    def __str__(self) -> str:
        told = {"p50": self.p50, "p99": self.p99, "most": max(self.seconds)}
        return f"{len(self.seconds):,} requests: " + ", ".join(
            f"{name} {value * 1000:.0f} ms" for name, value in told.items()
        )


def arrive(
    port: int, rate: float, request: Callable[[int], bytes], goes_on: Callable[[int], bool]
) -> Latencies:
    """Sends `request(number)` for 0, 1, 2 … while `goes_on(number)`: so many a second in the mean, as they
    come (the gaps are exponential). Raises SystemExit for an answer other than 204."""
    return asyncio.run(_arrive(port, rate, request, goes_on))


async def _arrive(
    port: int, rate: float, request: Callable[[int], bytes], goes_on: Callable[[int], bool]
) -> Latencies:
    loop, random = asyncio.get_running_loop(), Random(20_260_603)  # noqa: S311
    idle: list[_Connection] = []
    room = asyncio.Semaphore(MOST_CONNECTIONS)
    latencies = Latencies()

    async def send(content: bytes, due: float) -> None:
        async with room:
            while True:
                # The server closes what was idle for long, at times while we write.
                if idle:
                    connection = idle.pop()
                else:
                    _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
                if await connection.ask(content):
                    break
            latencies.seconds.append(loop.time() - due)
            idle.append(connection)

    due, number = loop.time(), 0
    async with asyncio.TaskGroup() as waiting:
        while goes_on(number):
            content = request(number)
            due += random.expovariate(rate)
            await asyncio.sleep(due - loop.time())
            waiting.create_task(send(content, due))
            number += 1
    for connection in idle:
        connection.close()
    return latencies


class _Connection(asyncio.Protocol):
    """As little of HTTP as it takes: it shares the cores with what is measured."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer is not None and self._received.endswith(b"\r\n\r\n"):  # a 204 has no body
            self._answer.set_result(bytes(self._received))

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(b"")

    async def ask(self, content: bytes) -> bool:
        """Returns when it was answered; False: the connection is lost."""
        if self._is_lost:
            return False
        self._received.clear()
        self._answer = self._loop.create_future()
        self._transport.write(content)
        answer = await self._answer
        if answer and not answer.startswith(b"HTTP/1.1 204"):
            raise SystemExit(f"the server answered {answer[:40]!r}")
        return bool(answer)

    def close(self) -> None:
        self._transport.close()
