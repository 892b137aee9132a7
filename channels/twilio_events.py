"""Twilio's codes and webhooks, translated."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from channels.opt_out_words import meant_by
from holdfast.channel import MALFORMED, RejectReason, Response, ResponseKind, Told, event_type
from holdfast.errors import AnswerRefused

# Why a message is refused, or not delivered. Behind a messaging service refusals come as the status `failed`.
REASONS = {
    21211: RejectReason.BAD_ADDRESS,  # not a number
    21214: RejectReason.BAD_ADDRESS,  # cannot be reached
    21217: RejectReason.BAD_ADDRESS,  # not a valid number
    21265: RejectReason.BAD_ADDRESS,  # a short code
    21266: RejectReason.BAD_ADDRESS,  # the sender's own
    21268: RejectReason.BAD_ADDRESS,  # a premium number
    21604: RejectReason.BAD_ADDRESS,  # no number
    21614: RejectReason.BAD_ADDRESS,  # not a mobile number
    21408: RejectReason.BLOCKED,  # the account may not send to that country
    21612: RejectReason.BLOCKED,  # not from this sender to that number
    21610: RejectReason.OPTED_OUT,  # answered STOP
    21602: RejectReason.CONTENT,  # no text
    21619: RejectReason.CONTENT,  # no text, no media
    21617: RejectReason.TOO_LARGE,
    30003: RejectReason.UNKNOWN,  # the phone is off, or out of reach
    30004: RejectReason.BLOCKED,
    30005: RejectReason.BAD_ADDRESS,  # nobody has the number
    30006: RejectReason.BAD_ADDRESS,  # a landline, or a network out of reach
    30007: RejectReason.CONTENT,  # filtered by Twilio or the network
    30032: RejectReason.BLOCKED,  # the sender's number is not verified
    30034: RejectReason.BLOCKED,  # the sender's number is not registered
}
# The number takes no SMS, and will not tomorrow.
DEAD = frozenset({21211, 21217, 21268, 21614, 30005})

# What lies between, like `sent`, says nothing of the receiving side.
STATUSES = {
    "read": ResponseKind.OPENED,  # of those alone who have RCS, and show it
    "delivered": ResponseKind.DELIVERED,
    "undelivered": ResponseKind.BOUNCED,
    "failed": ResponseKind.BOUNCED,
}
# Set where the account has words of its own for it (Advanced Opt-Out).
_OPT_OUT_TYPES = {"STOP": ResponseKind.UNSUBSCRIBED, "START": ResponseKind.RESUBSCRIBED}

_SID = re.compile(r"(?:SM|MM)[0-9a-f]{32}")
_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)


def verify(headers: Mapping[str, str], body: bytes, url: str, tokens: Iterable[str]) -> None:
    """Raises AnswerRefused unless the form was signed with one of the tokens, for this address.

    HMAC-SHA1 over the address and what the fields say, in their order by name; a repeated field counts once.
    """
    try:
        fields = _fields(body)
    except ValueError:
        raise AnswerRefused(
            "what should be Twilio's is no form", hint="give this address to Twilio alone"
        ) from None
    said = "".join(name + value for name, value in sorted(set(fields)))
    given = headers.get("x-twilio-signature", "").encode(errors="replace")
    expected = [
        base64.b64encode(hmac.digest(token.encode(), (address + said).encode(), "sha1"))
        for token in tokens
        for address in _spellings(url)
    ]
    if not any(hmac.compare_digest(given, signature) for signature in expected):
        raise AnswerRefused(
            "Twilio's signature is missing or wrong",
            hint="webhook_url has to be exactly the address Twilio calls",
        )


def read(body: bytes) -> Told:
    """What a status callback or an incoming message says; anything else is left out.

    Twilio names no time in them.
    """
    fields = dict(_fields(body))
    sid = fields.get("MessageSid", "")
    if not _SID.fullmatch(sid):
        return Told(left_out={MALFORMED: 1})
    response = _status(sid, fields) if "MessageStatus" in fields else _incoming(sid, fields)
    if response is not None:
        return Told([response])
    return Told(left_out={event_type(fields.get("MessageStatus") or fields.get("SmsStatus", "")): 1})


def _status(sid: str, fields: Mapping[str, str]) -> Response | None:
    status = fields["MessageStatus"]
    kind = STATUSES.get(status)
    if kind is None:
        return None
    is_bounce = kind is ResponseKind.BOUNCED
    code = int(fields["ErrorCode"]) if re.fullmatch("[0-9]{1,9}", fields.get("ErrorCode", "")) else 0
    return Response(
        kind,
        event_id=f"{sid}:{status}",
        occurred_at=None,
        provider_id=sid,
        address=fields.get("To", "") if is_bounce else "",
        reason=REASONS.get(code, RejectReason.UNKNOWN) if is_bounce else None,
        permanent=is_bounce and code in DEAD,
    )


def _incoming(sid: str, fields: Mapping[str, str]) -> Response | None:
    # From another network it is "whatsapp:+49…", and no answer to an SMS.
    if fields.get("SmsStatus") != "received" or not _E164.fullmatch(fields.get("From", "")):
        return None
    text = fields.get("Body", "")
    return Response(
        _OPT_OUT_TYPES.get(fields.get("OptOutType", ""), meant_by(text)),
        event_id=sid,
        occurred_at=None,
        address=fields["From"],
        text=text,
    )


def _fields(body: bytes) -> list[tuple[str, str]]:
    """Raises ValueError, without data in its text, for what is no form."""
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise ValueError("no form") from None


def _spellings(url: str) -> list[str]:
    """The address as it is, and with the standard port too, which not all of Twilio leaves out."""
    parts = urlsplit(url)
    if parts.port is not None:
        return [url]
    port = 443 if parts.scheme == "https" else 80
    return [url, urlunsplit(parts._replace(netloc=f"{parts.netloc}:{port}"))]
