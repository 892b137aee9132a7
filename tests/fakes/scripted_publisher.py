"""A network in memory whose answers a test writes. It keeps what it took, and finds it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from threading import Lock

from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    Message,
    Outcome,
    PostNumbers,
    Retry,
    by_count,
)
from holdfast.errors import ChannelUnavailable

Script = Callable[[str], Outcome]


class ScriptedPublisher:
    """Answers each post by `script`; `calls` are the texts it was given, `taken` those that are out."""

    Settings = ChannelSettings
    capabilities = Capabilities(kind="x", posts=True)

    def __init__(self, name: str, settings: object = None) -> None:
        self.name = name
        self.script: Script = lambda text: Accepted(f"post{len(self.taken)}")
        self.calls: list[str] = []
        self.taken: list[str] = []
        self.can_be_asked = True
        self._lock = Lock()

    @classmethod
    def describe(cls, settings: object) -> Capabilities:
        return cls.capabilities

    def publish(self, text: str, key: str) -> Outcome:
        with self._lock:
            self.calls.append(text)
        outcome = self.script(text)
        with self._lock:
            if isinstance(outcome, Accepted):
                self.taken.append(text)
        return outcome

    def find_post(self, text: str, since: datetime) -> str | None:
        if not self.can_be_asked:
            raise ChannelUnavailable(f"channel {self.name!r} is away")
        return f"post{self.taken.index(text)}" if text in self.taken else None

    def measure(self, provider_ids: Sequence[str]) -> dict[str, PostNumbers]:
        return {id_: PostNumbers(likes=1) for id_ in provider_ids}

    @classmethod
    def problem_with(cls, text: str, settings: object) -> str | None:
        return "too long" if len(text) > 100 else None

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        return by_count(messages, 1)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        raise ChannelUnavailable(f"channel {self.name!r} publishes posts")

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        return {key: Retry() for key in keys}

    def close(self) -> None:
        pass
