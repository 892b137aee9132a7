"""Providers on this machine that take their time: over HTTP as each adapter speaks it, and a mail server.

They keep when each call came and how many messages it brought, and count their connections.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, cast

from tests.benchmarks.stamping import Call

_LENGTH = re.compile(rb"content-length: *(\d+)\r\n", re.IGNORECASE)
_TELEGRAM = {"ok": True, "result": {"message_id": 1, "chat": {"id": 4711}, "date": 1_780_488_000}}

# What answers a message, by what the request's path has in it; the first that fits.
_ANSWERS: Mapping[bytes, tuple[int, Any]] = {
    b"/v3/mail/send ": (202, None),
    b"/sendMessage ": (200, _TELEGRAM),
    b"/Messages.json ": (201, {"sid": "SM" + "0" * 32}),
    b"/dm_conversations/": (201, {"data": {"dm_event_id": "1", "dm_conversation_id": "7-11"}}),
    b"/messages ": (200, {"message_id": "m_1", "recipient_id": "1", "messages": [{"id": "wamid.1"}]}),
    b"/api/v1/statuses ": (200, {"id": "1", "mentions": [{"id": "3"}]}),
    b"/hook ": (200, {"id": "1"}),
}
_REPLIES = {
    b"EHLO": b"250-sink\r\n250-SIZE 50000000\r\n250-PIPELINING\r\n250 SMTPUTF8\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}


class Came(NamedTuple):
    """What came: the calls in order, and the connections that they came over."""

    calls: list[Call]
    connections: int


@dataclass(frozen=True, slots=True)
class Providers:
    """Where they listen; `came` gives what came since it was last asked."""

    http: int
    smtp: int
    came: Callable[[], Came]


@contextmanager
def running_providers(latency: float) -> Iterator[Providers]:
    """They run in a process of their own, which ends with the block, and answer after so many seconds."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, latency), daemon=True)
    process.start()

    def came() -> Came:
        ours.send("came")
        return cast(Came, ours.recv())

    try:
        yield Providers(*ours.recv(), came)
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, latency: float) -> None:
    asyncio.run(_serve_for_ever(pipe, latency))


async def _serve_for_ever(pipe: Connection, latency: float) -> None:
    loop, kept = asyncio.get_running_loop(), _Kept()
    ports = []
    for conversation in (_Http, _Smtp):
        make = lambda kind=conversation: kind(kept, latency)  # noqa: E731
        server = await loop.create_server(make, "127.0.0.1", 0, backlog=256)
        ports.append(server.sockets[0].getsockname()[1])

    def tell() -> None:
        pipe.recv()
        pipe.send(Came(sorted(kept.calls), kept.connections))
        kept.calls, kept.connections = [], 0

    loop.add_reader(pipe.fileno(), tell)
    pipe.send(ports)
    await asyncio.Event().wait()


@dataclass(slots=True)
class _Kept:
    calls: list[Call] = field(default_factory=list)
    connections: int = 0


class _Conversation(asyncio.Protocol):
    """As little of a protocol as clients of ours speak: it shares the cores with what is measured."""

    def __init__(self, kept: _Kept, latency: float) -> None:
        self._kept, self._latency = kept, latency
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._kept.connections += 1

    def _take(self, messages: int) -> None:
        self._kept.calls.append(Call(self._loop.time(), messages))

    def _answer(self, answer: bytes) -> None:
        self._loop.call_later(self._latency, self._transport.write, answer)


class _Http(_Conversation):
    _whole = 0  # length of the request that is coming in; 0: its head has not come

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._whole and (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, end + 2)
            self._whole = end + 4 + (int(length[1]) if length else 0)
        if self._whole and len(self._received) >= self._whole:
            line = self._received[: self._received.index(b"\r\n")]
            status, answer = next((said for part, said in _ANSWERS.items() if part in line), (404, None))
            if status < 400:
                # One for each of a batch. No JSON text inside can look like it: its quotes are escaped.
                self._take(self._received.count(b'"custom_args":{') or 1)
            content = json.dumps(answer).encode() if answer is not None else b""
            self._answer(b"HTTP/1.1 %d .\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content))
            self._received, self._whole = bytearray(), 0


class _Smtp(_Conversation):
    _is_content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._answer(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._received += data
        replies = []
        while (end := self._received.find(mark := b"\r\n.\r\n" if self._is_content else b"\r\n")) >= 0:
            replies.append(self._reply(bytes(self._received[:4]).upper()))
            del self._received[: end + len(mark)]
        if replies:
            self._answer(b"".join(replies))

    def _reply(self, verb: bytes) -> bytes:
        if self._is_content:
            self._is_content = False
            self._take(1)
            return b"250 2.0.0 Ok\r\n"
        self._is_content = verb == b"DATA"
        return _REPLIES.get(verb, b"250 2.0.0 Ok\r\n")
