"""A batch provider on this machine: takes bodies over HTTP, counts the messages in them, and says 202."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, ClassVar, NamedTuple

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

BATCH = 1000

Payload = Callable[[Sequence[Message]], Iterable[bytes]]
"""The bodies of the requests for these messages."""


def whole(messages: Sequence[Message]) -> Iterator[bytes]:
    """Every message with its whole bodies, one a line."""
    yield b"".join(
        _line(
            {
                "key": message.key,
                "from": message.sender,
                "to": message.to,
                "name": message.to_name,
                "subject": message.subject,
                "headers": message.headers,
                "html": message.html,
                "text": message.text,
            }
        )
        for message in messages
    )


def merged(messages: Sequence[Message]) -> Iterator[bytes]:
    """What is equal once, then each customer's values, one a line: as batch interfaces take personal mail."""
    groups: defaultdict[Skeleton, list[Message]] = defaultdict(list)
    for message in messages:
        groups[message.skeleton].append(message)
    lines = []
    for skeleton, same in groups.items():
        lines.append(json.dumps({"html": skeleton.html, "text": skeleton.text}).encode())
        lines += [
            _line(
                {
                    "key": message.key,
                    "from": message.sender,
                    "to": message.to,
                    "name": message.to_name,
                    "subject": message.subject,
                    "headers": message.headers,
                    "html": [message.escaped[hole] for hole in skeleton.html_holes],
                    "text": [message.plain[hole] for hole in skeleton.text_holes],
                }
            )
            for message in same
        ]
    yield b"".join(lines)


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


class Sink:
    """The connection to it: one a thread, kept alive."""

    def __init__(self, port: int, payload: Payload) -> None:
        self._port, self.payload = port, payload
        self._local = threading.local()
        self.last = Total(0, 0, 0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def post(self, messages: Sequence[Message]) -> None:
        """Sends one batch. Raises OSError unless all of it was taken."""
        if sum(int(self._ask("POST", body)) for body in self.payload(messages)) != len(messages):
            raise OSError("the sink took something else")

    def taken(self) -> Total:
        """What it took since it was last asked; `last` keeps it."""
        self.last = Total(*map(int, self._ask("GET").split()))
        return self.last

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
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    pipe.send(server.server_address[1])
    server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    taken = Total(0, 0, 0)
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        # No JSON text inside a message can look like these: its quotes are escaped.
        count = body.count(b'{"key": ') + body.count(b'"custom_args":{')
        with self.lock:
            messages, calls, size = self.taken
            _Handler.taken = Total(messages + count, calls + 1, size + len(body))
        self._answer(str(count))

    def do_GET(self) -> None:
        with self.lock:
            taken, _Handler.taken = self.taken, Total(0, 0, 0)
        self._answer(" ".join(map(str, taken)))

    def _answer(self, text: str) -> None:
        body = text.encode()
        self.send_response(202)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


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
