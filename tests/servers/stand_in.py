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
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl

from tests.servers.x_server import Act, Answer

__all__ = ["Act", "Answer", "Request", "StandIn"]


@dataclass(frozen=True)
class Request:
    """What came in. Names of headers are in lower case."""

    method: str
    path: str
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

    `script` is what happens to the first, second … request; None, and whatever comes after its end, is
    normal. An Answer whose body is bytes goes out as it is.
    """

    def __init__(self, script: Sequence[Answer | Act | None] = (), tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._script = deque(script)
        self._lock = threading.Lock()
        self._http = _HttpServer(self)
        self._scheme = "https" if tls else "http"
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """What to give to `base_url`."""
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}"

    @abstractmethod
    def do(self, request: Request) -> Answer:
        """Does what the provider does; one request at a time."""

    def answer(self, request: Request) -> Answer | Act:
        """What becomes of one request."""
        with self._lock:
            self.requests.append(request)
            act = self._script.popleft() if self._script else None
            if act in (Act.DROP, Act.HANG) or isinstance(act, Answer):
                return act
            done = self.do(request)
            return done if act is None else act


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, provider: StandIn) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.provider = provider

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.provider.answer(Request(self.command, self.path, headers, body))
        if isinstance(answer, Answer):
            self._respond(answer.status, _content(answer.body), answer.headers)
        elif answer is Act.BABBLE:
            self._respond(200, b"<html>busy</html>", {"Content-Type": "text/html"})
        else:
            if answer is Act.HANG:
                self.server.provider.closing.wait(30)
            # With this the connection ends by a reset, in the midst of it.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

    def _respond(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


def _content(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return b"" if body is None else json.dumps(body).encode()
