"""Messenger's words: the codes of its refusals, and its webhook's events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from channels.graph import GRAPH_CODES, RESTRICTED, Codes, Turn, entries, items, moment, said, text
from holdfast.channel import MALFORMED, RejectReason, Response, ResponseKind, Told, event_type

_MILLISECOND = timedelta(milliseconds=1)

# A code's 0 for a subcode: it comes without one. Otherwise 10 and 200 are of the app's permissions.
CODES: Codes = {
    **GRAPH_CODES,
    # More than 24 hours since the customer wrote.
    (10, 2018065): RejectReason.BLOCKED,
    (10, 2018278): RejectReason.BLOCKED,
    (10, 2534022): RejectReason.BLOCKED,
    # "Isn't receiving messages from you".
    (10, 2018108): RejectReason.OPTED_OUT,
    (200, 2018108): RejectReason.OPTED_OUT,
    100: RejectReason.CONTENT,
    (100, 0): RejectReason.BAD_ADDRESS,  # of what we send, only the recipient's id can be wrong
    (100, 2018001): RejectReason.BAD_ADDRESS,
    # "Isn't available": has blocked the page, or left.
    (200, 1545041): RejectReason.BLOCKED,
    551: RejectReason.BLOCKED,
    1200: Turn.EVERYBODY_WAITS,
    2022: RESTRICTED,
}


# What an event has beside the field that it is named for.
_OF_ALL = frozenset({"sender", "recipient", "timestamp"})
# By the status of an `optin`: somebody has ended, or taken up again, what the page sends by itself.
_OPT_INS = {
    "STOP_NOTIFICATIONS": ResponseKind.UNSUBSCRIBED,
    "RESUME_NOTIFICATIONS": ResponseKind.RESUBSCRIBED,
}


def read(body: bytes, page_id: str, stop_words: Sequence[str]) -> Told:
    """What a webhook's body says: of this page, since an app has one webhook for all of its pages.

    Events of unknown types and malformed ones are left out. Raises ValueError for a body that is no JSON.
    """
    responses, announcements, left_out = list[Response](), [], Counter[str]()
    for entry in entries(body, "page"):
        if text(entry, "id") != page_id:
            continue
        for event in items(entry, "messaging"):
            action = text(event, "policy_enforcement", "action")
            if found := _of_event(event, stop_words):
                responses += found
            elif action in ("block", "warning"):
                announcements.append(
                    f"Meta enforces its policies on the page ({action}): look at the page's support inbox"
                )
            else:
                left_out[_type(event)] += 1
        # Of a conversation that another app has taken over; of the page, and nobody's answer to it.
        left_out.update("standby" for _ in items(entry, "standby"))
        left_out.update(event_type(text(change, "field")) for change in items(entry, "changes"))
    return Told(responses, left_out, announcements)


def _type(event: dict[str, Any]) -> str:
    if "message" in event and text(event, "message", "mid"):
        return "message_echo"
    named = next((field for field in event if field not in _OF_ALL), "")
    return MALFORMED if named in _READ else event_type(named)


def _of_event(event: dict[str, Any], stop_words: Sequence[str]) -> list[Response]:
    sender = text(event, "sender", "id")
    if not sender:
        return []
    for field, of in _ANSWERS.items():
        if isinstance(told := event.get(field), dict) and (at := _moment(event)):
            return of(told, at, sender, stop_words)
    for field, kind in (("delivery", ResponseKind.DELIVERED), ("read", ResponseKind.OPENED)):
        if isinstance(told := event.get(field), dict):
            # A delivery is documented without a time of its own.
            at = _moment(event) or moment(told.get("watermark"), _MILLISECOND)
            return _receipt(told, kind, at, sender) if at else []
    return []


def _message(told: dict[str, Any], at: datetime, sender: str, stop_words: Sequence[str]) -> list[Response]:
    id_, words = text(told, "mid"), text(told, "text")
    if not id_:
        return []
    if told.get("is_echo"):
        # What the page itself sent, whoever wrote it. What bears a key is proved by it to be ours, or not.
        key = text(told, "metadata")
        return [Response(ResponseKind.ACCEPTED, f"{id_}:echo", at, key=key, provider_id=id_)] if key else []
    answered = text(told, "reply_to", "mid")
    return [Response(said(words, stop_words), id_, at, provider_id=answered, address=sender, text=words)]


def _postback(told: dict[str, Any], at: datetime, sender: str, stop_words: Sequence[str]) -> list[Response]:
    """Somebody has pressed a button."""
    words = text(told, "title")
    event_id = text(told, "mid") or f"{sender}:postback:{at.isoformat()}"
    return [Response(said(words, stop_words), event_id, at, address=sender, text=words)]


def _optin(told: dict[str, Any], at: datetime, sender: str, stop_words: Sequence[str]) -> list[Response]:
    status = text(told, "notification_messages_status")
    kind = _OPT_INS.get(status)
    return [Response(kind, f"{sender}:{status}:{at.isoformat()}", at, address=sender)] if kind else []


_ANSWERS = {"message": _message, "postback": _postback, "optin": _optin}
_READ = frozenset({"message", "postback", "delivery", "read"})


def _receipt(told: dict[str, Any], kind: ResponseKind, at: datetime, sender: str) -> list[Response]:
    ids = told.get("mids")
    named = [id_ for id_ in ids if isinstance(id_, str) and id_] if isinstance(ids, list) else []
    if named:
        return [Response(kind, f"{id_}:{kind}", at, provider_id=id_) for id_ in named]
    # Of all messages up to then: reads never name theirs, deliveries to older clients do not.
    return [Response(kind, f"{sender}:{kind}:{at.isoformat()}", at, address=sender)]


def _moment(event: dict[str, Any]) -> datetime | None:
    return moment(event.get("timestamp"), _MILLISECOND)
