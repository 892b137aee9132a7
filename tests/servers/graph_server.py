"""Meta's Graph API on 127.0.0.1: sending for WhatsApp and Messenger, with its refusals and its signature."""

from __future__ import annotations

import hmac
import json
import re
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.servers.x_server import Act, Answer

TOKEN = "s3cret-Wert"
APP_SECRET = "an-app-secret"
VERIFY_TOKEN = "a-token-of-ours"
PHONE_NUMBER_ID = "106540352242922"
PAGE_ID = "103456789012345"
_PATH = re.compile(rf"/v\d+\.\d+/({PHONE_NUMBER_ID}|{PAGE_ID})/messages")


def refusal(
    code: int, subcode: int | None = None, status: int = 400, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error in the form that the Graph API has for all of them; its text quotes what was sent."""
    error = {"message": f"(#{code}) SECRET text", "type": "OAuthException", "code": code, "fbtrace_id": "A1b"}
    return Answer(
        status, {"error": error if subcode is None else error | {"error_subcode": subcode}}, headers or {}
    )


def signed(body: bytes, secret: str = APP_SECRET) -> dict[str, str]:
    """The headers of a webhook that Meta sends."""
    return {"x-hub-signature-256": f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"}


class GraphServer:
    """Serves from threads until closed. `script` has what to do with each call, None to do as it is told."""

    def __init__(self, script: Sequence[Answer | Act | None] = (), tls: ssl.SSLContext | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.calls: list[str] = []
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

    def answer(self, path: str, authorization: str, body: Any) -> Answer | Act:
        """What becomes of one call."""
        with self._lock:
            self.calls.append(path)
            act = self._script.popleft() if self._script else None
            if act in (Act.DROP, Act.HANG) or isinstance(act, Answer):
                return act
            done = self._do(path, authorization, body)
            return done if act is None else act

    def _do(self, path: str, authorization: str, body: Any) -> Answer:
        if authorization != f"Bearer {TOKEN}":
            return refusal(190, status=401)
        known = _PATH.fullmatch(path)
        if not known:
            return refusal(100, 33)
        return self._whatsapp(body) if known[1] == PHONE_NUMBER_ID else self._messenger(body)

    def _whatsapp(self, body: Any) -> Answer:
        if body["messaging_product"] != "whatsapp" or not re.fullmatch(r"\+?\d{5,15}", body["to"]):
            return refusal(100)
        if body["type"] == "text":
            is_sound = 0 < len(body["text"]["body"]) <= 4096
        else:
            [component] = body["template"]["components"]
            texts = [parameter["text"] for parameter in component["parameters"]]
            is_sound = all(texts) and not any(re.search(r"[\n\t]|     ", said) for said in texts)
        if not is_sound or len(body["biz_opaque_callback_data"]) > 512:
            return refusal(131008)
        number = body["to"].removeprefix("+")
        id_ = self._keep("wamid.", body)
        contacts = [{"input": body["to"], "wa_id": number}]
        return Answer(200, {"messaging_product": "whatsapp", "contacts": contacts, "messages": [{"id": id_}]})

    def _messenger(self, body: Any) -> Answer:
        if not re.fullmatch(r"\d+", body["recipient"]["id"]):
            return refusal(100, 2018001)
        if not 0 < len(body["message"]["text"]) <= 2000 or len(body["message"]["metadata"]) > 1000:
            return refusal(100, 2018048)
        return Answer(200, {"recipient_id": body["recipient"]["id"], "message_id": self._keep("m_", body)})

    def _keep(self, prefix: str, body: Any) -> str:
        self.messages.append(body)
        return f"{prefix}{len(self.messages)}"


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, graph: GraphServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.graph = graph

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        answer = self.server.graph.answer(self.path, self.headers.get("Authorization", ""), body)
        if isinstance(answer, Answer):
            self._respond(
                answer.status, b"" if answer.body is None else json.dumps(answer.body).encode(), answer
            )
        elif answer is Act.BABBLE:
            self._respond(200, b"<html>busy</html>", Answer(200))
        else:
            if answer is Act.HANG:
                self.server.graph.closing.wait(30)
            # With this the connection ends by a reset, in the midst of it.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

    def _respond(self, status: int, content: bytes, answer: Answer) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""
