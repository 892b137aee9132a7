"""A network like X on 127.0.0.1: the few of its v2 endpoints that the channel uses, with its habits.

Posts come back as X gives them: escaped for HTML, links shortened to its own. A text is taken once.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.servers.stand_in import Answer, Request, StandIn

ME = {"id": "7", "username": "acme", "name": "Acme"}
START = datetime.fromisoformat("2026-06-03T12:00:00Z")
_FIRST_ID = 1_900_000_000_000_000_000
_ID = re.compile(r"\d{1,19}")


def problem(status: int, detail: str, kind: str = "about:blank") -> Answer:
    """A refusal in X's newer form."""
    return Answer(status, {"title": "Forbidden", "detail": detail, "type": kind, "status": status})


DUPLICATE = problem(403, "You are not allowed to create a Tweet with duplicate content.")
NO_DMS = problem(403, "You do not have permission to DM one or more participants.")


class XServer(StandIn):
    """`users` are ids by handle."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.posts: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.mentions: list[dict[str, Any]] = []
        self.users = {ME["username"]: ME["id"], "ann": "11", "bob": "12"}
        self.page_size = 100
        # Posts whose author X tells no more than everybody: older ones, or the token may not know.
        self.not_told: set[str] = set()

    # --- what people do -------------------------------------------------------------------------------

    def mention(self, author: str, text: str, replying_to: str = "", how: str = "replied_to") -> str:
        """Somebody writes about the account; the id."""
        item = self._new(text, author_id=author)
        if replying_to:
            item["referenced_tweets"] = [{"type": how, "id": replying_to}]
        self.mentions.append(item)
        return str(item["id"])

    def message(self, sender: str, text: str) -> str:
        """Somebody writes to the account; the id."""
        self.messages.append(self._new(text, sender_id=sender))
        return str(self.messages[-1]["id"])

    # --- what the account does ------------------------------------------------------------------------

    def do(self, request: Request) -> Answer:
        """What X does with a request."""
        if not request.headers.get("authorization", "").startswith(("OAuth ", "Bearer ")):
            return Answer(401, {"title": "Unauthorized", "status": 401})
        query = {key: values[0] for key, values in request.query.items()}
        match request.method, request.path.removeprefix("/2/").split("/"):
            case "POST", ["tweets"]:
                return self._create_post(request.json["text"])
            case "POST", ["dm_conversations", "with", user, "messages"]:
                return self._create_message(user, request.json["text"])
            case "GET", ["users", "me"]:
                return Answer(200, {"data": ME})
            case "GET", ["users", "by"]:
                wanted = query["usernames"].split(",")
                known = [
                    {"id": self.users[name.lower()], "username": name.title(), "name": name}
                    for name in wanted
                    if name.lower() in self.users
                ]
                return Answer(200, {"data": known} if known else {"errors": [{"title": "Not Found Error"}]})
            case "GET", ["users", "7", "tweets"]:
                since = datetime.fromisoformat(query["start_time"])
                return self._page(
                    [p for p in self.posts if datetime.fromisoformat(p["created_at"]) >= since], query
                )
            case "GET", ["users", _, "mentions"]:
                since_id = int(query.get("since_id", 0))
                return self._page([item for item in self.mentions if int(item["id"]) > since_id], query)
            case "GET", ["dm_events"]:
                return self._page(self.messages, query)
            case "GET", ["tweets"]:
                return self._measured(query["ids"].split(","), query["tweet.fields"].split(","))
        return Answer(404, {"title": "Not Found", "status": 404})

    def _create_post(self, text: str) -> Answer:
        if any(post["said"] == text for post in self.posts):
            return DUPLICATE
        links = re.findall(r"https?://\S+", text)
        shown, urls = html.escape(text, quote=False), []
        for number, link in enumerate(links):
            short = f"https://t.co/{len(self.posts)}x{number}"
            shown = shown.replace(html.escape(link, quote=False), short)
            urls.append({"url": short, "expanded_url": link, "display_url": link[8:30]})
        self.posts.append(self._new(shown, author_id=ME["id"], entities={"urls": urls}, said=text))
        return Answer(201, {"data": {"id": self.posts[-1]["id"], "text": shown}})

    def _create_message(self, user: str, text: str) -> Answer:
        if not _ID.fullmatch(user):
            error = {"parameters": {"participant_id": [user]}, "message": f"{user} is not a valid id"}
            return Answer(400, {"errors": [error], "title": "Invalid Request"})
        self.messages.append(self._new(text, sender_id=ME["id"], to=user))
        data = {"dm_conversation_id": f"7-{user}", "dm_event_id": self.messages[-1]["id"]}
        return Answer(201, {"data": data})

    def _measured(self, ids: Sequence[str], fields: Sequence[str]) -> Answer:
        known = {str(post["id"]): post for post in self.posts}
        told, errors = [], []
        for id_ in ids:
            if id_ not in known or ("non_public_metrics" in fields and id_ in self.not_told):
                errors.append({"resource_id": id_, "title": "Authorization Error"})
                continue
            told.append({key: known[id_][key] for key in ("id", "text", *fields)})
        return Answer(200, {"data": told, "errors": errors} if told else {"errors": errors})

    def _page(self, items: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> Answer:
        newest_first = sorted(items, key=lambda item: -int(item["id"]))
        start = int(query.get("pagination_token", 0))
        end = start + min(self.page_size, int(query["max_results"]))
        page = [
            {key: value for key, value in item.items() if key != "said"} for item in newest_first[start:end]
        ]
        meta: dict[str, Any] = {"result_count": len(page)}
        if end < len(newest_first):
            meta["next_token"] = str(end)
        return Answer(200, {"data": page, "meta": meta} if page else {"meta": meta})

    def _new(self, text: str, **more: Any) -> dict[str, Any]:
        number = len(self.posts) + len(self.messages) + len(self.mentions)
        return {
            "id": str(_FIRST_ID + number),
            "text": text,
            "created_at": (START + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "public_metrics": {
                "retweet_count": 2,
                "reply_count": 3,
                "like_count": 5,
                "quote_count": 1,
                "impression_count": 900,
            },
            "non_public_metrics": {"impression_count": 900, "url_link_clicks": 17},
            **more,
        }
