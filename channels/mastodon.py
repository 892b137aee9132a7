"""Mastodon: public posts, or private mentions of who said yes to them; answers and numbers by polling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlencode, urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from channels.mastodon_text import (
    account,
    counted_length,
    plain_text,
    same_post,
    without_first_mentions,
    without_mentions,
)
from channels.one_a_call import Answer, Call, OneACall, OneACallSettings, sendable
from channels.opt_out_words import meant_by
from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    InDoubt,
    Message,
    Outcome,
    Polled,
    PostNumbers,
    Rejected,
    RejectReason,
    Response,
    ResponseKind,
)
from holdfast.errors import ChannelUnavailable
from holdfast.units import WebAddress

_LONGEST_ADDRESS = 320
_STATUSES_A_PAGE = 40
_NOTIFICATIONS_A_PAGE = 80

# Mastodon has no codes of errors, only sentences, in the language of the account.
_BY_WORDS = {"character limit": RejectReason.TOO_LARGE}


class MastodonSettings(OneACallSettings):
    """Settings of the Mastodon channel."""

    kind: Literal["post", "message"] = Field(
        "post", description="What it does: publish posts, or send private mentions."
    )
    base_url: WebAddress = Field(description="The account's instance, like https://mastodon.example.")
    token: SecretStr = Field(description="The access token of the account's application. A secret.")
    domain: str = Field(
        "",
        pattern=r"^[\w.:-]*$",
        description="What stands after the second @ in the instance's addresses. Default: base_url's host.",
    )
    max_characters: int = Field(500, ge=1, description="The most characters that the instance takes.")
    concurrency: int = Field(4, ge=1, le=64, description="The most calls at once.")

    @field_validator("token")
    @classmethod
    def _in_a_header(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value()
        if not text or not (text.isascii() and text.isprintable()) or " " in text:
            raise PydanticCustomError("token", "not a token; expected the one that the application shows")
        return token


class MastodonChannel(OneACall):
    """An account at an instance of Mastodon. `provider_id` is a status' id."""

    Settings: ClassVar[type[ChannelSettings]] = MastodonSettings
    provider = "Mastodon"
    check = "check the token, its scopes, and that the account is not suspended"
    settings: MastodonSettings

    def __init__(self, name: str, settings: MastodonSettings) -> None:
        super().__init__(name, settings)
        self._me = ""
        self._domain = settings.domain or urlsplit(settings.base_url).netloc.rpartition("@")[2]

    @classmethod
    def describe(cls, settings: MastodonSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        if settings.kind == "post":
            return Capabilities(kind="mastodon", posts=True)
        # Not idempotent: Mastodon forgets a key after an hour.
        return Capabilities(kind="mastodon", opt_in=True, concurrency=settings.concurrency)

    def headers(self) -> Mapping[str, str]:
        """The account's token."""
        return {"Authorization": f"Bearer {self.settings.token.get_secret_value()}"}

    def pause(self, headers: Mapping[str, str]) -> timedelta | None:
        """Mastodon says with every answer when its count begins anew, by its own clock."""
        from channels.http_connections import until

        try:
            return until(datetime.fromisoformat(headers["X-RateLimit-Reset"]), headers)
        except (KeyError, ValueError):
            return super().pause(headers)

    # --- posts ----------------------------------------------------------------------------------------

    def publish(self, text: str, key: str = "") -> Outcome:
        """Publishes one post. The same text within an hour is the same post, which is answered again."""
        self._require(posts=True)
        if not text.strip():
            return Rejected(RejectReason.CONTENT)
        return self.outcome(self._status(text, "public", key=text))

    def find_post(self, text: str, since: datetime) -> str | None:
        """The id of the account's own post with this text, published since then."""
        path = f"accounts/{self._own_id()}/statuses"
        for status in self._pages(path, _STATUSES_A_PAGE, exclude_reblogs="true"):
            published_at = _moment(status)
            if published_at is None:
                raise self._unknown_form()
            if published_at < since:
                return None
            if status.get("visibility") == "public" and same_post(text, str(status.get("content", ""))):
                return str(status["id"])
        return None

    def measure(self, provider_ids: Sequence[str]) -> dict[str, PostNumbers]:
        """What the instance counts of these posts: as far as others told it."""
        found = {}
        for id_ in provider_ids:
            answer = self._ask(f"statuses/{quote(id_, safe='')}")
            if answer.status == 200:
                if answer.body.get("id") != id_:
                    raise self._unknown_form()
                found[id_] = PostNumbers(
                    likes=_number(answer.body, "favourites_count"),
                    replies=_number(answer.body, "replies_count"),
                    reposts=_number(answer.body, "reblogs_count"),
                )
        return found

    @classmethod
    def problem_with(cls, text: str, settings: MastodonSettings) -> str | None:
        """Why the instance would refuse this text, in words; None: it fits."""
        length, limit = counted_length(text), settings.max_characters
        if not text.strip():
            return "a post without text"
        if length > limit:
            return f"the post is {length} characters long as Mastodon counts; the instance takes {limit}"
        return None

    # --- private mentions -----------------------------------------------------------------------------

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Sends the message in one call."""
        self._require(posts=False)
        return super().send(batch)

    def call(self, message: Message) -> Call | Rejected:
        """A status that only who is mentioned in it can see."""
        to = account(message.to) if len(message.to) <= _LONGEST_ADDRESS else ""
        if not to:
            return Rejected(RejectReason.BAD_ADDRESS)
        return self._status(f"@{to} {without_mentions(message.text)}", "direct", key=message.key)

    def taken(self, answer: Answer) -> Outcome:
        """Accepted with the status' id; one that mentions nobody has reached nobody."""
        id_, mentions = answer.body.get("id"), answer.body.get("mentions")
        if not (isinstance(id_, str) and id_ and isinstance(mentions, list)):
            return InDoubt("unreadable answer")
        if not (mentions or self.capabilities.posts):
            return Rejected(RejectReason.BAD_ADDRESS, "not mentioned")
        return Accepted(id_)

    def refused(self, answer: Answer) -> Outcome | None:
        """What the instance's words mean."""
        said = str(answer.body.get("error", "")).lower()
        if answer.status == 422:
            reasons = (reason for words, reason in _BY_WORDS.items() if words in said)
            return Rejected(next(reasons, RejectReason.CONTENT), "422")
        return None

    def _status(self, text: str, visibility: str, *, key: str) -> Call | Rejected:
        if counted_length(text) > self.settings.max_characters:
            return Rejected(RejectReason.TOO_LARGE)
        # Kept for an hour: a repeat within it is answered with the status that is there.
        digest = sha256(key.encode(errors="replace")).hexdigest()
        return Call(
            "/api/v1/statuses",
            json={"status": sendable(text), "visibility": visibility},
            headers={"Idempotency-Key": digest},
        )

    # --- what comes back ------------------------------------------------------------------------------

    def poll(self, cursor: str) -> Polled:
        """Who mentioned the account since the cursor, a notification's id: in public, or in private where it
        sends messages."""
        only = {"types[]": "mention"}
        if not cursor:
            newest = self._list("notifications", only | {"limit": "1"})
            return Polled([], str(newest[0]["id"]) if newest else "0")
        listed = list(self._pages("notifications", _NOTIFICATIONS_A_PAGE, **only, since_id=cursor))
        responses = [found for item in reversed(listed) if (found := self._response(item)) is not None]
        return Polled(responses, str(listed[0]["id"]) if listed else cursor)

    def _response(self, item: Mapping[str, Any]) -> Response | None:
        status, author, occurred_at = item.get("status"), item.get("account"), _moment(item)
        if not (isinstance(status, dict) and isinstance(author, dict) and occurred_at):
            return None
        if item.get("type") != "mention":
            return None  # instances before 3.5 do not know `types[]`, and list what they have
        if (status.get("visibility") == "direct") is self.capabilities.posts:
            return None
        name = str(author.get("acct", ""))
        text = without_first_mentions(plain_text(str(status.get("content", ""))))
        return Response(
            kind=ResponseKind.MENTIONED if self.capabilities.posts else meant_by(text),
            event_id=str(item["id"]),
            occurred_at=occurred_at,
            provider_id=str(status.get("in_reply_to_id") or ""),
            address=name if "@" in name or not name else f"{name}@{self._domain}",
            text=text,
        )

    def _pages(self, path: str, size: int, **params: str) -> Iterator[Mapping[str, Any]]:
        """What the instance lists, page by page, the newest first."""
        params["limit"] = str(size)
        while page := self._list(path, params):
            yield from page
            oldest = str(page[-1]["id"])
            if oldest == params.get("max_id"):
                raise self._unknown_form()  # the same page again, and so for ever
            params["max_id"] = oldest

    def _list(self, path: str, params: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """What the instance lists there. Raises ChannelUnavailable where it does not."""
        answer = self._ask(path, params)
        listed = answer.listed if answer.status == 200 else None
        if listed is None or not all(isinstance(item, dict) and item.get("id") for item in listed):
            raise self._unknown_form()
        return listed

    def _ask(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """The answer to a question that changes nothing, or the one that there is no such thing.

        Raises ChannelUnavailable for any other.
        """
        answer = self.exchange(Call(f"/api/v1/{path}?{urlencode(params or {})}", method="GET"))
        if isinstance(answer, Answer):
            if answer.status in (200, 404):
                return answer
            self.outcome_of(answer)  # raises where an operator has to act
        detail = str(answer.status) if isinstance(answer, Answer) else answer.detail
        raise self.unavailable(f"Mastodon does not answer now ({detail})", "it is asked again later")

    def _own_id(self) -> str:
        if not self._me:
            id_ = self._ask("accounts/verify_credentials").body.get("id")
            if not (isinstance(id_, str) and id_):
                raise self._unknown_form()
            self._me = id_
        return self._me

    def _unknown_form(self) -> ChannelUnavailable:
        return self.unavailable("Mastodon answers in a form that is not known", "check base_url")

    def _require(self, *, posts: bool) -> None:
        if posts != self.capabilities.posts:
            does = "publishes posts" if self.capabilities.posts else "sends private mentions"
            raise ChannelUnavailable(f"channel {self.name!r} {does}, and nothing else", hint="see its `kind`")


def _moment(item: Mapping[str, Any]) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(item.get("created_at")))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _number(item: Mapping[str, Any], name: str) -> int | None:
    value = item.get(name)
    return value if isinstance(value, int) else None
