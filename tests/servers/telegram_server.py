"""A Bot API on 127.0.0.1: sendMessage and getUpdates, as far as the channel uses them."""

from __future__ import annotations

from typing import Any

from tests.servers.stand_in import Answer, Request, StandIn

START = 1_780_488_000  # 2026-06-03 12:00 UTC


def refusal(status: int, description: str, **more: Any) -> Answer:
    """A refusal in Telegram's form."""
    return Answer(status, {"ok": False, "error_code": status, "description": description, **more})


class TelegramServer(StandIn):
    """One bot. `refusing` are answers by chat id; `waiting` are updates that nobody confirmed."""

    token = ""
    has_webhook = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messages: list[dict[str, Any]] = []
        self.waiting: list[dict[str, Any]] = []
        self.refusing: dict[int, Answer] = {}

    def do(self, request: Request) -> Answer:
        """Answers one call of a method."""
        match request.path.split("/"):
            case ["", bot, "sendMessage"] if bot == f"bot{self.token}":
                return self._send(request.json)
            case ["", bot, "getUpdates"] if bot == f"bot{self.token}":
                return self._updates(request.json)
            case ["", bot, _] if bot.startswith("bot"):
                return refusal(401, "Unauthorized")
        return refusal(404, "Not Found")

    def tell(self, **content: Any) -> int:
        """Something happens that the bot is told of: the update's number."""
        self.waiting.append({"update_id": 900 + len(self.waiting), **content})
        return int(self.waiting[-1]["update_id"])

    def _send(self, given: dict[str, Any]) -> Answer:
        chat, text = given["chat_id"], given["text"].strip()
        if chat in self.refusing:
            return self.refusing[chat]
        if not text:
            return refusal(400, "Bad Request: message text is empty")
        if len(text) > 4096:
            return refusal(400, "Bad Request: message is too long")
        self.messages.append(given)
        sent = {
            "message_id": sum(message["chat_id"] == chat for message in self.messages),
            "from": {"id": 4711, "is_bot": True, "first_name": "Acme"},
            "chat": {"id": chat, "type": "private", "first_name": "Ann"},
            "date": START,
            "text": text,
        }
        return Answer(200, {"ok": True, "result": sent})

    def _updates(self, given: dict[str, Any]) -> Answer:
        if self.has_webhook:
            return refusal(409, "Conflict: can't use getUpdates method while webhook is active")
        self.waiting = [update for update in self.waiting if update["update_id"] >= given["offset"]]
        return Answer(200, {"ok": True, "result": self.waiting[: given["limit"]]})
