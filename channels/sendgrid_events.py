"""SendGrid's answers: its event webhook, verified and translated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from channels.sendgrid_payload import KEY
from holdfast.channel import RejectReason, Response, ResponseKind
from holdfast.errors import AnswerRefused

# SendGrid repeats what got no 2xx for a day, and nowhere says that it signs anew: an answer must not be lost
# to an outage of ours. The same body is kept once: repeating one changes nothing. The future is for clocks.
OLDEST = timedelta(hours=25)
NEWEST = timedelta(minutes=5)

_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"

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
_BOUNCED = {
    "invalid address": RejectReason.BAD_ADDRESS,
    "mailbox unavailable": RejectReason.BAD_ADDRESS,
    "content": RejectReason.CONTENT,
    "reputation": RejectReason.BLOCKED,
    "frequency or volume too high": RejectReason.BLOCKED,
}


class EventKey:
    """The public key that SendGrid shows for a signed event webhook: DER in base64."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, without the text, when it is no such key."""
        from sendgrid.helpers.eventwebhook import EventWebhook  # slow to import, and only for who has a key

        try:
            self._webhook = EventWebhook("".join(text.split()))
            self._webhook.verify_signature("", "", "")  # raises for a key of another algorithm
        except Exception:  # whatever the libraries below raise
            raise ValueError("not a public key as SendGrid shows it") from None

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless these bytes were signed with the private key, and lately."""
        timestamp, signature = headers.get(_TIMESTAMP, ""), headers.get(_SIGNATURE, "")
        try:
            is_signed = self._webhook.verify_signature(body.decode(), signature, timestamp)
            signed_at = datetime.fromtimestamp(int(timestamp), UTC)
        except (ValueError, OverflowError, OSError):  # no base64, no UTF-8, no number, no date
            is_signed = False
        if not is_signed:
            raise AnswerRefused("SendGrid's signature is missing or wrong")
        if not now - OLDEST <= signed_at <= now + NEWEST:
            raise AnswerRefused("SendGrid's signature is too old, or of the future: is the clock right?")


def parse(body: bytes) -> list[Response]:
    """The responses in a webhook's body. Events of unknown types and malformed ones are left out.

    Raises ValueError for a body that is no JSON list.
    """
    try:
        events: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None  # the foreign error holds the body
    if not isinstance(events, list):
        raise ValueError("no list of events")
    return [response for event in events if (response := _response(event)) is not None]


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
    is_permanent = _text(event, "type") != "blocked"
    otherwise = RejectReason.BAD_ADDRESS if is_permanent else RejectReason.BLOCKED
    return _BOUNCED.get(_text(event, "bounce_classification").lower(), otherwise), is_permanent


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
