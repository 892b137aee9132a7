"""Providers who take one message a call over HTTP: the way that all of them share.

An adapter says what its calls are and what its provider's refusals mean.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from holdfast.channel import (
    Capabilities,
    ChannelSettings,
    InDoubt,
    Message,
    Outcome,
    Rejected,
    RejectReason,
    Retry,
    by_count,
    require_fit,
)
from holdfast.errors import ChannelUnavailable
from holdfast.units import Timeout, WebAddress

if TYPE_CHECKING:
    import httpx


class OneACallSettings(ChannelSettings):
    """Settings that all these channels have; each has its own address beside them."""

    base_url: WebAddress
    concurrency: int = Field(16, ge=1, le=64, description="The most calls at once.")
    timeout: Timeout = Field(
        timedelta(seconds=30), description="How long to wait for each answer, like `30s`."
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A request: `json`, `form` or `content`, as it is, is its body."""

    path: str
    json: Any = None
    content: bytes | None = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: its status, its JSON where it is an object (else empty), the pause that it asks for;
    its JSON where it is a list."""

    status: int
    body: Mapping[str, Any]
    retry_after: timedelta | None = None
    listed: Sequence[Any] | None = None


def sendable(text: str) -> str:
    """The text without lone halves of characters, which no encoding takes."""
    return text.encode(errors="replace").decode()


class OneACall(ABC):
    """A channel that takes one message a call. `provider` is what people call the other side; `check` is what
    an operator has to look at when it takes no call at all."""

    Settings: ClassVar[type[ChannelSettings]] = OneACallSettings
    provider: ClassVar[str]
    check: ClassVar[str]

    def __init__(self, name: str, settings: Any) -> None:
        from channels.http_connections import Connections  # httpx only for who sends

        self.name, self.settings = name, settings
        self.capabilities = self.describe(settings)
        self._connections = Connections(
            name,
            self.provider,
            settings.base_url,
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            headers=self.headers(),
            auth=self.auth(),
            transport=self.transport,
        )

    @classmethod
    @abstractmethod
    def describe(cls, settings: Any) -> Capabilities:
        """What the channel can do with these settings, without connecting; `batch_size` is 1."""

    @abstractmethod
    def call(self, message: Message) -> Call | Rejected:
        """The call that sends the message, or why none can."""

    @abstractmethod
    def taken(self, answer: Answer) -> Outcome:
        """What a 2xx answer means: InDoubt where it is not what the provider answers with."""

    def refused(self, answer: Answer) -> Outcome | None:
        """What a refusal means by the provider's own code; None: what its status means with everybody.

        Raises ChannelUnavailable when an operator has to act.
        """
        return None

    def headers(self) -> Mapping[str, str]:
        """What every call carries."""
        return {}

    def auth(self) -> tuple[str, str] | None:
        """User and password, of providers that ask for these."""
        return None

    def pause(self, headers: Mapping[str, str]) -> timedelta | None:
        """How long the provider asks us to wait; None: it does not say."""
        from channels.http_connections import retry_after

        return retry_after(headers)

    def transport(self, context: ssl.SSLContext) -> httpx.BaseTransport | None:
        """The way out, where it is another than httpx's own."""
        return None

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """The messages one by one."""
        return by_count(messages, 1)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Sends the message in one call."""
        require_fit(self.name, self.capabilities, batch)
        return [self.outcome(self.call(message)) for message in batch]

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """Nothing, unless the adapter knows better."""
        return {}

    def close(self) -> None:
        """Closes the connections."""
        self._connections.close()

    def exchange(self, call: Call) -> Answer | Retry | InDoubt:
        """Makes the call, once: its answer, or what became of one that got none."""
        response = self._connections.exchange(
            call.method,
            call.path,
            headers=dict(call.headers),
            json=call.json,
            data=call.form,
            content=call.content,
        )
        if isinstance(response, Retry | InDoubt):
            return response
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        return Answer(
            response.status_code,
            body if isinstance(body, dict) else {},
            self.pause(response.headers),
            body if isinstance(body, list) else None,
        )

    def unavailable(self, what: str, hint: str, status: int | None = None) -> ChannelUnavailable:
        """The error that says what an operator has to do."""
        code = f" ({status})" if status else ""
        return ChannelUnavailable(f"channel {self.name!r}: {what}{code}", hint=hint)

    def outcome(self, call: Call | Rejected) -> Outcome:
        """Makes the call, where there is one: what became of what it sends."""
        answer = call if isinstance(call, Rejected) else self.exchange(call)
        return self.outcome_of(answer) if isinstance(answer, Answer) else answer

    def outcome_of(self, answer: Answer) -> Outcome:
        """What the answer means. Raises ChannelUnavailable when an operator has to act."""
        if 200 <= answer.status < 300:
            return self.taken(answer)
        return self.refused(answer) or self._by_status(answer)

    def _by_status(self, answer: Answer) -> Outcome:
        status = answer.status
        if status in (429, 503):
            return Retry(answer.retry_after, str(status))
        if status >= 500:
            return InDoubt(str(status))  # it broke there, nobody can tell how far the message had come
        if status == 413:
            return Rejected(RejectReason.TOO_LARGE, "413")
        if status in (400, 422):
            return Rejected(RejectReason.CONTENT, str(status))
        if status in (401, 402, 403):
            raise self.unavailable(f"{self.provider} does not let us in", self.check, status)
        raise self.unavailable(f"there is no {self.provider} API at base_url", "check base_url", status)
