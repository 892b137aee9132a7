"""X: public posts, or direct messages to who said yes to them; mentions, replies and numbers by polling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from channels.one_a_call import sendable
from channels.opt_out_words import meant_by
from channels.x_text import LONGEST_POST, same_post, weighted_length
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
    Retry,
    by_count,
    require_fit,
)
from holdfast.errors import ChannelUnavailable
from holdfast.units import Timeout, WebAddress

if TYPE_CHECKING:
    from channels.x_connection import Connection

LONGEST_MESSAGE = 10_000
_IDS_A_CALL = 100
_HANDLE = re.compile(r"@?(\w{1,15})", re.ASCII)
_USER_ID = re.compile(r"[0-9]{1,19}")
_KEYS = ("api_key", "api_secret", "access_token", "access_secret")


class XSettings(ChannelSettings):
    """Settings of the X channel."""

    kind: Literal["post", "message"] = Field(
        "post", description="What it does: publish posts, or send direct messages."
    )
    api_key: SecretStr | None = Field(
        None, description="The app's key (OAuth 1.0a). A secret, as its three fellows."
    )
    api_secret: SecretStr | None = Field(None, description="The app's secret.")
    access_token: SecretStr | None = Field(None, description="The account's token.")
    access_secret: SecretStr | None = Field(None, description="The account's token secret.")
    user_token: SecretStr | None = Field(
        None, description="The account's OAuth 2 token, instead of the four. A secret."
    )
    base_url: WebAddress = Field("https://api.twitter.com", description="Where X's API is, or a stand-in.")
    concurrency: int = Field(4, ge=1, le=64, description="The most calls at once, of direct messages.")
    timeout: Timeout = Field(timedelta(seconds=30), description="How long to wait for each answer.")

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        given = [key for key in _KEYS if getattr(self, key) is not None]
        if given and self.user_token is not None:
            raise PydanticCustomError("tokens", "two ways in; expected user_token alone, or no user_token")
        if self.user_token is None and len(given) < len(_KEYS):
            raise PydanticCustomError(
                "tokens", f"no way in; expected {', '.join(_KEYS[:3])} and {_KEYS[3]}, or user_token alone"
            )
        return self


class XChannel:
    """An account at X. `provider_id` is the id of a post or of a direct message."""

    Settings: ClassVar[type[ChannelSettings]] = XSettings

    def __init__(self, name: str, settings: XSettings) -> None:
        from channels.x_connection import Connection  # tweepy only for who publishes

        self.name, self.settings = name, settings
        self.capabilities = self.describe(settings)
        self._connection: Connection = Connection(name, settings)
        self._me = ""
        self._ids: dict[str, str] = {}

    @classmethod
    def describe(cls, settings: XSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        if settings.kind == "post":
            return Capabilities(kind="x", posts=True)
        # X allows automated messages to those alone who asked for them. A call takes one; a batch of them
        # asks for the ids of its handles at once.
        return Capabilities(kind="x", opt_in=True, batch_size=20, concurrency=settings.concurrency)

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    # --- posts ----------------------------------------------------------------------------------------

    def publish(self, text: str, key: str = "") -> Outcome:
        """Publishes one post."""
        self._require(posts=True)
        if self.problem_with(text, self.settings):
            return Rejected(RejectReason.TOO_LARGE if text.strip() else RejectReason.CONTENT)
        return _taken(self._connection.exchange("create_tweet", text=text), "id")

    def find_post(self, text: str, since: datetime) -> str | None:
        """The id of the account's own post with this text, published since then."""
        timeline = self._pages(
            "get_users_tweets",
            self._own_id(),
            start_time=since,
            exclude=["retweets", "replies"],
            tweet_fields=["entities"],
        )
        return next((str(tweet["id"]) for tweet in timeline if same_post(text, tweet)), None)

    def measure(self, provider_ids: Sequence[str]) -> dict[str, PostNumbers]:
        """What X counts of these posts; of clicks it tells for a month, and where the token may know."""
        found: dict[str, PostNumbers] = {}
        # Posts that it does not tell all of may be left out of the answer: asked again, for what is public.
        for fields in (["public_metrics", "non_public_metrics"], ["public_metrics"]):
            missing = [id_ for id_ in provider_ids if id_ not in found]
            for start in range(0, len(missing), _IDS_A_CALL):
                ids = missing[start : start + _IDS_A_CALL]
                answer = self._connection.exchange("get_tweets", ids, tweet_fields=fields)
                if isinstance(answer, dict):
                    found |= {str(tweet["id"]): _numbers(tweet) for tweet in _listed(answer)}
        return found

    @classmethod
    def problem_with(cls, text: str, settings: XSettings) -> str | None:
        """Why X would refuse this text, in words; None: it fits."""
        length = weighted_length(text)
        if not text.strip():
            return "a post without text"
        if length > LONGEST_POST:
            return f"the post is {length} characters long as X counts; it takes {LONGEST_POST}"
        return None

    # --- direct messages ------------------------------------------------------------------------------

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """The messages by `batch_size`."""
        return by_count(messages, self.capabilities.batch_size)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Sends each message in a call of its own, to a numeric user id or a handle."""
        self._require(posts=False)
        require_fit(self.name, self.capabilities, batch)
        waits = self._learn_ids({handle for message in batch if (handle := _handle(message.to))})
        outcomes: list[Outcome] = []
        for message in batch:
            try:
                outcome = waits or self._send(message)
            except ChannelUnavailable:
                if not any(isinstance(outcome, Accepted | InDoubt) for outcome in outcomes):
                    raise
                outcome = Retry(detail="channel unavailable")
            if isinstance(outcome, Retry):
                waits = outcome  # of the account: the next one would be told the same
            outcomes.append(outcome)
        return outcomes

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """Nothing: X takes no key of ours."""
        return {}

    def _send(self, message: Message) -> Outcome:
        address = message.to.strip()
        handle = _handle(address)
        user_id = self._ids.get(handle, "") if handle else address
        if not _USER_ID.fullmatch(user_id):
            return Rejected(RejectReason.BAD_ADDRESS, "no such user")
        text = sendable(message.text)
        if len(text) > LONGEST_MESSAGE:
            return Rejected(RejectReason.TOO_LARGE)
        sent = self._connection.exchange("create_direct_message", participant_id=user_id, text=text)
        return _taken(sent, "dm_event_id")

    def _learn_ids(self, handles: set[str]) -> Retry | None:
        """Asks X for the ids of the handles that are not known yet; Retry: it would not say now."""
        unknown = sorted(handle for handle in handles if handle not in self._ids)
        if not unknown:
            return None
        answer = self._connection.exchange("get_users", usernames=unknown)
        if isinstance(answer, dict):
            self._ids |= {str(user.get("username")).lower(): str(user["id"]) for user in _listed(answer)}
            return None
        return answer if isinstance(answer, Retry) else Retry(detail="no ids")

    # --- what comes back ------------------------------------------------------------------------------

    def poll(self, cursor: str) -> Polled:
        """Mentions of the account, or messages to it, since the newest one seen: the cursor is its id."""
        me = self._own_id()
        since = int(cursor or 0)
        # Of a first answer only the newest is wanted, and X charges for each.
        listed = self._mentions(me, since) if self.capabilities.posts else self._messages(since)
        if not cursor:
            return Polled((), str(next((item["id"] for item in listed), 0)))
        new = list(takewhile(lambda item: int(item["id"]) > since, listed))
        newest = max((int(item["id"]) for item in new), default=since)
        try:
            responses = [self._response(item) for item in reversed(new)]
        except (KeyError, ValueError):
            raise ChannelUnavailable(
                f"channel {self.name!r}: X answers in a form that is not known",
                hint="check base_url, and whether a newer Holdfast knows it",
            ) from None
        # Whoever reposts what another wrote of us has said nothing.
        told = [found for found in responses if found is not None and found.address != me]
        return Polled(told, str(newest))

    def _mentions(self, me: str, since: int) -> Iterator[Mapping[str, Any]]:
        fields = ["created_at", "author_id", "referenced_tweets"]
        size = _IDS_A_CALL if since else 5
        return self._pages("get_users_mentions", me, size=size, since_id=since or None, tweet_fields=fields)

    def _messages(self, since: int) -> Iterator[Mapping[str, Any]]:
        fields = ["created_at", "sender_id", "text"]
        size = _IDS_A_CALL if since else 5
        return self._pages(
            "get_direct_message_events", size=size, event_types="MessageCreate", dm_event_fields=fields
        )

    def _response(self, item: Mapping[str, Any]) -> Response | None:
        references = item.get("referenced_tweets") or ()
        if any(each.get("type") == "retweeted" for each in references):
            return None
        replied_to = (str(each.get("id")) for each in references if each.get("type") == "replied_to")
        is_mention, text = self.capabilities.posts, str(item.get("text", ""))
        return Response(
            kind=ResponseKind.MENTIONED if is_mention else meant_by(text),
            event_id=str(item["id"]),
            occurred_at=datetime.fromisoformat(str(item["created_at"])),
            provider_id=next(replied_to, ""),
            address=str(item["author_id" if is_mention else "sender_id"]),
            text=text,
        )

    def _pages(
        self, method: str, *args: Any, size: int = _IDS_A_CALL, **params: Any
    ) -> Iterator[Mapping[str, Any]]:
        """What X lists, page by page, the newest first."""
        page: str | None = None
        while True:
            answer = self._connection.read(method, *args, max_results=size, pagination_token=page, **params)
            yield from _listed(answer)
            page = (answer.get("meta") or {}).get("next_token")
            if page is None:
                return

    def _own_id(self) -> str:
        if not self._me:
            answer = self._connection.read("get_me")
            if not (account := _listed({"data": [answer.get("data")]})):
                raise ChannelUnavailable(
                    f"channel {self.name!r}: X does not say whose the tokens are",
                    hint="check base_url; it is asked again later",
                )
            self._me = str(account[0]["id"])
        return self._me

    def _require(self, *, posts: bool) -> None:
        if posts != self.capabilities.posts:
            does = "publishes posts" if self.capabilities.posts else "sends direct messages"
            raise ChannelUnavailable(f"channel {self.name!r} {does}, and nothing else", hint="see its `kind`")


def _taken(answer: dict[str, Any] | Outcome, id_key: str) -> Outcome:
    if not isinstance(answer, dict):
        return answer
    data = answer.get("data")
    id_ = data.get(id_key) if isinstance(data, dict) else None
    return Accepted(str(id_)) if id_ else InDoubt("no id")


def _listed(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an answer lists, as far as it has the shape of posts, users or messages."""
    listed = answer.get("data")
    return [
        item
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict) and str(item.get("id")).isdecimal()
    ]


def _handle(address: str) -> str:
    """The handle in lower case; '' for a numeric id, or for what is neither."""
    address = address.strip()
    found = None if address.isdigit() else _HANDLE.fullmatch(address)
    return found[1].lower() if found else ""


def _numbers(tweet: Mapping[str, Any]) -> PostNumbers:
    public = tweet.get("public_metrics") or {}
    private = tweet.get("non_public_metrics") or {}
    reposts = [public[key] for key in ("retweet_count", "quote_count") if key in public]
    return PostNumbers(
        impressions=public.get("impression_count", private.get("impression_count")),
        likes=public.get("like_count"),
        replies=public.get("reply_count"),
        reposts=sum(reposts) if reposts else None,
        clicks=private.get("url_link_clicks"),
    )
