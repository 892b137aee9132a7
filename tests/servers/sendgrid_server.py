"""A provider like SendGrid on 127.0.0.1: its mail/send with its checks and limits, and its signed webhooks.

What it takes it keeps as each recipient would get it, so that tests compare letters and not payloads.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from secrets import token_urlsafe
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.servers.stand_in import Answer, Request, StandIn

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


def refusal(status: int, fields: Sequence[str] = (), headers: Mapping[str, str] | None = None) -> Answer:
    """An answer that takes nothing. `fields` are those of the request that it blames."""
    # SendGrid's texts quote what was wrong: they must not come through to us.
    errors = [
        {"message": "someone@example.com is wrong", "field": name, "help": None} for name in [*fields, None]
    ]
    return Answer(status, {"errors": errors}, headers or {})


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


class SendgridServer(StandIn):
    """An account. `mails` are in the order taken."""

    api_key = API_KEY

    def __init__(self, *args: Any, substitution_bytes: int = 10_000, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mails: list[Mail] = []
        self._substitution_bytes = substitution_bytes

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

    def do(self, request: Request) -> Answer:
        """Takes the messages of a request, or none of them."""
        if (request.method, request.path) != ("POST", "/v3/mail/send"):
            return refusal(404)
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            return refusal(401)
        if request.headers.get("content-type") != "application/json":
            return refusal(415)
        if len(request.body) >= MOST_BYTES:
            return refusal(413)
        payload = request.json
        if blamed := list(_blamed(payload, self._substitution_bytes)):
            return refusal(400, blamed)
        if payload.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
            return Answer(200)
        request_id = token_urlsafe(16)
        self.mails += [_letter(request_id, payload, each) for each in payload["personalizations"]]
        return Answer(202, None, {"X-Message-Id": request_id})


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
