"""SendGrid's event webhook, translated."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from channels.sendgrid_payload import KEY
from holdfast.channel import MALFORMED, RejectReason, Response, ResponseKind, Told, event_type

_KINDS = {
    "processed": ResponseKind.ACCEPTED,
    "deferred": ResponseKind.DEFERRED,
    "delivered": ResponseKind.DELIVERED,
    "bounce": ResponseKind.BOUNCED,
    "dropped": ResponseKind.BOUNCED,
    "open": ResponseKind.OPENED,
    "click": ResponseKind.CLICKED,
    "spamreport": ResponseKind.COMPLAINED,
    "unsubscribe": ResponseKind.UNSUBSCRIBED,
    "group_unsubscribe": ResponseKind.UNSUBSCRIBED,
    "group_resubscribe": ResponseKind.RESUBSCRIBED,
}

_WORD = re.compile(r"[A-Za-z_]{1,40}")

# May end an address: the one the message went to, which need not be the customer's any more.
_SUPPRESSING = frozenset({ResponseKind.BOUNCED, ResponseKind.COMPLAINED})

# Why SendGrid did not even try, and whether the address is dead.
_DROPPED = {
    "bounced address": (RejectReason.BAD_ADDRESS, True),
    "invalid": (RejectReason.BAD_ADDRESS, True),
    "unsubscribed address": (RejectReason.OPTED_OUT, False),
    "spam reporting address": (RejectReason.OPTED_OUT, False),
    "spam content": (RejectReason.CONTENT, False),
    "invalid smtpapi header": (RejectReason.CONTENT, False),
    "recipient list over package quota": (RejectReason.BLOCKED, False),
}
_BOUNCES = {"bounce": RejectReason.BAD_ADDRESS, "blocked": RejectReason.BLOCKED}
_BOUNCED = {
    "invalid address": RejectReason.BAD_ADDRESS,
    "mailbox unavailable": RejectReason.BAD_ADDRESS,
    "content": RejectReason.CONTENT,
    "reputation": RejectReason.BLOCKED,
    "frequency or volume too high": RejectReason.BLOCKED,
}


def read(body: bytes) -> Told:
    """What a webhook's body says. Events of unknown types and malformed ones are left out, and counted.

    Raises ValueError for a body that is no JSON list.
    """
    responses, announcements, left_out = [], [], Counter[str]()
    for event in _events(body):
        if (response := _response(event)) is not None:
            responses.append(response)
        elif _text(event, "event") == "account_status_change":
            announcements.append(
                f"SendGrid has changed the account's status ({_code(event)}):"
                " look for its mail to the account's owner"
            )
        else:
            said = _text(event, "event")
            left_out[MALFORMED if said in _KINDS else event_type(said)] += 1
    return Told(responses, left_out, announcements)


def _code(event: Any) -> str:
    """What became of the account, in SendGrid's word for it: never more than a word."""
    said = _text(event, "type")
    return said if _WORD.fullmatch(said) else "it does not say how"


def _events(body: bytes) -> list[Any]:
    try:
        events: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None  # the foreign error holds the body
    if not isinstance(events, list):
        raise ValueError("no list of events")
    return events


def _response(event: Any) -> Response | None:
    kind = _KINDS.get(_text(event, "event"))
    occurred_at = _moment(event)
    if kind is None or occurred_at is None:
        return None
    key = _text(event, KEY)
    reason, is_permanent = _why(event) if kind is ResponseKind.BOUNCED else (None, False)
    return Response(
        kind,
        event_id=_text(event, "sg_event_id") or _digest(event),
        occurred_at=occurred_at,
        key=key,
        # A message's name at SendGrid begins with its request's, which is what we were given.
        provider_id=_text(event, "sg_message_id").partition(".")[0],
        address="" if key and kind not in _SUPPRESSING else _text(event, "email"),
        machine="sendgrid" if kind is ResponseKind.OPENED and event.get("sg_machine_open") is True else "",
        reason=reason,
        permanent=is_permanent,
        url=_text(event, "url") if kind is ResponseKind.CLICKED else "",
    )


def _why(event: dict[str, Any]) -> tuple[RejectReason, bool]:
    """Why a message was not delivered, and whether its address is dead."""
    if event["event"] == "dropped":
        return _DROPPED.get(_text(event, "reason").lower(), (RejectReason.UNKNOWN, False))
    kind = _text(event, "type") or "bounce"
    reason = _BOUNCED.get(
        _text(event, "bounce_classification").lower(), _BOUNCES.get(kind, RejectReason.UNKNOWN)
    )
    # What was blocked, or expired on its way, says nothing of the address.
    return reason, kind == "bounce"


def _text(event: Any, field: str) -> str:
    """The field's text; '' where there is none."""
    value = event.get(field) if isinstance(event, dict) else None
    return value if isinstance(value, str) else ""


def _moment(event: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(event["timestamp"]), UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def _digest(event: dict[str, Any]) -> str:
    """The same for the same event, however its fields are ordered."""
    return sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()
