"""Telegram's updates, all fields of Update: https://core.telegram.org/bots/api#update"""

from __future__ import annotations

import json
from typing import Any

from holdfast.channel import ResponseKind
from tests.unit.channels.documented.events import LEFT_OUT, Event

_ANN = {"id": 11, "is_bot": False, "first_name": "Ann", "username": "ann", "language_code": "de"}
_BOT = {"id": 4711, "is_bot": True, "first_name": "Acme", "username": "AcmeTeaBot"}
_PRIVATE = {"id": 11, "first_name": "Ann", "username": "ann", "type": "private"}
_GROUP = {"id": -1001, "title": "Tea", "type": "supergroup"}
_CHANNEL = {"id": -1002, "title": "News", "type": "channel"}
_AT = 1780488000
_HELLO = {"message_id": 8, "from": _ANN, "chat": _PRIVATE, "date": _AT, "text": "Hello"}
_POLL = {
    "id": "1",
    "question": "Tea?",
    "options": [],
    "total_voter_count": 0,
    "is_closed": False,
    "type": "regular",
}


def _update(name: str, content: Any, becomes: ResponseKind | str = LEFT_OUT) -> Event:
    return Event(name, json.dumps({"update_id": 900, name: content}).encode(), becomes)


def _message(becomes: ResponseKind | str, **more: Any) -> Event:
    without_text = {name: value for name, value in _HELLO.items() if name != "text"}
    return _update("message", {**without_text, **more}, becomes)


def _member(status: str, becomes: ResponseKind | str, chat: Any = _PRIVATE) -> Event:
    old = {"user": _BOT, "status": "member"}
    new = {"user": _BOT, "status": status, "until_date": 0}
    change = {"chat": chat, "from": _ANN, "date": _AT, "old_chat_member": old, "new_chat_member": new}
    return _update("my_chat_member", change, becomes)


_PHOTO = {"file_id": "AgAC", "file_unique_id": "AQAD", "width": 90, "height": 51, "file_size": 1101}

EVENTS = [
    _message(ResponseKind.REPLIED, text="Hello"),
    _message(
        ResponseKind.UNSUBSCRIBED, text="/stop", entities=[{"offset": 0, "length": 5, "type": "bot_command"}]
    ),
    _message(
        ResponseKind.RESUBSCRIBED, text="/start", entities=[{"offset": 0, "length": 6, "type": "bot_command"}]
    ),
    _message(ResponseKind.REPLIED, photo=[_PHOTO], caption="Look"),
    *(
        _message(ResponseKind.REPLIED, **{kind: {"file_id": "x"}})
        for kind in (
            "animation",
            "audio",
            "document",
            "sticker",
            "video",
            "video_note",
            "voice",
            "contact",
            "location",
        )
    ),
    _message(
        ResponseKind.REPLIED, text="Yes", reply_to_message={"message_id": 7, "chat": _PRIVATE, "date": _AT}
    ),
    _message(LEFT_OUT, chat=_GROUP, text="Hello all"),
    _message(LEFT_OUT, chat=_GROUP, new_chat_members=[_ANN]),
    _update("edited_message", {**_HELLO, "edit_date": _AT + 60}),
    _update("channel_post", {"message_id": 9, "chat": _CHANNEL, "date": _AT, "text": "News"}),
    _update(
        "edited_channel_post",
        {"message_id": 9, "chat": _CHANNEL, "date": _AT, "edit_date": _AT, "text": "News"},
    ),
    _update(
        "business_connection", {"id": "b1", "user": _ANN, "user_chat_id": 11, "date": _AT, "is_enabled": True}
    ),
    _update("business_message", {**_HELLO, "business_connection_id": "b1"}),
    _update("edited_business_message", {**_HELLO, "business_connection_id": "b1", "edit_date": _AT}),
    _update(
        "deleted_business_messages", {"business_connection_id": "b1", "chat": _PRIVATE, "message_ids": [8]}
    ),
    _update(
        "message_reaction",
        {
            "chat": _PRIVATE,
            "message_id": 7,
            "user": _ANN,
            "date": _AT,
            "old_reaction": [],
            "new_reaction": [{"type": "emoji", "emoji": "👍"}],
        },
    ),
    _update("message_reaction_count", {"chat": _CHANNEL, "message_id": 7, "date": _AT, "reactions": []}),
    _update("inline_query", {"id": "1", "from": _ANN, "query": "tea", "offset": ""}),
    _update("chosen_inline_result", {"result_id": "1", "from": _ANN, "query": "tea"}),
    _update(
        "callback_query", {"id": "1", "from": _ANN, "message": _HELLO, "chat_instance": "1", "data": "stop"}
    ),
    _update("shipping_query", {"id": "1", "from": _ANN, "invoice_payload": "p", "shipping_address": {}}),
    _update(
        "pre_checkout_query",
        {"id": "1", "from": _ANN, "currency": "EUR", "total_amount": 1, "invoice_payload": "p"},
    ),
    _update("purchased_paid_media", {"from": _ANN, "paid_media_payload": "p"}),
    _update("poll", _POLL),
    _update("poll_answer", {"poll_id": "1", "user": _ANN, "option_ids": [0]}),
    _member("kicked", ResponseKind.UNSUBSCRIBED),
    _member("member", LEFT_OUT),
    _update(
        "chat_member",
        {
            "chat": _GROUP,
            "from": _ANN,
            "date": _AT,
            "old_chat_member": {"user": _ANN, "status": "left"},
            "new_chat_member": {"user": _ANN, "status": "member"},
        },
    ),
    _update("chat_join_request", {"chat": _GROUP, "from": _ANN, "user_chat_id": 11, "date": _AT}),
    _update(
        "chat_boost",
        {
            "chat": _CHANNEL,
            "boost": {
                "boost_id": "1",
                "add_date": _AT,
                "expiration_date": _AT,
                "source": {"source": "premium", "user": _ANN},
            },
        },
    ),
    _update("removed_chat_boost", {"chat": _CHANNEL, "boost_id": "1", "remove_date": _AT, "source": {}}),
    _update("something_new", {"chat": _PRIVATE}),
]
