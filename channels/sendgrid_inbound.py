"""Mail that SendGrid's Inbound Parse takes in and posts to us: whether it is SendGrid's, and what it says.

The form comes in two ways: with the mail's parts as fields, or with the mail as it came in the field `email`.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.parser import BytesParser
from hmac import compare_digest
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from channels import returned_mail
from channels.mime import one_line
from channels.sendgrid_signature import PublicKeys, has_signature
from channels.verp import BounceAddress
from holdfast.channel import Response, ResponseKind
from holdfast.errors import AnswerRefused

# Those that are read; what else is in a form, as the files that came along, is passed over.
_FIELDS = frozenset({"headers", "text", "html", "envelope", "charsets", "email"})
_MOST_PARTS = 200
# SendGrid takes mail of 30 MB, with all that is attached to it.
LARGEST_FORM = 31_000_000
# What people write themselves stands first. Of a longer mail of parts within parts, reading takes seconds.
_KEPT_BYTES = 131_072
_CONDENSED = b"inbound mail\r\n"
_LONGEST_BOUNDARY = 200
_ANSWERS = frozenset({ResponseKind.REPLIED, ResponseKind.UNSUBSCRIBED, ResponseKind.RESUBSCRIBED})
_OF_PARTS = (b"content-type:", b"content-transfer-encoding:", b"content-disposition:")
# SendGrid does not say when mail came in: that is when we were told.
_NO_MOMENT = datetime.fromtimestamp(0, UTC)


def is_form(body: bytes) -> bool:
    """Whether it is a form, as mail comes in. The body tells, not a header: it alone is kept to be read."""
    return body.startswith(b"--")


def is_condensed(body: bytes) -> bool:
    """Whether it is what was kept of a form: nobody's events begin so."""
    return body.startswith(_CONDENSED)


def verify(
    name: str,
    key: PublicKeys | None,
    passwords: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
) -> None:
    """Raises AnswerRefused unless the form has what the channel's settings want: the signature of a security
    policy, a password of the webhook's address, or both."""
    if key is None and not passwords:
        raise AnswerRefused(
            f"channel {name!r} has neither inbound_key nor inbound_password to know SendGrid by",
            hint="set one of them: see docs/channels.md, Answers by email",
        )
    if key is not None:
        key.verify(headers, body, now)
    if passwords and not _has_password(headers, passwords):
        raise AnswerRefused(
            "the password of inbound mail is missing or wrong",
            hint="give Inbound Parse the address with inbound_password in it",
        )


def may_be_mail(key: PublicKeys | None, passwords: Sequence[str], headers: Mapping[str, str]) -> bool:
    """Whether `verify` may let a form with these headers in, as far as they can tell."""
    if passwords:
        return _has_password(headers, passwords)
    return key is not None and has_signature(headers)


def _has_password(headers: Mapping[str, str], passwords: Sequence[str]) -> bool:
    given = _password(headers)
    return any(compare_digest(given, password.encode()) for password in passwords)


def _password(headers: Mapping[str, str]) -> bytes:
    scheme, _, login = headers.get("authorization", "").partition(" ")
    try:
        return b64decode(login, validate=True).partition(b":")[2] if scheme.lower() == "basic" else b""
    except ValueError:
        return b""


def condensed(body: bytes) -> bytes:
    """The mail in a form, as far as its texts reach: they stand first in it.

    Raises ValueError for what is no such form.
    """
    return _CONDENSED + _mail(_fields(body))[:_KEPT_BYTES]


def parse(body: bytes, bounces: BounceAddress) -> list[Response]:
    """A person's answer to a message of ours; nothing where it is of none, or a machine wrote it.

    `body` is a form, or what is kept of one. Raises ValueError for what is no such form.
    """
    mail = (body if is_condensed(body) else condensed(body)).removeprefix(_CONDENSED)
    told = returned_mail.response(mail, _NO_MOMENT, bounces)
    # SendGrid gets the notices of what it could not deliver, and tells by events.
    if told is None or told.kind not in _ANSWERS:
        return []
    name = str(BytesParser().parsebytes(mail, headersonly=True).get("Message-ID", "")).strip()
    # The same mail is the same answer, by whichever of its recipients it came.
    return [replace(told, event_id=name or told.event_id, occurred_at=None)]


def _mail(fields: Mapping[str, bytes]) -> bytes:
    """The mail as it came, or as near to it as the fields say; above it, what the envelope says."""
    if "email" in fields:
        return _envelope(fields) + fields["email"].lstrip(b"\r\n")
    if "headers" not in fields:
        raise ValueError("a form without headers or email: no inbound mail")
    charsets = _object(fields.get("charsets", b""))
    kind = "text" if fields.get("text", b"").strip() else "html"
    charset = _word(charsets.get(kind)) or "utf-8"
    form = (
        f'Content-Type: text/{"plain" if kind == "text" else "html"}; charset="{charset}"\r\n'
        "Content-Transfer-Encoding: 8bit\r\n\r\n"
    )
    return _envelope(fields) + _headers_of_text(fields["headers"]) + form.encode() + fields.get(kind, b"")


def _headers_of_text(headers: bytes) -> bytes:
    """The headers without those that speak of parts, which came as fields."""
    kept, is_kept = [], True
    for line in headers.splitlines():
        if line[:1] not in (b" ", b"\t"):
            is_kept = not line.lower().startswith(_OF_PARTS)
        if is_kept and line.strip():
            kept.append(line + b"\r\n")
    return b"".join(kept)


def _envelope(fields: Mapping[str, bytes]) -> bytes:
    """Sender and recipients of the envelope, as the headers in which mail servers write them down."""
    envelope = _object(fields.get("envelope", b""))
    sender, to = envelope.get("from"), envelope.get("to")
    lines = [f"Return-Path: <{one_line(sender)}>"] if isinstance(sender, str) else []
    lines += (
        [f"Delivered-To: {one_line(at)}" for at in to if isinstance(at, str)] if isinstance(to, list) else []
    )
    return "".join(f"{line}\r\n" for line in lines).encode(errors="replace")


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value.isascii() and value.isprintable() else None


def _fields(body: bytes) -> dict[str, bytes]:
    """The form's fields that are read, the first of each name. Raises ValueError for what is no form."""
    boundary = body[2:_LONGEST_BOUNDARY].partition(b"\n")[0].rstrip(b"\r")
    form = _Form()
    parser = MultipartParser(boundary, form.callbacks)  # type: ignore[arg-type]
    try:
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError):
        raise ValueError("no form") from None  # the foreign error may hold the body
    return form.fields


class _Form:
    """Gathers the fields of a form while it is parsed."""

    def __init__(self) -> None:
        self.fields: dict[str, bytes] = {}
        self._parts = 0
        self._header = bytearray()
        self._value = bytearray()
        self._name: str | None = None
        self._content: bytearray | None = None
        self.callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": self._take,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise ValueError("too many parts")
        self._name, self._content = None, bytearray()

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            options = parse_options_header(bytes(self._value))[1]
            name = options.get(b"name", b"").decode("ascii", "replace")
            if b"filename" not in options and name in _FIELDS:
                self._name = name
        self._header.clear()
        self._value.clear()

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None and self._content is not None:
            # No more than is kept: a field may be all of the form, and forms come several at once.
            self._content.extend(data[start : min(end, start + _KEPT_BYTES - len(self._content))])

    def _end(self) -> None:
        if self._name is not None and self._content is not None:
            self.fields.setdefault(self._name, bytes(self._content))
