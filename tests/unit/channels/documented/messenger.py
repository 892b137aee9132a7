"""Messenger's webhooks: https://developers.facebook.com/docs/messenger-platform/reference/webhook-events"""

from __future__ import annotations

import json
from typing import Any

from holdfast.channel import ResponseKind
from tests.servers.graph_server import PAGE_ID
from tests.unit.channels.documented.events import LEFT_OUT, OPERATOR, Event

_ANN, _AT = "6912709575460321", 1780488000000
_KEY = "7.c2lnbmF0dXJl"


def _entry(name: str, becomes: ResponseKind | str, **content: Any) -> Event:
    entry = {"id": PAGE_ID, "time": _AT, **content}
    return Event(name, json.dumps({"object": "page", "entry": [entry]}).encode(), becomes)


def _event(name: str, becomes: ResponseKind | str, field: str, content: Any, **more: Any) -> Event:
    both = {"sender": {"id": _ANN}, "recipient": {"id": PAGE_ID}, "timestamp": _AT}
    return _entry(name, becomes, messaging=[{**both, field: content, **more}])


def _message(becomes: ResponseKind | str, **content: Any) -> Event:
    return _event("messages", becomes, "message", {"mid": "m_in", **content})


def _echo(becomes: ResponseKind | str, **content: Any) -> Event:
    told = {"is_echo": True, "app_id": 1517776481860111, "mid": "m_1", "text": "Hello", **content}
    return _event("message_echoes", becomes, "message", told, sender={"id": PAGE_ID}, recipient={"id": _ANN})


def _optin(status: str, becomes: ResponseKind | str) -> Event:
    token = {
        "type": "notification_messages",
        "notification_messages_token": "1",
        "title": "News",
        "payload": "p",
    }
    told = {**token, "notification_messages_status": status}
    return _event("messaging_optins", becomes, "optin", told)


def _policy(action: str, becomes: ResponseKind | str) -> Event:
    told = {"recipient": {"id": PAGE_ID}, "timestamp": _AT}
    enforced = {"policy_enforcement": {"action": action, "reason": "The page violates a policy."}}
    return _entry("messaging_policy_enforcement", becomes, messaging=[{**told, **enforced}])


_MEDIA = {"url": "https://x.example/1"}

EVENTS = [
    _message(ResponseKind.REPLIED, text="Hello"),
    _message(ResponseKind.UNSUBSCRIBED, text="STOP"),
    _message(ResponseKind.REPLIED, text="Yes", quick_reply={"payload": "p"}),
    _message(ResponseKind.REPLIED, text="Yes", reply_to={"mid": "m_1"}),
    *(
        _message(ResponseKind.REPLIED, attachments=[{"type": type_, "payload": _MEDIA}])
        for type_ in ("image", "audio", "video", "file", "fallback", "template", "reel", "location")
    ),
    _echo(ResponseKind.ACCEPTED, metadata=_KEY),
    _echo(LEFT_OUT),
    _event("message_deliveries", ResponseKind.DELIVERED, "delivery", {"mids": ["m_1"], "watermark": _AT}),
    _event("message_deliveries", ResponseKind.DELIVERED, "delivery", {"watermark": _AT}),
    _event("message_reads", ResponseKind.OPENED, "read", {"watermark": _AT}),
    _event(
        "messaging_postbacks",
        ResponseKind.REPLIED,
        "postback",
        {"mid": "m_in", "title": "Get started", "payload": "p"},
    ),
    _event("messaging_postbacks", ResponseKind.UNSUBSCRIBED, "postback", {"title": "Stop", "payload": "p"}),
    _optin("STOP_NOTIFICATIONS", ResponseKind.UNSUBSCRIBED),
    _optin("RESUME_NOTIFICATIONS", ResponseKind.RESUBSCRIBED),
    _event("messaging_optins", LEFT_OUT, "optin", {"ref": "r", "user_ref": "u"}),
    _event(
        "messaging_referrals",
        LEFT_OUT,
        "referral",
        {"ref": "r", "source": "SHORTLINK", "type": "OPEN_THREAD"},
    ),
    _event(
        "message_reactions",
        LEFT_OUT,
        "reaction",
        {"reaction": "love", "emoji": "❤", "action": "react", "mid": "m_1"},
    ),
    _event("message_edits", LEFT_OUT, "message_edit", {"mid": "m_in", "text": "Hello!", "num_edit": "1"}),
    _event(
        "messaging_account_linking",
        LEFT_OUT,
        "account_linking",
        {"status": "linked", "authorization_code": "c"},
    ),
    _event(
        "messaging_game_plays",
        LEFT_OUT,
        "game_play",
        {"game_id": "g", "player_id": "p", "context_type": "SOLO"},
    ),
    _event("messaging_feedback", LEFT_OUT, "messaging_feedback", {"feedback_screens": []}),
    _event(
        "messaging_handovers", LEFT_OUT, "pass_thread_control", {"new_owner_app_id": "1", "metadata": "m"}
    ),
    _event(
        "messaging_handovers",
        LEFT_OUT,
        "take_thread_control",
        {"previous_owner_app_id": "1", "metadata": "m"},
    ),
    _event(
        "messaging_handovers",
        LEFT_OUT,
        "request_thread_control",
        {"requested_owner_app_id": 1, "metadata": "m"},
    ),
    _event("messaging_handovers", LEFT_OUT, "app_roles", {"1": ["primary_receiver"]}),
    _policy("block", OPERATOR),
    _policy("warning", OPERATOR),
    _policy("unblock", LEFT_OUT),
    _entry(
        "standby",
        LEFT_OUT,
        standby=[
            {
                "sender": {"id": _ANN},
                "recipient": {"id": PAGE_ID},
                "timestamp": _AT,
                "message": {"mid": "m", "text": "stop"},
            }
        ],
    ),
    _entry("feed", LEFT_OUT, changes=[{"field": "feed", "value": {"item": "comment", "message": "stop"}}]),
    _event("something_new", LEFT_OUT, "something_new", {}),
]
