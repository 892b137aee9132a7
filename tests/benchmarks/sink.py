"""A batch provider on this machine: takes bodies over HTTP, counts the messages in them, and says 202."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPConnection
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, ClassVar, NamedTuple, Protocol, cast

from pydantic import SecretStr

from channels.sendgrid_email import SendgridChannel, SendgridSettings
from channels.sendgrid_payload import Limits, body, split
from holdfast.channel import (
    Accepted,
    Capabilities,
    Channel,
    ChannelSettings,
    Message,
    Outcome,
    Skeleton,
    by_count,
)
from holdfast.delivery import Channels

BATCH = 1000
_LENGTH = re.compile(rb"content-length: *(\d+)\r\n", re.IGNORECASE)

Payload = Callable[[Sequence[Message]], Iterable[bytes]]
"""The bodies of the requests for these messages, however many."""


def whole(messages: Sequence[Message]) -> Iterator[bytes]:
    """Every message with its whole bodies, one a line."""
    for batch in by_count(messages, BATCH):
        yield b"".join(
            _line({**_envelope(message), "html": message.html, "text": message.text}) for message in batch
        )


def merged(messages: Sequence[Message]) -> Iterator[bytes]:
    """What is equal once, then each customer's values, one a line: as batch interfaces take personal mail."""
    for batch in by_count(messages, BATCH):
        groups: defaultdict[Skeleton, list[Message]] = defaultdict(list)
        for message in batch:
            groups[message.skeleton].append(message)
        yield b"".join(line for skeleton, same in groups.items() for line in _group(skeleton, same))


def _group(skeleton: Skeleton, same: Sequence[Message]) -> Iterator[bytes]:
    yield json.dumps({"html": skeleton.html, "text": skeleton.text}).encode()
    for message in same:
        html = [message.escaped[hole] for hole in skeleton.html_holes]
        text = [message.plain[hole] for hole in skeleton.text_holes]
        yield _line({**_envelope(message), "html": html, "text": text})


def _envelope(message: Message) -> dict[str, Any]:
    return {
        "key": message.key,
        "from": message.sender,
        "to": message.to,
        "name": message.to_name,
        "subject": message.subject,
        "headers": message.headers,
    }


def sendgrid(messages: Sequence[Message]) -> Iterator[bytes]:
    """What the SendGrid adapter posts."""
    for batch in split(messages, Limits(BATCH, SendgridSettings.model_fields["substitution_bytes"].default)):
        yield body(batch, [message.to for message in batch])


PAYLOADS: dict[str, Payload] = {"whole": whole, "merged": merged, "sendgrid": sendgrid}


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


class Total(NamedTuple):
    """What the sink took."""

    messages: int
    calls: int
    bytes: int


class Provider(Protocol):
    """What messages are sent to: by the bare loop through `post`, by Holdfast through its channels."""

    def post(self, messages: Sequence[Message]) -> None:
        """Sends them all. Raises OSError unless they were taken."""

    def taken(self) -> Total:
        """What it took since it was last asked."""

    def channels(self) -> Channels:
        """It, as every channel of a project."""


class Sink:
    """The connection to it: one a thread, kept alive. Another process gets one of its own."""

    def __init__(self, port: int, payload: Payload) -> None:
        self._port, self.payload = port, payload
        self._local = threading.local()
        self.last = Total(0, 0, 0)

    def __reduce__(self) -> tuple[type[Sink], tuple[int, Payload]]:
        return Sink, (self._port, self.payload)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def post(self, messages: Sequence[Message]) -> None:
        """Sends them all. Raises OSError unless they were taken."""
        if sum(int(self._ask("POST", body)) for body in self.payload(messages)) != len(messages):
            raise OSError("the sink took something else")

    def taken(self) -> Total:
        """What it took since it was last asked; `last` keeps it."""
        self.last = Total(*map(int, self._ask("GET").split()))
        return self.last

    def channels(self) -> SinkChannels:
        return SinkChannels(self)

    def _ask(self, method: str, body: bytes | None = None) -> bytes:
        if not hasattr(self._local, "connection"):
            self._local.connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        self._local.connection.request(method, "/", body)
        answer: bytes = self._local.connection.getresponse().read()
        return answer


@contextmanager
def running_sink(payload: Payload) -> Iterator[Sink]:
    """A sink in a process of its own, which ends with the block."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield Sink(ours.recv(), payload)
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    asyncio.run(_serve_for_ever(pipe))


async def _serve_for_ever(pipe: Connection) -> None:
    loop, counted = asyncio.get_running_loop(), Counter[str]()
    server = await loop.create_server(lambda: _Conversation(counted), "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Conversation(asyncio.Protocol):
    """As little of HTTP as clients of ours speak: the sink shares its cores with what is measured."""

    def __init__(self, counted: Counter[str]) -> None:
        self._counted = counted
        self._received = bytearray()
        self._whole = 0  # length of the request that is coming in; 0: its head has not come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._whole and (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, end + 2)
            self._whole = end + 4 + (int(length[1]) if length else 0)
        if self._whole and len(self._received) >= self._whole:
            answer = self._taken() if self._received.startswith(b"GET") else self._take()
            head = b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(answer)
            self._transport.write(head + answer)
            self._received, self._whole = bytearray(), 0

    def _take(self) -> bytes:
        # No JSON text inside a message can look like these: its quotes are escaped.
        count = self._received.count(b'{"key": ') + self._received.count(b'"custom_args":{')
        self._counted.update(messages=count, calls=1, bytes=len(self._received))
        return b"%d" % count

    def _taken(self) -> bytes:
        taken = b"%d %d %d" % tuple(self._counted[what] for what in Total._fields)
        self._counted.clear()
        return taken


class SinkChannel:
    """The sink as a channel for email, in batches."""

    Settings: ClassVar[type[ChannelSettings]] = ChannelSettings
    capabilities = Capabilities(kind="email", html=True, batch_size=BATCH)

    def __init__(self, name: str, settings: Any) -> None:
        self.name, self._sink = name, settings

    @classmethod
    def describe(cls, settings: Any) -> Capabilities:
        return cls.capabilities

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        return by_count(messages, self.capabilities.batch_size)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        self._sink.post(batch)
        return [Accepted()] * len(batch)

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        return {}

    def close(self) -> None:
        pass


class SinkChannels:
    """A project whose every channel is the sink, or the SendGrid adapter in front of it."""

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink

    def describe(self, name: str) -> Capabilities:
        return SinkChannel.capabilities

    def open(self, name: str) -> Channel:
        if self._sink is not None and self._sink.payload is sendgrid:
            return SendgridChannel(name, SendgridSettings(api_key=SecretStr("SG.x"), base_url=self._sink.url))
        return SinkChannel(name, self._sink)


class NowhereChannel(SinkChannel):
    """A channel for email that takes all there is at once."""

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        return [Accepted()] * len(batch)


class NowhereChannels(SinkChannels):
    """A project whose every channel is that one."""

    def open(self, name: str) -> Channel:
        return NowhereChannel(name, None)
