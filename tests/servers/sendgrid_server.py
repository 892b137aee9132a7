"""A provider like SendGrid on 127.0.0.1: its mail/send with its checks and limits, and its signed webhooks.

What it takes it keeps as each recipient would get it, so that tests compare letters and not payloads.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from typing import Any, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

API_KEY = "SG.a-key.of-tests"
MOST_RECIPIENTS = 1000
MOST_BYTES = 30_000_000

_ADDRESS = re.compile(r"[!-?A-~]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_RESERVED = frozenset(
    """x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding
    to from subject reply-to cc bcc""".split()  # noqa: SIM905
)
_FIELDS = frozenset(
    (
        *("personalizations", "from", "reply_to", "subject", "content", "attachments", "categories", "asm"),
        *("tracking_settings", "mail_settings"),
    )
)
_FIELDS_OF_EACH = frozenset(("to", "subject", "headers", "custom_args", "substitutions"))


class Act(Enum):
    """What the server does instead of answering."""

    DROP = auto()  # reads the request and resets the connection
    HANG = auto()  # reads the request and never answers
    TAKE_AND_DROP = auto()  # takes the messages and resets the connection


@dataclass(frozen=True)
class Answer:
    """An answer that takes nothing. `fields` are those of the request that it blames."""

    status: int
    fields: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mail:
    """One letter as its recipient gets it. `key` is the custom argument of the same name; `headers` are those
    beside the two that every letter has."""

    request_id: str
    to: str
    name: str
    sender: Mapping[str, str]
    subject: str
    headers: Mapping[str, str]
    key: str
    html: str
    text: str
    message_id: str = ""
    is_automatic: bool = False
    reply_to: str = ""
    categories: tuple[str, ...] = ()
    group: int | None = None
    attachments: tuple[tuple[str, bytes], ...] = ()


class SendgridServer:
    """Serves from threads until closed.

    `script` is what happens the first, second … time; None, and whatever comes after its end, is normal.
    `mails` are in the order taken, `requests` the payloads that were taken.
    """

    def __init__(
        self, script: Sequence[Answer | Act | None] = (), *, substitution_bytes: int = 10_000
    ) -> None:
        self.mails: list[Mail] = []
        self.requests: list[dict[str, Any]] = []
        self.calls = 0
        self.connections = 0
        self._script = deque(script)
        self._substitution_bytes = substitution_bytes
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _HttpServer(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """What to give to `base_url`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    # --- its webhook ----------------------------------------------------------------------------------

    @cached_property
    def _private_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    @property
    def webhook_key(self) -> str:
        """The public key as its pages show it."""
        der = self._private_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return b64encode(der).decode()

    def signed(self, body: bytes, at: datetime) -> dict[str, str]:
        """The headers of a webhook with this body, signed at this moment; names in lower case."""
        timestamp = str(int(at.timestamp()))
        signature = self._private_key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "content-type": "application/json",
            "x-twilio-email-event-webhook-timestamp": timestamp,
            "x-twilio-email-event-webhook-signature": b64encode(signature).decode(),
        }

    def event(self, mail: Mail, kind: str, at: datetime, **more: Any) -> dict[str, Any]:
        """An event about a letter, as the webhook tells it: custom arguments stand at its top."""
        return {
            "email": mail.to,
            "timestamp": int(at.timestamp()),
            "event": kind,
            "sg_event_id": token_urlsafe(12),
            "sg_message_id": f"{mail.request_id}.recvd-5f54b5d587-pczjm-1-67BADEEA-6.0",
            "smtp-id": f"<{mail.request_id}@geopod-ismtpd-1>",
            "category": list(mail.categories),
            "hf": mail.key,
            **more,
        }

    # --- its mail/send --------------------------------------------------------------------------------

    def next_act(self) -> Answer | Act | None:
        with self._lock:
            self.calls += 1
            return self._script.popleft() if self._script else None

    def take(self, body: bytes) -> Answer | str:
        """The id of the request, or why it is not taken."""
        if len(body) >= MOST_BYTES:
            return Answer(413)
        payload = json.loads(body)
        if blamed := list(_blamed(payload, self._substitution_bytes)):
            return Answer(400, blamed)
        if payload.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
            return Answer(200)
        request_id = token_urlsafe(16)
        mails = [_letter(request_id, payload, each) for each in payload["personalizations"]]
        with self._lock:
            self.requests.append(payload)
            self.mails += mails
        return request_id

    def hang(self) -> None:
        self._closing.wait(30)


def _letter(request_id: str, payload: dict[str, Any], own: dict[str, Any]) -> Mail:
    def merged(text: str) -> str:
        for tag, value in own.get("substitutions", {}).items():
            text = text.replace(tag, value)
        return text

    headers = dict(own.get("headers", {}))
    bodies = {part["type"]: merged(part["value"]) for part in payload["content"]}
    return Mail(
        request_id=request_id,
        to=own["to"][0]["email"],
        name=own["to"][0].get("name", ""),
        sender=payload["from"],
        subject=merged(own["subject"]),
        headers=headers,
        key=own["custom_args"]["hf"],
        html=bodies.get("text/html", ""),
        text=bodies.get("text/plain", ""),
        message_id=headers.pop("Message-ID", ""),
        is_automatic=headers.pop("Auto-Submitted", "no") != "no",
        reply_to=merged(payload.get("reply_to", {}).get("email", "")),
        categories=tuple(payload.get("categories", ())),
        group=payload.get("asm", {}).get("group_id"),
        attachments=tuple(
            (file["filename"], b64decode(file["content"])) for file in payload.get("attachments", ())
        ),
    )


def _blamed(payload: dict[str, Any], substitution_bytes: int) -> Iterator[str]:
    """The fields of the request that are wrong, as SendGrid names them."""
    yield from sorted(payload.keys() - _FIELDS)
    if not _ADDRESS.fullmatch(payload["from"]["email"]):
        yield "from.email"
    content = payload["content"]
    if [part["type"] for part in content] not in (["text/plain", "text/html"], ["text/plain"], ["text/html"]):
        yield "content"
    yield from _blamed_settings(payload)
    yield from (f"content.{number}.value" for number, part in enumerate(content) if not part["value"])
    recipients = [to["email"].lower() for own in payload["personalizations"] for to in own["to"]]
    if not 1 <= len(recipients) <= MOST_RECIPIENTS or len(set(recipients)) < len(recipients):
        yield "personalizations"
    for number, own in enumerate(payload["personalizations"]):
        yield from (f"personalizations.{number}.{name}" for name in _blamed_of_one(own, substitution_bytes))


def _blamed_settings(payload: dict[str, Any]) -> Iterator[str]:
    if "reply_to" in payload and not _ADDRESS.fullmatch(payload["reply_to"]["email"]):
        yield "reply_to.email"
    categories = payload.get("categories", [])
    if len(categories) > 10 or len(set(categories)) < len(categories):
        yield "categories"
    yield from (
        f"categories.{number}"
        for number, category in enumerate(categories)
        if not (category.isascii() and category.isprintable() and 0 < len(category) <= 255)
    )
    groups = payload.get("asm", {"group_id": 1})
    if not isinstance(groups["group_id"], int) or len(groups.get("groups_to_display", [])) > 25:
        yield "asm"
    for number, file in enumerate(payload.get("attachments", [])):
        if not (file["filename"] and file["content"] and file["disposition"] == "attachment"):
            yield f"attachments.{number}"


def _blamed_of_one(own: dict[str, Any], substitution_bytes: int) -> Iterator[str]:
    yield from sorted(own.keys() - _FIELDS_OF_EACH)
    if len(own["to"]) != 1 or not _ADDRESS.fullmatch(own["to"][0]["email"]):
        yield "to.0.email"
    if re.search("[,;]", own["to"][0].get("name", "")):
        yield "to.0.name"
    if not own["subject"]:
        yield "subject"
    for name, value in own.get("headers", {}).items():
        if name.lower() in _RESERVED or not (value.isascii() and value.isprintable()):
            yield f"headers.{name}"
    if len(json.dumps(own["custom_args"])) >= 10_000 or not _are_texts(own["custom_args"]):
        yield "custom_args"
    values = own.get("substitutions", {})
    if not _are_texts(values) or _size(values) > substitution_bytes:
        yield "substitutions"


def _are_texts(values: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in values.values())


def _size(values: dict[str, str]) -> int:
    return sum(len(tag.encode()) + len(value.encode()) for tag, value in values.items())


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, sendgrid: SendgridServer) -> None:
        self.sendgrid = sendgrid
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is not an error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def setup(self) -> None:
        super().setup()
        self.server.sendgrid.connections += 1

    def do_POST(self) -> None:
        sendgrid = self.server.sendgrid
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match sendgrid.next_act():
            case Answer() as answer:
                self._refuse(answer)
            case Act.HANG:
                sendgrid.hang()
                self.close_connection = True
            case Act.DROP:
                self._reset()
            case Act.TAKE_AND_DROP:
                sendgrid.take(body)
                self._reset()
            case None if self.path != "/v3/mail/send":
                self._refuse(Answer(404))
            case None if self.headers["Authorization"] != f"Bearer {API_KEY}":
                self._refuse(Answer(401))
            case None if self.headers["Content-Type"] != "application/json":
                self._refuse(Answer(415))
            case None:
                taken = sendgrid.take(body)
                if isinstance(taken, Answer):
                    self._refuse(taken)
                else:
                    self._send(202, {"X-Message-Id": taken}, b"")

    def _refuse(self, answer: Answer) -> None:
        # SendGrid's texts quote what was wrong: they must not come through to us.
        errors = (
            []
            if answer.status < 400
            else [
                {"message": "someone@example.com is wrong", "field": name, "help": None}
                for name in [*answer.fields, None]
            ]
        )
        self._send(answer.status, answer.headers, json.dumps({"errors": errors}).encode())

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in {"Date": self.date_time_string(), **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
