"""An instance of Mastodon on 127.0.0.1: the few of its v1 endpoints that the channel uses, with its habits.

Posts come back as HTML, mentions without their hosts. A key of idempotency is kept for ever.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.servers.stand_in import Answer, Request, StandIn

START = datetime.fromisoformat("2026-06-03T12:00:00Z")
_FIRST_ID = 116_000_000_000_000_000
_ENTITY = re.compile(r"https?://[^\s<]+|(?<![\w/=])@(\w[\w.-]*\w|\w)(?:@([\w.-]+\w))?")


def error(status: int, text: str, **headers: str) -> Answer:
    """A refusal as Mastodon words it."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"error": text}, names)


class MastodonServer(StandIn):
    """`statuses` are all that the account published, the oldest first; `strangers` are the addresses that
    cannot be mentioned: nobody has them, or they block the account."""

    def __init__(self, *args: Any, token: str, limit: int = 500, **more: Any) -> None:
        super().__init__(*args, **more)
        self.token, self.limit = token, limit
        self.statuses: list[dict[str, Any]] = []
        self.notifications: list[dict[str, Any]] = []
        self.strangers: set[str] = set()
        self._by_key: dict[str, dict[str, Any]] = {}
        self._last = 0

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Those that only who is mentioned can see."""
        return [status for status in self.statuses if status["visibility"] == "direct"]

    def mention(
        self, acct: str, content: str, *, visibility: str = "public", replying_to: str | None = None
    ) -> str:
        """Somebody mentions the account, in HTML; the notification's id."""
        return self.notify("mention", acct, self._status(content, visibility, [], replying_to))

    def notify(self, type_: str, acct: str, status: dict[str, Any]) -> str:
        """Something happens that the account is told of; the notification's id."""
        item = {"id": self._id(), "type": type_, "created_at": self._now(), "status": status}
        self.notifications.append(item | {"account": {"id": "2", "username": acct, "acct": acct}})
        return str(item["id"])

    def do(self, request: Request) -> Answer:
        """What the instance does with a request."""
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return error(401, "The access token is invalid")
        match request.method, request.path.removeprefix("/api/v1/").split("/"):
            case "POST", ["statuses"]:
                return self._post(request)
            case "GET", ["statuses", id_]:
                found = next((status for status in self.statuses if status["id"] == id_), None)
                return Answer(200, found) if found else error(404, "Record not found")
            case "GET", ["accounts", "verify_credentials"]:
                return Answer(200, {"id": "1", "username": "acme", "acct": "acme"})
            case "GET", ["accounts", "1", "statuses"]:
                return self._page(self.statuses, request, 20, 40)
            case "GET", ["notifications"]:
                types = request.query.get("types[]", [])
                listed = [item for item in self.notifications if not types or item["type"] in types]
                return self._page(listed, request, 40, 80)
        return error(404, "Record not found")

    def _post(self, request: Request) -> Answer:
        given = request.json
        key = request.headers.get("idempotency-key", "")
        if key in self._by_key:
            return Answer(200, self._by_key[key])
        text = given["status"]
        if not text.strip():
            return error(422, "Validation failed: Text can't be blank")
        counted = _ENTITY.sub(lambda found: f"@{found[1]}" if found[1] else "x" * 23, text)
        if len(counted) > self.limit:
            return error(422, f"Validation failed: Text character limit of {self.limit} exceeded")
        mentions = []

        def shown(found: re.Match[str]) -> str:
            if not found[1]:
                return f'<a href="{found[0]}"><span class="invisible">{found[0][:8]}</span>{found[0][8:]}</a>'
            acct = f"{found[1]}@{found[2]}" if found[2] else found[1]
            if acct in self.strangers:
                return found[0]
            mentions.append({"id": "3", "username": found[1], "acct": acct})
            return f'<span class="h-card"><a href="https://x.example">@<span>{found[1]}</span></a></span>'

        content = _ENTITY.sub(shown, html.escape(text, quote=True))
        paragraphs = [part.replace("\n", "<br />") for part in content.split("\n\n")]
        content = "".join(f"<p>{part}</p>" for part in paragraphs)
        status = self._status(content, given["visibility"], mentions)
        self.statuses.append(status)
        self._by_key[key] = status
        return Answer(200, status)

    def _status(
        self, content: str, visibility: str, mentions: Sequence[Any], replying_to: str | None = None
    ) -> dict[str, Any]:
        return {
            "id": self._id(),
            "created_at": self._now(),
            "in_reply_to_id": replying_to,
            "visibility": visibility,
            "content": content,
            "mentions": mentions,
            "favourites_count": 5,
            "reblogs_count": 2,
            "replies_count": 3,
        }

    def _page(self, items: Sequence[dict[str, Any]], request: Request, usual: int, most: int) -> Answer:
        query = {name: int(values[0]) for name, values in request.query.items() if values[0].isdigit()}
        since, until = query.get("since_id", 0), query.get("max_id", 10**20)
        listed = [item for item in reversed(items) if since < int(item["id"]) < until]
        return Answer(200, listed[: min(query.get("limit", usual), most)])

    def _id(self) -> str:
        self._last += 1
        return str(_FIRST_ID + self._last)

    def _now(self) -> str:
        return (START + timedelta(minutes=self._last)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
