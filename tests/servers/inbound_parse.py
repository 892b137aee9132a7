"""Mail as SendGrid's Inbound Parse posts it: a form with its parts as fields, or with the mail as it came."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from email.message import EmailMessage
from secrets import token_hex
from typing import cast

import httpx

Form = tuple[bytes, dict[str, str]]
"""The body, and its headers; names in lower case."""


def form(fields: dict[str, bytes], files: dict[str, tuple[str, bytes, str]] | None = None) -> Form:
    """A form of these fields and files."""
    parts = [(name, (None, value)) for name, value in fields.items()]
    boundary = f"xYzZY{token_hex(4)}"
    request = httpx.Request(
        "POST",
        "http://127.0.0.1/",
        files=[*parts, *(files or {}).items()],  # type: ignore[list-item]
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    return request.read(), {"content-type": request.headers["content-type"]}


def raw(mail: bytes, sender: str, *recipients: str) -> Form:
    """With "POST the raw, full MIME message"."""
    return form(
        {
            "email": mail,
            "to": ", ".join(recipients).encode(),
            "from": sender.encode(),
            "envelope": _envelope(sender, recipients),
            "charsets": b'{"to":"UTF-8","from":"UTF-8"}',
            "SPF": b"pass",
        }
    )


def parsed(mail: bytes, sender: str, *recipients: str) -> Form:
    """With the mail taken apart, texts in the charsets that they came in."""
    read = cast(EmailMessage, message_from_bytes(mail, policy=policy.default))
    head = mail.partition(b"\r\n\r\n")[0] + b"\r\n"
    fields = {"headers": head, "envelope": _envelope(sender, recipients), "attachments": b"0"}
    charsets = {}
    for name, kind in (("text", "plain"), ("html", "html")):
        if (part := read.get_body((kind,))) is not None:
            fields[name] = cast(bytes, part.get_payload(decode=True))
            charsets[name] = part.get_content_charset("UTF-8")
    fields["charsets"] = json.dumps(charsets).encode()
    files = {
        f"attachment{number}": (
            part.get_filename() or "",
            cast(bytes, part.get_payload(decode=True)),
            part.get_content_type(),
        )
        for number, part in enumerate(read.iter_attachments(), start=1)
    }
    return form(fields, files)


def _envelope(sender: str, recipients: tuple[str, ...]) -> bytes:
    return json.dumps({"to": list(recipients), "from": sender}).encode()
