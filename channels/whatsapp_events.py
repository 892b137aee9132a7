"""WhatsApp's words: the codes of its refusals, and its webhook's events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from channels.graph import (
    GRAPH_CODES,
    PERMISSION,
    RESTRICTED,
    UNKNOWN_ID,
    Codes,
    Operator,
    Turn,
    entries,
    items,
    moment,
    number,
    reason_of,
    said,
    text,
)
from holdfast.channel import MALFORMED, RejectReason, Response, ResponseKind, Told, event_type

_TEMPLATE = Operator(
    "WhatsApp does not take the template as it is set", "compare template, language and parameters with it"
)
_TEMPLATE_RESTS = Operator(
    "WhatsApp has paused or disabled the template", "look at its quality in WhatsApp Manager, or set another"
)
_PAYMENT = Operator("WhatsApp wants to be paid", "look at the payment method and billing in Meta Business")

# In answers to calls, and in the events of messages that failed later.
CODES: Codes = {
    **GRAPH_CODES,
    33: UNKNOWN_ID,
    100: RejectReason.CONTENT,
    130429: Turn.EVERYBODY_WAITS,
    130472: RejectReason.BLOCKED,  # the recipient is in an experiment of Meta's and gets no marketing
    130497: RejectReason.BLOCKED,  # the account may not write to the recipient's country
    131000: Turn.NOBODY_KNOWS,
    131005: PERMISSION,
    131008: RejectReason.CONTENT,
    131009: RejectReason.CONTENT,
    131016: Turn.EVERYBODY_WAITS,
    131021: RejectReason.BAD_ADDRESS,  # the sender's own number
    131026: RejectReason.BAD_ADDRESS,
    131030: RejectReason.BLOCKED,  # a test number writes to those alone that are on its list
    131031: RESTRICTED,
    131037: Operator("WhatsApp has not approved the sender's display name", "look at it in WhatsApp Manager"),
    131042: _PAYMENT,
    131045: Operator("WhatsApp does not know the number that sends", "register it in WhatsApp Manager"),
    131047: RejectReason.BLOCKED,  # free text, and more than 24 hours since the customer wrote
    131048: RESTRICTED,
    131049: Turn.RECIPIENT_WAITS,
    131050: RejectReason.OPTED_OUT,
    131051: RejectReason.CONTENT,
    131056: Turn.RECIPIENT_WAITS,
    131057: Turn.EVERYBODY_WAITS,
    132000: _TEMPLATE,
    132001: _TEMPLATE,
    132005: RejectReason.TOO_LARGE,
    132007: RejectReason.CONTENT,
    132012: _TEMPLATE,
    132015: _TEMPLATE_RESTS,
    132016: _TEMPLATE_RESTS,
    133010: Operator("WhatsApp does not know the number that sends", "register it in WhatsApp Manager"),
}  # fmt: skip

_STATUSES = {
    "sent": ResponseKind.ACCEPTED,
    "delivered": ResponseKind.DELIVERED,
    "read": ResponseKind.OPENED,
    "failed": ResponseKind.BOUNCED,
}
# Where a message of each type has its words. Others are no answers of a person: reactions, system, orders.
_WORDS = {
    "text": ("text", "body"),
    "button": ("button", "text"),
    "image": ("image", "caption"),
    "video": ("video", "caption"),
    "document": ("document", "caption"),
    "audio": (),
    "sticker": (),
    "location": (),
    "contacts": (),
}  # fmt: skip
_PREFERENCES = {"stop": ResponseKind.UNSUBSCRIBED, "resume": ResponseKind.RESUBSCRIBED}


# What is said of the account, by field and event, and is for an operator. Good news are not.
_BAD_NEWS = {
    "account_update": {"ACCOUNT_DELETED", "ACCOUNT_RESTRICTION", "ACCOUNT_VIOLATION", "DISABLED_UPDATE"},
    "message_template_status_update": {"DISABLED", "FLAGGED", "PAUSED", "PENDING_DELETION", "REJECTED"},
    "phone_number_quality_update": {"DOWNGRADE", "FLAGGED"},
}
_OF_WHAT = {
    "account_update": "the account",
    "message_template_status_update": "the template",
    "phone_number_quality_update": "a number",
}


def read(body: bytes, phone_number_id: str, stop_words: Sequence[str], template: str | None = None) -> Told:
    """What a webhook's body says: of this number, since an app has one webhook for all of its numbers, and
    of its template.

    Events of unknown types and malformed ones are left out. Raises ValueError for a body that is no JSON.
    """
    responses, announcements, left_out = list[Response](), [], Counter[str]()
    for entry in entries(body, "whatsapp_business_account"):
        for change in items(entry, "changes"):
            value, field = change.get("value"), text(change, "field")
            number_id = text(value, "metadata", "phone_number_id")
            if number_id == phone_number_id:
                for found, type_ in _of_number(value, stop_words):
                    responses += found
                    left_out.update([] if found else [type_])
            elif not number_id:
                if text(value, "event") in _BAD_NEWS.get(field, ()):
                    announcements += _news(field, value, template)
                else:
                    left_out[event_type(field)] += 1
    return Told(responses, left_out, announcements)


def _of_number(value: Any, stop_words: Sequence[str]) -> Iterator[tuple[list[Response], str]]:
    """The responses of each event, and its type."""
    for status in items(value, "statuses"):
        word = text(status, "status")
        yield _of_status(status), MALFORMED if word in _STATUSES else event_type(word)
    for message in items(value, "messages"):
        word, response = text(message, "type"), _message(message, stop_words)
        yield _one(response), MALFORMED if _words(message) is not None else event_type(word)
    for preference in items(value, "user_preferences"):
        yield _one(_preference(preference)), "user_preferences"
    for _ in items(value, "errors"):
        yield [], "errors"


def _one(response: Response | None) -> list[Response]:
    return [] if response is None else [response]


def _news(field: str, value: Any, template: str | None) -> list[str]:
    """What to tell an operator; nothing of a template that another channel uses."""
    if text(value, "message_template_name") not in ("", template):
        return []
    said = text(value, "event")
    return [f"WhatsApp has changed {_OF_WHAT[field]} ({said}): look at it in WhatsApp Manager"]


def _of_status(status: dict[str, Any]) -> list[Response]:
    id_, word, at = text(status, "id"), text(status, "status"), moment(status.get("timestamp"))
    kind = _STATUSES.get(word)
    if not id_ or kind is None or at is None:
        return []
    response = Response(
        kind,
        event_id=f"{id_}:{word}",
        occurred_at=at,
        key=text(status, "biz_opaque_callback_data"),
        provider_id=id_,
    )
    if kind is not ResponseKind.BOUNCED:
        return [response]
    code = next((number(error, "code") for error in items(status, "errors")), 0)
    why, address = reason_of(CODES.get(code)), _address(text(status, "recipient_id"))
    failed = replace(response, reason=why, address=address)
    if why is not RejectReason.OPTED_OUT:
        return [failed]
    # Said in WhatsApp itself, and perhaps before we listened: it holds for later messages too.
    return [
        failed,
        replace(response, kind=ResponseKind.UNSUBSCRIBED, event_id=f"{id_}:opted_out", address=address),
    ]


def _message(message: dict[str, Any], stop_words: Sequence[str]) -> Response | None:
    id_, at = text(message, "id"), moment(message.get("timestamp"))
    address, words = _address(text(message, "from")), _words(message)
    if not id_ or not address or at is None or words is None:
        return None
    return Response(
        said(words, stop_words),
        event_id=id_,
        occurred_at=at,
        provider_id=text(message, "context", "id"),
        address=address,
        text=words,
    )


def _words(message: dict[str, Any]) -> str | None:
    type_ = text(message, "type")
    if type_ == "interactive":
        chosen = message.get("interactive")
        return text(chosen, "button_reply", "title") or text(chosen, "list_reply", "title")
    path = _WORDS.get(type_)
    return None if path is None else text(message, *path)


def _preference(preference: dict[str, Any]) -> Response | None:
    """A customer has switched marketing off or on again, in WhatsApp itself."""
    value, id_ = text(preference, "value"), text(preference, "wa_id")
    kind, at = _PREFERENCES.get(value), moment(preference.get("timestamp"))
    if kind is None or at is None or not id_ or text(preference, "category") != "marketing_messages":
        return None
    return Response(kind, f"{id_}:{value}:{at.timestamp():.0f}", at, address=_address(id_))


def _address(digits: str) -> str:
    """WhatsApp's id of a customer, which is the number without its plus, as an address."""
    return f"+{digits}" if digits.isascii() and digits.isdecimal() else ""
