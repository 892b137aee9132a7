"""A message as a letter: RFC 5322 bytes and the SMTP envelope around them.

Written by hand where the standard library is slow: its EmailMessage takes milliseconds for a campaign
message of 15 KB. Here what a skeleton has in common is encoded once, and a message only encodes its values.
"""

from __future__ import annotations

import re
from base64 import b64encode, encodebytes
from binascii import b2a_qp
from dataclasses import dataclass
from email.utils import encode_rfc2231
from functools import lru_cache
from hashlib import sha256

import idna

from holdfast.channel import Attachment, Message, Rejected, RejectReason
from holdfast.errors import ChannelUnavailable

# "=_" cannot occur in quoted-printable text, nor in base64, so no body can hold these boundaries.
_BOUNDARY = "=_holdfast_alternative"
_OUTER_BOUNDARY = "=_holdfast_mixed"
_SOFT_BREAK = b"=\r\n"

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LONG_LINE = re.compile(r"(.{1,60}) (?=\S)")
_HEADER_NAME = re.compile(r"[!-9;-~]{1,70}")
_SAFE_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_SENDER = re.compile(r"(?P<name>[^<>]*)<(?P<at>[^<>]+)>|(?P<bare>[^<>]+)")
_LOCAL_PART = re.compile(r'[^\s<>()\[\]:;@\\,"]+')
_DOMAIN = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)

_OURS = frozenset(
    (
        "reply-to",
        *("date", "from", "to", "cc", "bcc", "subject", "message-id"),
        *("mime-version", "content-type", "content-transfer-encoding", "auto-submitted"),
    )
)


@dataclass(frozen=True, slots=True)
class Letter:
    """An email ready for the wire: lines end with CRLF and are at most 998 bytes long.

    `sender` and `recipient` are the envelope's addresses, their domains in ASCII. `utf8`: one of them, or
    the address for answers, has a local part that is not ASCII, so the way must support SMTPUTF8.
    """

    sender: str
    recipient: str
    message_id: str
    content: bytes
    utf8: bool


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A sender: the From header's value, and its name and address apart."""

    header: str
    name: str
    address: str


def compose(message: Message, date: str, envelope_sender: str = "") -> Letter | Rejected:
    """The message as a letter of this date (RFC 5322), or why it cannot be one.

    `envelope_sender` is where bounces go, in ASCII, else to the sender; the Message-ID has the same domain.
    Raises ChannelUnavailable for a sender, or an address for answers, that is no mailbox.
    """
    sender = mailbox(message.sender)
    reply_to = answers_to(message)
    recipient = address(message.to)
    if recipient is None:
        return Rejected(RejectReason.BAD_ADDRESS, "not an email address")
    extra = _extra_headers(message.headers)
    if extra is None:
        return Rejected(RejectReason.CONTENT, "a header that is no header, or not the message's to set")
    answers = f"Reply-To: {reply_to.header}\r\n" if reply_to else ""
    envelope_sender = envelope_sender or sender.address
    message_id = f"<{safe_key(message.key)}@{envelope_sender.rpartition('@')[2]}>"
    head = (
        f"Date: {date}\r\n"
        f"From: {sender.header}\r\n"
        f"{answers}"
        f"To: {_mailbox_header(message.to_name, recipient)}\r\n"
        f"Subject: {_header_text(message.subject)}\r\n"
        f"Message-ID: {message_id}\r\n"
        "Auto-Submitted: auto-generated\r\n"  # RFC 3834: so that no responder on holiday answers it
        f"{extra}"
        "MIME-Version: 1.0\r\n"
    )
    return Letter(
        sender=envelope_sender,
        recipient=recipient,
        message_id=message_id,
        content=head.encode() + _body(message),
        utf8=not (recipient + sender.address + (reply_to.address if reply_to else "")).isascii(),
    )


def answers_to(message: Message) -> Mailbox | None:
    """Where answers go, if not to the sender. Raises ChannelUnavailable when it is no mailbox."""
    return mailbox(message.reply_to, "reply_to") if message.reply_to else None


@lru_cache(maxsize=64)
def mailbox(text: str, setting: str = "from") -> Mailbox:
    """The mailbox "Acme <hello@acme.example>". Raises ChannelUnavailable, with the brand's setting that it
    is, when it is none."""
    # By the RFC a name with a comma needs quotes; people who write `Smith, Jones & Co <…>` mean the name.
    found = _SENDER.fullmatch(text.strip())
    at = address(found["at"] or found["bare"]) if found else None
    if found is None or at is None:
        what = "the sender" if setting == "from" else "the address for answers"
        raise ChannelUnavailable(
            f"{what} is not a mailbox", hint=f"write it like Acme <hello@acme.example> under brand: {setting}"
        )
    name = (found["name"] or "").strip().strip('"')
    return Mailbox(_mailbox_header(name, at), name, at)


def address(text: str) -> str | None:
    """The address with its domain in ASCII, or None when it is not one address, or cannot be one."""
    local, _, domain = text.rpartition("@")
    if not (_LOCAL_PART.fullmatch(local) and local.isprintable()):
        return None
    if not domain.isascii():
        try:
            # Not the standard library's codec: by its older rules faß.example is fass.example, another's.
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            return None
    found = f"{local}@{domain}"
    return found if _DOMAIN.fullmatch(domain) and len(found.encode()) <= 254 else None


def safe_key(key: str) -> str:
    """The message key where it can stand in a Message-ID and as a file's name; else a digest of it."""
    return key if len(key) <= 128 and _SAFE_KEY.fullmatch(key) else sha256(key.encode()).hexdigest()


def one_line(text: str) -> str:
    """The text without line breaks and control characters, so that it cannot end a header."""
    return _UNPRINTABLE.sub(" ", text).strip()


def _extra_headers(headers: dict[str, str]) -> str | None:
    if any(not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS for name in headers):
        return None
    return "".join(f"{name}: {_header_text(value)}\r\n" for name, value in headers.items())


def _header_text(text: str) -> str:
    """Unstructured header text, folded; as encoded words (RFC 2047) where it is not plain ASCII."""
    line = one_line(text)
    if line.isascii() and "=?" not in line and len(line) <= 900:
        return line if len(line) <= 60 else _LONG_LINE.sub("\\1\r\n ", line)
    return _encoded_words(line)


def _mailbox_header(name: str, at: str) -> str:
    name = one_line(name)
    if name.isascii() and "=?" not in name and len(name) <= 60:
        quoted = name.replace("\\", r"\\").replace('"', r"\"")
        return f'"{quoted}" <{at}>' if name else at
    return f"{_encoded_words(name)}\r\n <{at}>"


def _encoded_words(text: str) -> str:
    # 39 bytes make a word of 64 characters: with "Subject: " before it under the 76 a line may have.
    # The standard library's Header does the same ten times slower.
    chunks = [b""]
    for character in text:
        encoded = character.encode(errors="replace")
        if len(chunks[-1]) + len(encoded) > 39:
            chunks.append(encoded)
        else:
            chunks[-1] += encoded
    return "\r\n ".join(f"=?utf-8?b?{b64encode(chunk).decode('ascii')}?=" for chunk in chunks)


def _body(message: Message) -> bytes:
    if not message.attachments:
        return _text_and_html(message)
    boundary = f"\r\n--{_OUTER_BOUNDARY}".encode()
    return (
        f'Content-Type: multipart/mixed; boundary="{_OUTER_BOUNDARY}"\r\n'.encode()
        + b"".join(
            boundary + b"\r\n" + part
            for part in (_text_and_html(message), *map(_attached, message.attachments))
        )
        + boundary
        + b"--\r\n"
    )


@lru_cache(maxsize=16)
def _attached(file: Attachment) -> bytes:
    name = one_line(file.name)
    is_plain = name.isascii() and not set(name) & set('"\\')
    named = f'filename="{name}"' if is_plain else f"filename*={encode_rfc2231(name, 'utf-8')}"
    return (
        f"Content-Type: {file.media_type}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f"Content-Disposition: attachment; {named}\r\n\r\n"
    ).encode() + encodebytes(file.content).replace(b"\n", b"\r\n")


def _text_and_html(message: Message) -> bytes:
    skeleton = message.skeleton
    text = _part("plain", _filled(skeleton.text, skeleton.text_holes, message.plain))
    if skeleton.html == ("",):
        return text + b"\r\n"
    html = _part("html", _filled(skeleton.html, skeleton.html_holes, message.escaped))
    if skeleton.text == ("",):
        return html + b"\r\n"
    return (
        f'Content-Type: multipart/alternative; boundary="{_BOUNDARY}"\r\n\r\n--{_BOUNDARY}\r\n'.encode()
        + text
        + f"\r\n--{_BOUNDARY}\r\n".encode()
        + html
        + f"\r\n--{_BOUNDARY}--\r\n".encode()
    )


def _part(subtype: str, encoded: bytes) -> bytes:
    return (
        f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    ).encode() + encoded


def _filled(parts: tuple[str, ...], holes: tuple[int, ...], values: tuple[str, ...]) -> bytes:
    encoded = _encoded_parts(parts)
    pieces = [encoded[0]]
    for part, hole in zip(encoded[1:], holes, strict=True):
        pieces.append(_quoted_printable(values[hole]))
        pieces.append(part)
    return _SOFT_BREAK.join(pieces)


@lru_cache(maxsize=256)
def _encoded_parts(parts: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(_quoted_printable(part) for part in parts)


def _quoted_printable(text: str) -> bytes:
    # b2a_qp takes the first line break it meets as the kind for its own, so it only ever sees "\n".
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    encoded = b2a_qp(lines.encode(errors="replace"), istext=True)
    if len(encoded) - (encoded.rfind(b"\n") + 1) > 75:
        # Full to the last of 76: the soft break that joins it to the next piece would not fit.
        cut = -3 if encoded[-3:-2] == b"=" else -1
        encoded = encoded[:cut] + b"=\n" + encoded[cut:]
    return encoded.replace(b"\n", b"\r\n")
