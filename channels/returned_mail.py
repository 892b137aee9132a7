"""What comes back by mail, understood: notices (RFC 3464), complaints (RFC 5965), people's replies.

Whatever is of no message of ours is left alone, and only a key says what it is of. The addresses in a notice
count for nothing: it may be forged, and forwarding changes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from email import message_from_bytes
from email.message import Message
from hashlib import sha256
from typing import Any

from channels.opt_out_words import meant_by
from channels.reply_text import content_of, own_words
from channels.smtp_replies import failure
from channels.verp import BounceAddress
from holdfast.channel import RejectReason, Response, ResponseKind

_MOST_PARTS = 100

# Where the address that a letter was delivered to may stand; mail servers differ.
_RECIPIENTS = (
    *("Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To"),
    *("X-RCPT-To", "To", "Cc", "Received"),
)

_ACTIONS = {
    "failed": ResponseKind.BOUNCED,
    "delayed": ResponseKind.DEFERRED,
    "delivered": ResponseKind.DELIVERED,
}
# Others are of no person's mind: auth-failure, virus; not-spam takes nothing back.
_FEEDBACK = {
    "abuse": ResponseKind.COMPLAINED,
    "fraud": ResponseKind.COMPLAINED,
    "opt-out": ResponseKind.UNSUBSCRIBED,
    "opt-out-list": ResponseKind.UNSUBSCRIBED,
}
_ACTION_OF_CLASS = {"5": "failed", "4": "delayed", "2": "delivered"}
_STATUS = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?!\d)", re.ASCII)
_REMOTE_REPLY = re.compile(
    r"\s*smtp\s*;\s*(\d{3})[ -]?(?:([245]\.\d{1,3}\.\d{1,3})(?!\d))?", re.ASCII | re.IGNORECASE
)

_BULK = frozenset({"bulk", "junk", "list"})
_MAIL_SYSTEM = re.compile(r"\b(mailer-daemon|postmaster)\b", re.IGNORECASE)


def response(content: bytes, received_at: datetime, bounces: BounceAddress) -> Response | None:
    """What the letter tells of a message; None: nothing, or of none of ours."""
    try:
        told = _told(_Letter(content, bounces))
    except RecursionError:  # parts within parts, deeper than anybody needs
        return None
    if told is None or not told.key:
        return None
    # Named for its content: the same letter is the same event, whatever its number in the mailbox.
    return replace(told, event_id=sha256(content).hexdigest(), occurred_at=received_at)


class _Letter:
    """A letter with its parts, and the keys of our messages in it, by where they stand."""

    def __init__(self, content: bytes, bounces: BounceAddress) -> None:
        self._message = message_from_bytes(content)
        self._bounces = bounces
        self.parts = list(_parts(self._message))
        self.addressed = list(bounces.addressed(self.headers(*_RECIPIENTS)))

    def headers(self, *names: str) -> list[str]:
        """The values of these headers; of damaged ones what can be read."""
        return [str(value) for name in names for value in self._message.get_all(name, [])]

    def header(self, name: str) -> str:
        """The value of the header's first occurrence; '' where there is none."""
        return next(iter(self.headers(name)), "").strip()

    def answered(self) -> list[str]:
        """Keys of the messages that it says it answers."""
        return list(self._bounces.named(self.headers("In-Reply-To", "References")))

    def returned(self) -> list[str]:
        """Keys of the message that it encloses."""
        enclosed = [found for part in self.parts if (found := _enclosed(part)) is not None]
        return list(self._bounces.named([str(found.get("Message-ID", "")) for found in enclosed]))


def _told(letter: _Letter) -> Response | None:
    for part in letter.parts:
        match part.get_content_type():
            case "message/delivery-status" if _is_readable(part):
                return _notice(part, _best(letter.addressed + letter.returned()))
            case "message/feedback-report":
                return _complaint(part, _best(letter.returned()))
    if letter.addressed and _is_plain_bounce(letter):
        return _response(ResponseKind.BOUNCED, _best(letter.addressed), reason=RejectReason.UNKNOWN)
    key = _best(letter.answered() + letter.addressed)
    # Without a key it is nobody's, and not read: whoever knows the address may write to it.
    return _reply(letter, key) if key and not _is_automatic(letter) else None


def _response(kind: ResponseKind, key: str, **fields: Any) -> Response:
    return Response(kind, event_id="", occurred_at=None, key=key, **fields)


def _best(keys: list[str]) -> str:
    """The first key, but rather one whose capitals no mail server has folded: that one can be genuine."""
    return next((key for key in keys if key != key.lower()), keys[0] if keys else "")


# --- notices and complaints -----------------------------------------------------------------------


def _notice(part: Message, key: str) -> Response | None:
    """What a delivery status notice says of its first recipient: our letters have only one."""
    for block in _blocks(part):
        status, code = _status_of(block)
        action = str(block.get("Action", "")).lower().split()[:1] or [_ACTION_OF_CLASS.get(status[:1], "")]
        kind = _ACTIONS.get(action[0])
        if kind is ResponseKind.BOUNCED:
            reason, is_permanent = failure(status, code)
            return _response(kind, key, reason=reason, permanent=is_permanent)
        if kind is not None:
            return _response(kind, key)
    return None


def _is_readable(part: Message) -> bool:
    return any("Action" in block or "Status" in block for block in _blocks(part))


def _status_of(block: Message) -> tuple[str, int]:
    """The enhanced status code and the reply code, as exactly as the block has them; '' and 0 for none."""
    said = _STATUS.match(str(block.get("Status", "")))
    told = _REMOTE_REPLY.match(str(block.get("Diagnostic-Code", "")))
    status, remote = said[1] if said else "", (told[2] or "") if told else ""
    is_vague = not status or status.endswith(".0.0")
    return remote if remote and is_vague else status, int(told[1]) if told else 0


def _complaint(part: Message, key: str) -> Response | None:
    """What a feedback loop reports: what its user took for spam or fraud, or wants no more of."""
    said = (str(block.get("Feedback-Type", "")).strip().lower() for block in _blocks(part))
    kind = next((_FEEDBACK[type_] for type_ in said if type_ in _FEEDBACK), None)
    return None if kind is None else _response(kind, key)


def _is_plain_bounce(letter: _Letter) -> bool:
    """Whether a mail system gave a letter up, though it does not say so in the form of RFC 3464."""
    if letter.header("X-Failed-Recipients") or _MAIL_SYSTEM.search(letter.header("From")):
        return True
    # Responders on holiday have an empty return path too; but most say what they are.
    return letter.header("Return-Path") == "<>" and not (
        _says_automatic(letter) or letter.header("X-Auto-Response-Suppress")
    )


# --- people's replies -----------------------------------------------------------------------------


def _is_automatic(letter: _Letter) -> bool:
    """Whether a machine answered (RFC 3834)."""
    return letter.header("Return-Path") == "<>" or _says_automatic(letter)


def _says_automatic(letter: _Letter) -> bool:
    submitted = re.split(r"[;(\s]", letter.header("Auto-Submitted").lower(), maxsplit=1)[0]
    return submitted not in ("", "no") or letter.header("Precedence").lower() in _BULK


def _reply(letter: _Letter, key: str) -> Response:
    text = own_words(letter.parts)
    first_paragraph = text.partition("\n\n")[0]
    return _response(meant_by(first_paragraph or letter.header("Subject")), key, text=text)


# --- parts ----------------------------------------------------------------------------------------


def _parts(message: Message) -> Iterator[Message]:
    """The message and its parts in order, so many at most, without what is inside of enclosed messages."""
    waiting = [message]
    for _ in range(_MOST_PARTS):
        if not waiting:
            return
        part = waiting.pop(0)
        yield part
        if part.get_content_maintype() == "multipart":
            waiting[:0] = _blocks(part)[:_MOST_PARTS]


def _blocks(part: Message) -> list[Message]:
    """What a part is made of: its parts, the blocks of a notice, the one message that it encloses."""
    payload = part.get_payload() if part.is_multipart() else []
    return [each for each in payload if isinstance(each, Message)]


def _enclosed(part: Message) -> Message | None:
    """The message that came back, or its headers."""
    match part.get_content_type():
        case "message/rfc822":
            return next(iter(_blocks(part)), None)
        case "text/rfc822-headers":
            return message_from_bytes(content_of(part))
    return None
