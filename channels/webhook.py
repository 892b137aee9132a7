"""Webhooks: each message, or each post, as a JSON document to an address of the team's own, and answers the
same way."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from channels import standard_webhooks
from channels.one_a_call import Answer, Call, OneACall, OneACallSettings, sendable
from channels.standard_webhooks import WebhookSecret, WebhookSecrets
from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    Message,
    Outcome,
    PostNumbers,
    Rejected,
    RejectReason,
    Response,
    Told,
)
from holdfast.errors import ChannelUnavailable, SettingsError
from holdfast.units import check_web_address

if TYPE_CHECKING:
    import ssl

    import httpx

_LONGEST_ADDRESS = 1000  # room for a postal address
_LONGEST_ID = 200
_ANY_KEY = "0" * 64  # as long as a key gets

# With these the receiver may say in its answer's `reason` why this one message is refused.
_OF_THE_MESSAGE = frozenset({400, 403, 404, 409, 410, 413, 422})
_REASONS = {reason.value: reason for reason in RejectReason if reason is not RejectReason.RETRIES_EXHAUSTED}


class WebhookSettings(OneACallSettings):
    """Settings of a webhook."""

    kind: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        description="Which addresses, consents and templates it uses: `letter`, `sms`, `email` …",
    )
    # Often with a token in it, so it may be a reference, whose text is not known before it is opened.
    base_url: str = Field(repr=False, description="Where the messages are posted to: the whole address.")
    secret: WebhookSecret = Field(description="Signs what is posted. A secret.")
    webhook_key: WebhookSecrets = Field(
        (), description="A secret that signs answers, or a list: new and old. Absent: none are taken."
    )
    dedupes: bool = Field(
        False, description="The receiver takes each `webhook-id` once, however often it comes."
    )
    allow_private: bool = Field(False, description="The address may be inside your own network.")
    max_bytes: int = Field(1_000_000, ge=1_000, description="The largest document that the receiver takes.")
    post: bool = Field(False, description="It publishes posts, and takes no messages.")


class WebhookChannel(OneACall):
    """An address that takes messages. `provider_id` is whatever the receiver calls one."""

    Settings: ClassVar[type[ChannelSettings]] = WebhookSettings
    provider = "webhook"
    check = "check base_url, and that the receiver knows the secret"
    settings: WebhookSettings

    def __init__(self, name: str, settings: WebhookSettings) -> None:
        try:
            check_web_address(settings.base_url)
        except ValueError as error:
            raise SettingsError(f"channel {name!r}: base_url: {error}") from None
        super().__init__(name, settings)

    @classmethod
    def describe(cls, settings: WebhookSettings) -> Capabilities:
        """What a webhook with these settings can do, without connecting."""
        return Capabilities(
            kind=settings.kind,
            html=settings.kind == "email",
            concurrency=settings.concurrency,
            idempotent=settings.dedupes,
            posts=settings.post,
        )

    def transport(self, context: ssl.SSLContext) -> httpx.BaseTransport | None:
        """To public addresses alone, unless others are allowed."""
        from channels.public_addresses import PublicTransport  # httpx only for who sends

        return None if self.settings.allow_private else PublicTransport(self.name, context)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Posts the message in one call."""
        self._require(posts=False)
        return super().send(batch)

    def call(self, message: Message) -> Call | Rejected:
        """The message as a signed document, in the standard's own form."""
        to = message.to.strip()
        if not to or len(to) > _LONGEST_ADDRESS or not to.isprintable():
            return Rejected(RejectReason.BAD_ADDRESS)
        data = {
            "key": message.key,
            "to": to,
            "to_name": message.to_name,
            "from": message.sender,
            "subject": message.subject,
            "text": message.text,
            "headers": message.headers,
        } | ({"html": message.html} if self.capabilities.html else {})
        return self._signed("message.send", message.key, data)

    def publish(self, text: str, key: str) -> Outcome:
        """Hands the post over, under its key."""
        self._require(posts=True)
        if not text.strip():
            return Rejected(RejectReason.CONTENT)
        data = {"key": key, "kind": self.capabilities.kind, "text": text}
        return self.outcome(self._signed("post.publish", key, data))

    def find_post(self, text: str, since: datetime) -> str | None:
        """None where the receiver takes each key once: it may be handed over again. Else nobody can tell."""
        self._require(posts=True)
        if self.settings.dedupes:
            return None
        raise self.unavailable(
            "a webhook cannot be asked for its posts",
            "look whether it is out, then `holdfast settle`; or say `dedupes: true`, if the receiver does",
        )

    def measure(self, provider_ids: Sequence[str]) -> dict[str, PostNumbers]:
        """Nothing: the receiver is not asked."""
        return {}

    @classmethod
    def problem_with(cls, text: str, settings: WebhookSettings) -> str | None:
        """Why the receiver would refuse this text, in words; None: it fits."""
        if not text.strip():
            return "a post without text"
        size = len(_document("post.publish", {"key": _ANY_KEY, "kind": settings.kind, "text": text}, 0))
        if size > settings.max_bytes:
            return f"the post's document is {size} bytes long; max_bytes allows {settings.max_bytes}"
        return None

    def taken(self, answer: Answer) -> Outcome:
        """Accepted, whatever the answer says; with its `id`, where it has one."""
        id_ = answer.body.get("id")
        is_id = isinstance(id_, str | int) and not isinstance(id_, bool)
        return Accepted(sendable(str(id_)[:_LONGEST_ID]) if is_id else "")

    def refused(self, answer: Answer) -> Outcome | None:
        """What the receiver says of the message, in our own words; a 410 without is about the address."""
        word = answer.body.get("reason")
        reason = _REASONS.get(word) if isinstance(word, str) else None
        if reason and answer.status in _OF_THE_MESSAGE:
            return Rejected(reason, str(answer.status))
        if answer.status == 410:
            raise self.unavailable(
                "the webhook wants nothing more", "ask who owns it, or take the channel out", 410
            )
        return None

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless `webhook_key` signed these bytes, within five minutes."""
        standard_webhooks.verify(self.name, self.settings.webhook_key, headers, body, now)

    def parse(self, body: bytes) -> list[Response]:
        """The responses in a JSON list of events; see docs/channels.md for an event's fields."""
        return list(self.told(body).responses)

    def told(self, body: bytes) -> Told:
        """What such a list says, with what is left out of it."""
        return standard_webhooks.read(body)

    def _signed(self, type_: str, key: str, data: Mapping[str, Any]) -> Call | Rejected:
        # When it was signed, for the receiver: the channel's own moment, as an MTA stamps a letter.
        at = int(time.time())
        body = _document(type_, data, at)
        if len(body) > self.settings.max_bytes:
            return Rejected(RejectReason.TOO_LARGE)
        signature = standard_webhooks.sign(self.settings.secret, key, body, at)
        headers = {"Content-Type": "application/json", **signature}
        return Call(self.settings.base_url, content=body, headers=headers)

    def _require(self, *, posts: bool) -> None:
        if posts != self.capabilities.posts:
            does = "publishes posts" if self.capabilities.posts else "sends messages"
            raise ChannelUnavailable(f"channel {self.name!r} {does}, and nothing else", hint="see its `post`")


def _document(type_: str, data: Mapping[str, Any], at: int) -> bytes:
    document = {"type": type_, "timestamp": datetime.fromtimestamp(at, UTC).isoformat(), "data": data}
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")
