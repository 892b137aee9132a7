"""The port: what Holdfast asks of a channel, and the closed set of answers.

A channel is opened with its settings, says what it can do, and takes batches of messages. It gives one
`Outcome` for each message, in the order of the batch, and raises only when *nothing* was taken:
`ChannelUnavailable` (an operator has to act) or `BatchRefused` (smaller batches may pass).

What a channel can do beyond sending is a protocol of its own, which its adapter implements or not: `Receiver`
(the provider calls us), `Condenser` (with more than is kept), `Teller` (and tells more than answers),
`Challenger` (and asks first whether it may), `Poller` (we ask what is new), `Publisher` (public posts).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict

from holdfast.errors import BatchRefused, ChannelUnavailable

_Any = TypeVar("_Any")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do.

    `kind` names the address, consent and template file it works with (`email`, `sms`, `telegram`, `x`).
    `batch_size` is the most messages a call takes; `concurrency` the most calls it wants at once.
    `idempotent`: the provider takes our message key and never sends one key twice.
    `lookup`: `Channel.lookup` can say what became of a message. `posts`: it publishes, as a `Publisher`, and
    takes no messages. `opt_in`: every message needs a recorded yes, transactional ones too. `attachments`:
    files can go along. `rehearsal`: it takes messages like ever, and by its settings delivers none of them.
    `invitation` is the address by which people begin to hear from us, up to its end, which says who they are.
    """

    kind: str
    html: bool = False
    posts: bool = False
    opt_in: bool = False
    invitation: str = ""
    batch_size: int = 1
    concurrency: int = 1
    idempotent: bool = False
    lookup: bool = False
    attachments: bool = False
    rehearsal: bool = False


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


@dataclass(frozen=True, slots=True, eq=False)
class Attachment:
    """A file that goes along with messages. Compared by identity: one object for all who get it, so that a
    channel encodes it once."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One message ready to go. `key` is our opaque, stable name for it: the provider gives it back.

    `escaped` and `plain` are the same values, for the skeleton's HTML and for its text. Header values hold
    no line breaks. `sender` is a mailbox for email ("Acme <hello@acme.example>"), else empty; `reply_to` is
    another one for answers, or empty. `labels` say what the message is of, for the provider's own statistics:
    the names of campaign and step, never anything of the customer.
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
    reply_to: str = ""
    labels: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()

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
    """Not taken, certainly; may be tried again, not before `after` where the provider said so.

    `of_recipient`: the one it is for cannot take it now, a mailbox that is full or asks to come again. It
    says nothing of the provider, and others are sent to as before.
    """

    after: timedelta | None = None
    detail: str = ""
    of_recipient: bool = False


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The request left and no answer came: nobody can tell whether it was taken."""

    detail: str = ""


Outcome = Accepted | Rejected | Retry | InDoubt


class ChannelSettings(BaseModel):
    """Base of every adapter's own settings model: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def require_fit(name: str, capabilities: Capabilities, batch: Sequence[Message]) -> None:
    """Raises BatchRefused for a batch larger than the channel called `name` takes, and ChannelUnavailable for
    attachments where it takes none: without them the messages are not what was approved."""
    if len(batch) > capabilities.batch_size:
        raise BatchRefused(
            f"channel {name!r} takes at most {capabilities.batch_size} messages a call, not {len(batch)}"
        )
    if not capabilities.attachments and any(message.attachments for message in batch):
        raise ChannelUnavailable(
            f"channel {name!r} takes no attachments",
            hint="take `attach` out of the step, or the channel: `holdfast validate` shows where",
        )


def by_count(messages: Sequence[_Any], size: int) -> Iterator[Sequence[_Any]]:
    """The messages in batches of `size`: how a channel splits them that has no other limit."""
    for start in range(0, len(messages), size):
        yield messages[start : start + size]


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

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """The messages split into batches that go out in one call each; each message is in one of them."""

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Sends the batch, one that `batches` gave or a part of it: one outcome a message, in order."""

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """What became of the messages with these keys; a key that the provider never saw is `Retry`.

        Keys it can say nothing of are left out. Only asked where `capabilities.lookup`.
        """

    def close(self) -> None:
        """Gives connections back. Further calls are errors."""


# --- answers --------------------------------------------------------------------------------------


class ResponseKind(StrEnum):
    """What can come back: the closed vocabulary that every channel translates to."""

    ACCEPTED = "accepted"  # the provider has it: proof for a message in doubt
    DEFERRED = "deferred"  # the receiving side asked to wait; the provider tries again
    DELIVERED = "delivered"
    BOUNCED = "bounced"  # not delivered, for good
    OPENED = "opened"
    CLICKED = "clicked"
    REPLIED = "replied"
    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"
    COMPLAINED = "complained"  # reported as spam
    MENTIONED = "mentioned"  # somebody wrote about us in public
    ANSWERED = "answered"  # a survey, on our own page
    REFERRED = "referred"  # somebody looked at a customer's invitation, on our own page


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, of one message where `key` (our message key) or `provider_id` says so.

    `event_id` names the event within the channel: the same event twice has the same. `occurred_at` is None
    where the provider does not say: then it is when we were told. `provider_id` is the provider's name for
    the message or post it is about. `address` is the one it is about, for events that carry nothing else, and
    for those that may suppress it. `machine` says why a machine is taken to have done it. `permanent`: the
    address is dead, and nothing more is sent to it. `url` is what was clicked, `text` what a person wrote.
    `invitation` is the end of the `Capabilities.invitation` that a person came by: `address` is that of the
    customer whom it was made for.
    """

    kind: ResponseKind
    event_id: str
    occurred_at: datetime | None
    key: str = ""
    provider_id: str = ""
    address: str = ""
    machine: str = ""
    reason: RejectReason | None = None
    permanent: bool = False
    url: str = ""
    text: str = ""
    invitation: str = ""


@runtime_checkable
class Receiver(Protocol):
    """A channel whose provider calls our webhook. Both methods use no network."""

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless the provider signed these very bytes, and lately.

        Names of headers are in lower case.
        """

    def parse(self, body: bytes) -> list[Response]:
        """The responses in a body that was verified. Events of unknown types are left out.

        Raises ValueError, without data in its text, for a body that cannot be read at all.
        """


@runtime_checkable
class Condenser(Protocol):
    """A receiver whose provider sends more than is worth keeping, such as mail with all its attachments."""

    def room_for(self, headers: Mapping[str, str]) -> int | None:
        """The most bytes that it sends with these headers, names in lower case; None: as others. Asked before
        anything is read: whoever may be a stranger gets no more room."""

    def condensed(self, body: bytes) -> bytes:
        """What is kept of a body that was verified, for `Receiver.parse` to read the same in it.

        The same answer, sent again, gives the same bytes. Raises ValueError as `parse` does.
        """


@dataclass(frozen=True, slots=True)
class Told:
    """All that a body says. `left_out` counts the events that are no answer, by the provider's word for their
    type: those that change nothing, those that nobody knows, and the `MALFORMED`. `announcements` say what
    became of the account: a sentence each for an operator, without anybody's data."""

    responses: Sequence[Response] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    announcements: Sequence[str] = ()


# An event that cannot be read.
MALFORMED = "(malformed)"
_EVENT_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.: -]{0,59}", re.ASCII)


def event_type(said: str) -> str:
    """The provider's word for an event's type, to be shown: MALFORMED where it could be anything else."""
    return said if _EVENT_TYPE.fullmatch(said) else MALFORMED


@runtime_checkable
class Teller(Protocol):
    """A receiver that says what it leaves out, and what its provider tells of the account."""

    def told(self, body: bytes) -> Told:
        """What a body that was verified says, its responses as `Receiver.parse` gives them. Raises as that
        does."""


@runtime_checkable
class Challenger(Protocol):
    """A receiver whose provider first asks, by a GET, whether the webhook's address is ours."""

    def challenge(self, query: Mapping[str, str]) -> str | None:
        """What to answer; None: whoever asks does not know our secret. Uses no network."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What was new, and the cursor to ask with next time."""

    responses: Sequence[Response]
    cursor: str


@runtime_checkable
class Poller(Protocol):
    """A channel that has to be asked for its answers."""

    def poll(self, cursor: str) -> Polled:
        """What came since the cursor; '' at the first time: from now on, or all that waits.

        Raises ChannelUnavailable.
        """


@dataclass(frozen=True, slots=True)
class PostNumbers:
    """What a network counted of a post; None: it does not say."""

    impressions: int | None = None
    likes: int | None = None
    replies: int | None = None
    reposts: int | None = None
    clicks: int | None = None


# The detail of a post's refusal that says: this very text is out already. After a doubt that is a proof.
DUPLICATE = "duplicate"


@runtime_checkable
class Publisher(Protocol):
    """A channel that publishes posts. Asking it raises ChannelUnavailable where it cannot answer."""

    def publish(self, text: str, key: str) -> Outcome:
        """Publishes one post; `Accepted.provider_id` is its id. Never repeats a call by itself.

        `key` is our opaque, stable name for it, for networks that take one: the same when it is tried again.
        A repeated text is `Rejected(CONTENT, DUPLICATE)` where the network refuses it.
        """

    def find_post(self, text: str, since: datetime) -> str | None:
        """The id of our own post with this text, published since then; None: there is none."""

    def measure(self, provider_ids: Sequence[str]) -> dict[str, PostNumbers]:
        """What the network counts of these posts; one it does not know is left out."""

    @classmethod
    def problem_with(cls, text: str, settings: Any) -> str | None:
        """Why the network would refuse this text, with these settings, in words; None: it fits."""
