"""What stand-ins for providers over HTTP share: real sockets on 127.0.0.1, a script of what goes wrong."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, urlsplit


class Act(Enum):
    """What the server does instead of answering."""

    DROP = auto()  # reads the request and resets the connection
    HANG = auto()  # reads the request and never answers
    TAKE_AND_DROP = auto()  # does as it is told, and resets the connection
    BABBLE = auto()  # takes it, and answers with something that is no JSON
    RESET = auto()  # resets the connection before it has read the request
    STALL = auto()  # takes it, and stops in the midst of its answer
    DRIP = auto()  # takes it, and answers now and then a byte, without end
    FLOOD = auto()  # takes it, and answers as fast as it can, without end
    MISLABEL = auto()  # does as it is told, and calls its answer a web page
    TAKE_AND_CLOSE = auto()  # does as it is told, and closes the connection after its answer, unannounced


@dataclass(frozen=True)
class Answer:
    """An answer that does nothing of what was asked. Its body goes out as JSON; bytes go out as they are."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What came in. Names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True))


class StandIn(ABC):
    """Serves from threads until closed.

    `script` is what happens to the first, second … request that writes; None, and whatever comes after its
    end, is normal. `reading` is the same for requests that read, by GET. `connections` are all ever made.
    `has_closed` is set when one of them was closed as the script said.
    """

    def __init__(
        self,
        script: Sequence[Answer | Act | None] = (),
        reading: Sequence[Answer | Act | None] = (),
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.closing = threading.Event()
        self.has_closed = threading.Event()
        self._script, self._reading = deque(script), deque(reading)
        self._lock = threading.Lock()
        self._http = _HttpServer((host, port), self)
        self._scheme = "https" if tls else "http"
        if tls:
            self._http.socket = tls.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """What to give to `base_url`."""
        return f"{self._scheme}://{self._http.server_address[0]!s}:{self.port}"

    @property
    def calls(self) -> list[str]:
        """The requests in short: `POST /path`."""
        return [f"{request.method} {request.path}" for request in self.requests]

    @abstractmethod
    def do(self, request: Request) -> Answer:
        """Does what the provider does; one request at a time."""

    def next_act(self, method: str) -> Answer | Act | None:
        """What the script has for the next request of this method."""
        with self._lock:
            script = self._reading if method == "GET" else self._script
            return script.popleft() if script else None

    def answer(self, request: Request, act: Answer | Act | None) -> Answer | None:
        """What one request is answered; None: nothing."""
        with self._lock:
            self.requests.append(request)
            if isinstance(act, Answer):
                return act
            if act in (Act.DROP, Act.HANG):
                return None
            done = self.do(request)
        if act is Act.BABBLE:
            return Answer(200, b"<html>busy</html>", {"Content-Type": "text/html"})
        return None if act is Act.TAKE_AND_DROP else done


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], provider: StandIn) -> None:
        super().__init__(address, _Handler)
        self.provider = provider

    def get_request(self) -> tuple[Any, Any]:
        """Accepts a connection."""
        accepted = super().get_request()
        self.provider.connections += 1
        return accepted

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        provider = self.server.provider
        act = provider.next_act(self.command)
        if act is Act.RESET:
            self._reset()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = provider.answer(Request(self.command, url.path, parse_qs(url.query), headers, body), act)
        if answer is not None:
            self._respond(answer, act)
        if act in (Act.HANG, Act.STALL):
            provider.closing.wait(30)
        while act is Act.DRIP and not provider.closing.wait(0.05):
            self.wfile.write(b" ")
        while act is Act.FLOOD:
            self.wfile.write(b" " * 65_536)
        if answer is None or act is Act.STALL:
            self._reset()

    def _respond(self, answer: Answer, act: Answer | Act | None) -> None:
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        if answer.body is None:
            content = b""
        self.send_response_only(answer.status)
        kind = "text/html" if act is Act.MISLABEL else "application/json"
        for name, value in {"Content-Type": kind, **answer.headers}.items():
            self.send_header(name, value)
        more = {Act.STALL: 1, Act.DRIP: 10**9, Act.FLOOD: 10**9}.get(act, 0) if isinstance(act, Act) else 0
        self.send_header("Content-Length", str(len(content) + more))
        self.end_headers()
        self.wfile.write(content)
        if act is Act.TAKE_AND_CLOSE:
            self.close_connection = True

    def finish(self) -> None:
        """Closes the connection for good: a client that looks sees it from then on."""
        super().finish()
        if self.close_connection:
            self.server.shutdown_request(self.request)
            self.server.provider.has_closed.set()

    def _reset(self) -> None:
        # With this the connection ends by a reset, in the midst of it.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""
