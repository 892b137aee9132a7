"""The port: what Holdfast asks of a channel, and the closed set of answers.

A channel is opened with its settings, says what it can do, and takes batches of messages. It gives one
`Outcome` for each message, in the order of the batch, and raises only when *nothing* was taken:
`ChannelUnavailable` (an operator has to act) or `BatchRefused` (smaller batches may pass).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from holdfast.errors import BatchRefused


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do.

    `kind` names the address, consent and template file it works with (`email`, `sms`, `telegram`, `x`).
    `batch_size` is the most messages a call takes; `concurrency` the most calls it wants at once.
    `idempotent`: the provider takes our message key and never sends one key twice.
    `lookup`: `Channel.lookup` can say what became of a message.
    """

    kind: str
    html: bool = False
    batch_size: int = 1
    concurrency: int = 1
    idempotent: bool = False
    lookup: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """What is equal for all messages that took the same way through a template.

    A part is text with a hole before every element but the first: `parts[0] + hole[0] + parts[1] + …`;
    `holes` says which value fills each hole. Compared by identity: one object a way through a template, so
    that batch providers can group by it.
    """

    html: tuple[str, ...] = ("",)
    html_holes: tuple[int, ...] = ()
    text: tuple[str, ...] = ("",)
    text_holes: tuple[int, ...] = ()


def fill(parts: tuple[str, ...], holes: tuple[int, ...], values: Sequence[str]) -> str:
    """The text of a skeleton's part with its holes filled."""
    pieces = [parts[0]]
    for part, hole in zip(parts[1:], holes, strict=True):
        pieces.append(values[hole])
        pieces.append(part)
    return "".join(pieces)


@dataclass(frozen=True, slots=True)
class Message:
    """One message ready to go. `key` is our opaque, stable name for it: the provider gives it back.

    `escaped` and `plain` are the same values, for the skeleton's HTML and for its text. Header values hold
    no line breaks. `sender` is a mailbox for email ("Acme <hello@acme.example>"), else empty.
    """

    key: str
    to: str
    to_name: str
    sender: str
    subject: str
    skeleton: Skeleton
    escaped: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def html(self) -> str:
        """The whole HTML body; empty for kinds without one."""
        return fill(self.skeleton.html, self.skeleton.html_holes, self.escaped)

    @property
    def text(self) -> str:
        """The whole plain text body."""
        return fill(self.skeleton.text, self.skeleton.text_holes, self.plain)


class RejectReason(StrEnum):
    """Why a provider refused a message for good: the closed vocabulary that every channel translates to."""

    BAD_ADDRESS = "bad_address"
    MAILBOX_FULL = "mailbox_full"
    BLOCKED = "blocked"
    OPTED_OUT = "opted_out"
    CONTENT = "content"
    TOO_LARGE = "too_large"
    RETRIES_EXHAUSTED = "retries_exhausted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Taken by the provider, which calls it `provider_id` (empty where it does not say)."""

    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Refused for good. `detail` is a provider's code ("550 5.1.1"), never its free text or an address."""

    reason: RejectReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not taken, certainly; may be tried again, not before `after` where the provider said so."""

    after: timedelta | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The request left and no answer came: nobody can tell whether it was taken."""

    detail: str = ""


Outcome = Accepted | Rejected | Retry | InDoubt


class ChannelSettings(BaseModel):
    """Base of every adapter's own settings model: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def require_fit(name: str, capabilities: Capabilities, batch: Sequence[Message]) -> None:
    """Raises BatchRefused for a batch larger than the channel called `name` takes."""
    if len(batch) > capabilities.batch_size:
        raise BatchRefused(
            f"channel {name!r} takes at most {capabilities.batch_size} messages a call, not {len(batch)}"
        )


@runtime_checkable
class Channel(Protocol):
    """What every adapter implements. Adapters are used from several threads at once."""

    Settings: ClassVar[type[ChannelSettings]]
    capabilities: Capabilities

    def __init__(self, name: str, settings: Any) -> None:
        """Opens the channel under the project's name for it. Secrets in `settings` are plain by now."""

    @classmethod
    def describe(cls, settings: Any) -> Capabilities:
        """What a channel with these settings can do, without opening it."""

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Sends the batch (at most `batch_size`), one outcome a message, in order."""

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """What became of the messages with these keys; a key that the provider never saw is `Retry`.

        Keys it can say nothing of are left out. Only asked where `capabilities.lookup`.
        """

    def close(self) -> None:
        """Gives connections back. Further calls are errors."""
