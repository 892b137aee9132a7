"""WhatsApp's webhooks: https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/payload-examples"""

from __future__ import annotations

import json
from typing import Any

from holdfast.channel import ResponseKind
from tests.servers.graph_server import PHONE_NUMBER_ID
from tests.unit.channels.documented.events import LEFT_OUT, OPERATOR, Event

TEMPLATE = "winback_hello"
_ANN, _AT = "4915112345678", "1780488000"
_ID = "wamid.HBgLMTY0NjcwNDM1OTUVAgARGBI1RjQyNUE3NEYxMzAzMzQ5MkEA"
_METADATA = {"display_phone_number": "15550783881", "phone_number_id": PHONE_NUMBER_ID}
_OF_NUMBER = {"messaging_product": "whatsapp", "metadata": _METADATA}
_CONTACTS = [{"profile": {"name": "Ann"}, "wa_id": _ANN}]

Becomes = ResponseKind | str | tuple[ResponseKind, ...]


def _change(name: str, field: str, value: dict[str, Any], becomes: Becomes) -> Event:
    entry = {"id": "102290129340398", "time": int(_AT), "changes": [{"field": field, "value": value}]}
    return Event(
        name, json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode(), becomes
    )


def _status(name: str, becomes: Becomes, **more: Any) -> Event:
    conversation = {"id": "c1", "expiration_timestamp": _AT, "origin": {"type": "marketing"}}
    status = {
        "id": _ID,
        "status": name,
        "timestamp": _AT,
        "recipient_id": _ANN,
        "biz_opaque_callback_data": "7.c2lnbmF0dXJl",
        "conversation": conversation,
        "pricing": {"billable": True, "pricing_model": "PMP", "category": "marketing"},
    }
    return _change(name, "messages", {**_OF_NUMBER, "statuses": [{**status, **more}]}, becomes)


def _failed(code: int, *becomes: ResponseKind) -> Event:
    error = {
        "code": code,
        "title": "t",
        "message": "m",
        "error_data": {"details": "d"},
        "href": "https://x.example",
    }
    return _status("failed", becomes if len(becomes) > 1 else becomes[0], errors=[error])


def _message(name: str, becomes: Becomes, content: Any = None, **more: Any) -> Event:
    message = {"from": _ANN, "id": "wamid.in", "timestamp": _AT, "type": name, name: content or {}}
    return _change(
        name, "messages", {**_OF_NUMBER, "contacts": _CONTACTS, "messages": [{**message, **more}]}, becomes
    )


def _preference(value: str, becomes: Becomes) -> Event:
    told = {
        "wa_id": _ANN,
        "detail": f"User requested to {value} marketing messages",
        "category": "marketing_messages",
    }
    told |= {"value": value}
    preferences = [{**told, "timestamp": int(_AT)}]
    return _change(
        "user_preferences", "user_preferences", {**_OF_NUMBER, "user_preferences": preferences}, becomes
    )


def _template(event: str, becomes: Becomes, name: str = TEMPLATE) -> Event:
    named = {"message_template_id": 5, "message_template_name": name, "message_template_language": "en_US"}
    field = "message_template_status_update"
    return _change(field, field, {"event": event, **named, "reason": "NONE"}, becomes)


def _account(event: str, becomes: Becomes, **more: Any) -> Event:
    return _change("account_update", "account_update", {"event": event, **more}, becomes)


def _quality(event: str, becomes: Becomes) -> Event:
    value = {"display_phone_number": "15550783881", "event": event, "current_limit": "TIER_10K"}
    return _change("phone_number_quality_update", "phone_number_quality_update", value, becomes)


_MEDIA = {"mime_type": "image/jpeg", "sha256": "x", "id": "1"}
_BUTTON_REPLY = {"type": "button_reply", "button_reply": {"id": "b", "title": "Later"}}
_LIST_REPLY = {"type": "list_reply", "list_reply": {"id": "l", "title": "Tea", "description": "d"}}
_FLOW_REPLY = {"type": "nfm_reply", "nfm_reply": {"response_json": "{}", "body": "Sent", "name": "flow"}}

EVENTS = [
    _status("sent", ResponseKind.ACCEPTED),
    _status("delivered", ResponseKind.DELIVERED),
    _status("read", ResponseKind.OPENED),
    _status("played", LEFT_OUT),
    _status("deleted", LEFT_OUT),
    _status("warning", LEFT_OUT),
    _failed(131026, ResponseKind.BOUNCED),
    _failed(131050, ResponseKind.BOUNCED, ResponseKind.UNSUBSCRIBED),
    _message("text", ResponseKind.REPLIED, {"body": "Is it still there?"}),
    _message("text", ResponseKind.UNSUBSCRIBED, {"body": "STOP"}),
    _message("text", ResponseKind.REPLIED, {"body": "yes"}, context={"from": "15550783881", "id": _ID}),
    _message("button", ResponseKind.REPLIED, {"text": "Yes, please", "payload": "p"}, context={"id": _ID}),
    _message(
        "button", ResponseKind.UNSUBSCRIBED, {"text": "Stop promotions", "payload": "p"}, context={"id": _ID}
    ),
    *(
        _message("interactive", ResponseKind.REPLIED, reply)
        for reply in (_BUTTON_REPLY, _LIST_REPLY, _FLOW_REPLY)
    ),
    *(
        _message(kind, ResponseKind.REPLIED, _MEDIA)
        for kind in ("image", "video", "audio", "document", "sticker")
    ),
    _message("location", ResponseKind.REPLIED, {"latitude": 52.5, "longitude": 13.4, "name": "Shop"}),
    _message("contacts", ResponseKind.REPLIED, [{"name": {"formatted_name": "Bob"}, "phones": []}]),
    _message("reaction", LEFT_OUT, {"message_id": _ID, "emoji": "👍"}),
    _message("order", LEFT_OUT, {"catalog_id": "1", "text": "t", "product_items": []}),
    _message(
        "system", LEFT_OUT, {"body": "Ann changed from 1 to 2", "wa_id": "2", "type": "user_changed_number"}
    ),
    _message("request_welcome", LEFT_OUT),
    _message("unsupported", LEFT_OUT, errors=[{"code": 131051, "title": "Message type unknown"}]),
    _message("something_new", LEFT_OUT),
    _preference("stop", ResponseKind.UNSUBSCRIBED),
    _preference("resume", ResponseKind.RESUBSCRIBED),
    _change(
        "errors",
        "messages",
        {**_OF_NUMBER, "errors": [{"code": 130429, "title": "Rate limit hit"}]},
        LEFT_OUT,
    ),
    *(
        _template(event, OPERATOR)
        for event in ("REJECTED", "PAUSED", "DISABLED", "FLAGGED", "PENDING_DELETION")
    ),
    *(_template(event, LEFT_OUT) for event in ("APPROVED", "REINSTATED", "IN_APPEAL", "UNPAUSED")),
    _account("DISABLED_UPDATE", OPERATOR, ban_info={"waba_ban_state": ["DISABLE"], "waba_ban_date": "date"}),
    _account("ACCOUNT_VIOLATION", OPERATOR, violation_info={"violation_type": "ALCOHOL"}),
    _account(
        "ACCOUNT_RESTRICTION",
        OPERATOR,
        restriction_info=[{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1}],
    ),
    _account("ACCOUNT_DELETED", OPERATOR),
    _account("VERIFIED_ACCOUNT", LEFT_OUT, phone_number="15550783881"),
    _account("PARTNER_ADDED", LEFT_OUT),
    *(_quality(event, OPERATOR) for event in ("FLAGGED", "DOWNGRADE")),
    *(_quality(event, LEFT_OUT) for event in ("UNFLAGGED", "UPGRADE", "ONBOARDING")),
    *(
        _change(field, field, {"event": "e"}, LEFT_OUT)
        for field in (
            *("account_alerts", "account_review_update", "business_capability_update", "security", "flows"),
            *("message_template_quality_update", "template_category_update", "phone_number_name_update"),
            *("message_template_components_update", "something_new"),
        )
    ),
]
