"""Answers on their way into the database: staged, and what came before left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Connection, SmallInteger, Text, delete, exists

from holdfast.channel import RejectReason, ResponseKind
from holdfast.store.staging import rows_written, stage_columns, staging_table
from holdfast.tables import UtcTime, responses, to_microseconds

# An event's; PostgreSQL's indexes hold up to 2,700 bytes.
_LONGEST_NAME = 500


class Given(NamedTuple):
    """One answer on its way into the database.

    What it is of is the first of these that is set: `message_id` (proved by our key), `provider_id` of the
    channel, `address_key` of the kind. None of them: something that we do not know. `contact_kind` is the
    kind of address it came from; of a message, the message's counts. `survey` and `score` are of what was
    answered. `invited_by` is the message whose
    invitation brought them: the address is that of its customer, from now on.
    """

    channel: str
    event_id: str
    kind: ResponseKind
    occurred_at: datetime
    received_at: datetime
    message_id: int | None = None
    provider_id: str | None = None
    contact_kind: str | None = None
    address_key: str | None = None
    machine: str | None = None
    reason: RejectReason | None = None
    permanent: bool = False
    url: str | None = None
    text: str | None = None
    survey: str | None = None
    score: int | None = None
    inbox_id: int | None = None
    invited_by: int | None = None


staged = staging_table(
    "given_responses",
    Column("channel", Text),
    Column("event_id", Text),
    Column("kind", Text),
    Column("occurred_at", UtcTime),
    Column("received_at", UtcTime),
    Column("message_id", BigInteger),
    Column("provider_id", Text),
    Column("contact_kind", Text),
    Column("address_key", Text),
    Column("machine", Text),
    Column("reason", Text),
    Column("permanent", Boolean),
    Column("url", Text),
    Column("text", Text),
    Column("survey", Text),
    Column("score", SmallInteger),
    Column("inbox_id", BigInteger),
    # Found here.
    Column("customer_id", BigInteger),
    Column("post_id", BigInteger),
    # What its message knew before: whether the provider took it is not certain; there were clicks.
    Column("unsettled", Boolean),
    Column("clicked", Boolean),
    # It names the message by what only the provider could know, so that the provider took it.
    Column("proof", Boolean),
)

# As they come, and as databases take them.
_PLAIN = ("channel", "message_id", "contact_kind", "survey", "score", "inbox_id")
_TEXTS = ("provider_id", "address_key", "machine", "url", "text")


def each_once(answers: Iterable[Given]) -> dict[tuple[str, str], Given]:
    """The first answer of each name; by channel and the name that is stored."""
    once: dict[tuple[str, str], Given] = {}
    for answer in answers:
        once.setdefault((answer.channel, _name(answer.event_id)), answer)
    return once


def stage_given(connection: Connection, once: Mapping[tuple[str, str], Given]) -> None:
    """Fills the staging table with exactly these answers."""
    if not once:
        stage_columns(connection, staged, {})
        return
    given = dict(zip(Given._fields, zip(*once.values(), strict=True), strict=True))
    # Most of a page was received at the same few moments.
    moments = {moment: to_microseconds(moment) for moment in set(given["received_at"])}
    received_at = [moments[moment] for moment in given["received_at"]]
    columns: dict[str, Sequence[Any]] = {name: given[name] for name in _PLAIN}
    columns |= {name: list(map(_storable, given[name])) for name in _TEXTS if any(given[name])}
    columns |= {
        "event_id": [name for _, name in once],
        "kind": [kind.value for kind in given["kind"]],
        # A clock that goes ahead must not date a customer's word into the future.
        "occurred_at": list(map(min, map(to_microseconds, given["occurred_at"]), received_at)),
        "received_at": received_at,
        "reason": [reason and reason.value for reason in given["reason"]],
        "permanent": [is_permanent or None for is_permanent in given["permanent"]],
        "proof": [0 if message_id is None else 1 for message_id in given["message_id"]],
    }
    stage_columns(connection, staged, columns)


def _name(event_id: str) -> str:
    """The event's name; a digest of one that is too long for an index."""
    name = _storable(event_id) or ""
    return name if len(name) <= _LONGEST_NAME else sha256(name.encode()).hexdigest()


def _storable(text: str | None) -> str | None:
    """None for no text, and without what databases refuse: NUL bytes, halves of surrogate pairs."""
    if not text:
        return None
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\0", "")


def leave_out_known(connection: Connection) -> int:
    """Leaves the answers that came before out of what is given; how many those are."""
    known = exists().where(responses.c.channel == staged.c.channel, responses.c.event_id == staged.c.event_id)
    return rows_written(connection, delete(staged).where(known))
