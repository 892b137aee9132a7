"""A channel in memory whose answers a test writes. It keeps what it was given, and says so to `lookup`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from threading import Lock
from typing import Any

from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    Message,
    Outcome,
    Retry,
    by_count,
    require_fit,
)
from holdfast.errors import ChannelUnavailable

Script = Callable[[Sequence[Message]], list[Outcome]]


def accept_all(batch: Sequence[Message]) -> list[Outcome]:
    return [Accepted() for _ in batch]


class ScriptedSettings(ChannelSettings):
    """Its capabilities."""

    kind: str = "sms"
    batch_size: int = 10
    concurrency: int = 1
    lookup: bool = False
    idempotent: bool = False


class ScriptedChannel:
    """Answers each batch by `script`; `calls` are the batches it was given, `taken` the keys it accepted."""

    Settings = ScriptedSettings

    def __init__(self, name: str, settings: Any = None) -> None:
        self.name = name
        self.capabilities = self.describe(settings or ScriptedSettings())
        self.script: Script = accept_all
        self.calls: list[list[Message]] = []
        self.taken: list[str] = []
        self._lock = Lock()
        self._is_closed = False

    @classmethod
    def describe(cls, settings: Any) -> Capabilities:
        return Capabilities(
            kind=settings.kind,
            batch_size=settings.batch_size,
            concurrency=settings.concurrency,
            lookup=settings.lookup,
            idempotent=settings.idempotent,
        )

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        return by_count(messages, self.capabilities.batch_size)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        if self._is_closed:
            raise ChannelUnavailable(f"channel {self.name!r} is closed")
        require_fit(self.name, self.capabilities, batch)
        with self._lock:
            self.calls.append(list(batch))
        outcomes = self.script(batch)
        with self._lock:
            for message, outcome in zip(batch, outcomes, strict=True):
                is_repeated = self.capabilities.idempotent and message.key in self.taken
                if isinstance(outcome, Accepted) and not is_repeated:
                    self.taken.append(message.key)
        return outcomes

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        if not self.capabilities.lookup:
            return {}
        return {key: Accepted() if key in self.taken else Retry() for key in keys}

    def close(self) -> None:
        self._is_closed = True

    @property
    def addresses(self) -> list[str]:
        """Where the messages of all calls went, in order."""
        return [message.to for batch in self.calls for message in batch]
