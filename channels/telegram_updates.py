"""Telegram's updates, translated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from channels.opt_out_words import meant_by
from holdfast.channel import Response, ResponseKind, event_type

# What a bot is told of beside these is nobody's answer to a message.
TYPES = ["message", "my_chat_member"]

_COMMAND = re.compile(r"/([a-z]+)(?:@\w+)?(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)
# All that Telegram takes at the end of a link to a bot.
_PAYLOAD = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# A person starts a bot, from a link too, with /start; what follows it is the end of the link.
_COMMANDS = {"start": ResponseKind.RESUBSCRIBED, "stop": ResponseKind.UNSUBSCRIBED}


def number(update: Any) -> int | None:
    """The update's number, by which Telegram counts on; None: it is no update."""
    found = update.get("update_id") if isinstance(update, dict) else None
    return found if isinstance(found, int) and found >= 0 else None


def type_of(update: Mapping[str, Any]) -> str:
    """What kind of thing happened, in Telegram's word: an update has one field beside its number."""
    return event_type(next((field for field in update if field != "update_id"), ""))


def response(update: Mapping[str, Any]) -> Response | None:
    """The response in an update; None for one of another type, or malformed."""
    for type_, read in (("message", _message), ("my_chat_member", _membership)):
        content = update.get(type_)
        if isinstance(content, dict):
            try:
                return read(str(update["update_id"]), content)
            except (KeyError, TypeError, ValueError, OverflowError, OSError):
                return None
    return None


def message_name(message: Any) -> str:
    """The name of a message; '' for what is none. Its number alone is one of its chat's only."""
    try:
        return f"{int(message['chat']['id'])}:{int(message['message_id'])}"
    except (KeyError, TypeError, ValueError):
        return ""


def _message(event_id: str, message: Mapping[str, Any]) -> Response | None:
    sender = message.get("from")
    if message["chat"]["type"] != "private" or (isinstance(sender, dict) and sender.get("is_bot") is True):
        return None  # in a group nobody speaks to the bot alone
    text = message.get("text", message.get("caption", ""))
    text = text if isinstance(text, str) else ""
    command = _COMMAND.fullmatch(text.strip())
    kind = _COMMANDS.get(command[1].lower(), ResponseKind.REPLIED) if command else meant_by(text)
    payload = (command[2] or "").strip() if command and kind is ResponseKind.RESUBSCRIBED else ""
    return Response(
        kind,
        event_id=event_id,
        occurred_at=datetime.fromtimestamp(message["date"], UTC),
        provider_id=message_name(message.get("reply_to_message")),
        address=str(int(message["chat"]["id"])),
        text=text,
        invitation=payload if _PAYLOAD.fullmatch(payload) else "",
    )


def _membership(event_id: str, change: Mapping[str, Any]) -> Response | None:
    """In a private chat a bot is `kicked` when the person blocks it."""
    if change["new_chat_member"]["status"] != "kicked":
        return None
    return Response(
        ResponseKind.UNSUBSCRIBED,
        event_id=event_id,
        occurred_at=datetime.fromtimestamp(change["date"], UTC),
        address=str(int(change["chat"]["id"])),
    )
