"""A provider's HTTP interface on 127.0.0.1, for stand-ins to be built on: it does as its script says."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.servers.x_server import Act, Answer

__all__ = ["Act", "Answer", "Request", "ScriptedServer"]


@dataclass(frozen=True)
class Request:
    """What was asked; names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


class ScriptedServer:
    """Serves from threads until closed. Inherit, and give `do`. An Answer's text goes out as it is.

    `script` is what happens to the first, second … request that writes; None, and whatever comes after its
    end, is normal. `reading` is the same for requests that read.
    """

    def __init__(
        self,
        script: Sequence[Answer | Act | None] = (),
        reading: Sequence[Answer | Act | None] = (),
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.calls: list[Request] = []
        self._script, self._reading = deque(script), deque(reading)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _HttpServer((host, port), self)
        self._scheme = "https" if tls else "http"
        if tls:
            self._http.socket = tls.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def do(self, request: Request) -> Answer:
        """What the provider does with a request, and answers. One at a time."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
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

    def answer(self, request: Request) -> Answer | Act:
        """What becomes of one request."""
        with self._lock:
            self.calls.append(request)
            script = self._reading if request.method == "GET" else self._script
            act = script.popleft() if script else None
            if act in (Act.DROP, Act.HANG) or isinstance(act, Answer):
                return act
            done = self.do(request)
            return done if act is None else act


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], scripted: ScriptedServer) -> None:
        super().__init__(address, _Handler)
        self.scripted = scripted

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
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, url.path, parse_qs(url.query), headers, body)
        answer = self.server.scripted.answer(request)
        if answer is Act.BABBLE:
            answer = Answer(200, "<html>busy</html>", {"Content-Type": "text/html"})
        if isinstance(answer, Answer):
            self._respond(answer)
            return
        if answer is Act.HANG:
            self.server.scripted._closing.wait(30)
        # With this the connection ends by a reset, in the midst of it.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _respond(self, answer: Answer) -> None:
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        content = b"" if answer.body is None else text.encode()
        self.send_response_only(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""
