"""Messages in doubt: how they come to be, which there are, how their doubt ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    case,
    func,
    literal,
    literal_column,
    null,
    select,
    update,
)

from holdfast.audience.reasons import Reason
from holdfast.store.calls import Settled
from holdfast.store.contact import Fallback
from holdfast.store.database import Database, database_now
from holdfast.store.fallbacks import insert_fallbacks
from holdfast.tables import UtcTime, messages, posts, runs

IS_IN_DOUBT = messages.c.state == literal_column("'in_doubt'")


@dataclass(frozen=True, slots=True)
class Doubtful:
    """One message in doubt, with the call that it may have gone out by."""

    id: int
    attempt_id: int
    sent_at: datetime


def reclaim(database: Database) -> tuple[int, int]:
    """What ran-out leases leave behind: (planned again, now in doubt).

    Leased messages were never sent. Messages that were `sending` may have been: nobody sends them again
    by themselves.
    """
    expired = messages.c.lease_expires_at < database_now()
    with database.write(exclusive=True) as connection:
        planned = connection.execute(
            update(messages)
            .where(messages.c.state == "leased", messages.c.lease_owner.is_not(None), expired)
            .values(state="planned", lease_owner=None, lease_expires_at=None)
        ).rowcount
        doubtful = connection.execute(
            update(messages)
            .where(messages.c.state == "sending", messages.c.lease_owner.is_not(None), expired)
            .values(
                state="in_doubt", reason=Reason.SENDER_LOST.value, lease_owner=None, lease_expires_at=None
            )
        ).rowcount
    return planned, doubtful


def in_doubt(
    connection: Connection,
    campaign: str,
    channel: str,
    before: datetime | None = None,
    after_id: int = 0,
    limit: int = 1000,
) -> list[Doubtful]:
    """The campaign's messages in doubt on the channel, by id; sent until `before`, if given."""
    statement = (
        select(messages.c.id, messages.c.attempt_id, messages.c.sent_at)
        .join(runs, runs.c.id == messages.c.run_id)
        .where(
            runs.c.campaign == campaign,
            messages.c.channel == channel,
            IS_IN_DOUBT,
            messages.c.id > after_id,
        )
        .order_by(messages.c.id)
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(messages.c.sent_at <= before)
    return [Doubtful(*row) for row in connection.execute(statement)]


def resolve_doubt(
    database: Database,
    doubtful: Sequence[Doubtful],
    outcomes: Sequence[Settled],
    fallbacks: Mapping[str, Fallback],
    purpose: str,
    now: datetime,
) -> int:
    """Settles doubt: accepted by proof, rejected, or planned (never taken, or by policy); how many.

    `doubtful` are the messages as they were when the proof was asked for: it says nothing about a call that
    was made since. `fallbacks` as for `settle`.
    """
    if not outcomes:
        return 0
    calls = {message.id: message.attempt_id for message in doubtful}
    given = database.rows(
        [(o.id, calls[o.id], o.state, o.reason, o.provider_id) for o in outcomes],
        id=BigInteger(), attempt_id=BigInteger(), state=Text(), reason=Text(), provider_id=Text(),
    )  # fmt: skip
    with database.write(exclusive=True) as connection:
        resolved = connection.execute(
            update(messages)
            .where(
                messages.c.id == given.c.id,
                messages.c.attempt_id == given.c.attempt_id,
                messages.c.state == "in_doubt",
            )
            .values(
                state=given.c.state,
                reason=given.c.reason,
                provider_id=given.c.provider_id,
                due_at=case(
                    (given.c.state == "planned", literal(now, UtcTime)),
                    else_=messages.c.due_at,
                ),
                sent_at=case((given.c.state.in_(("planned", "rejected")), null()), else_=messages.c.sent_at),
                settled_at=literal(now, UtcTime),
            )
        ).rowcount
        rejected = [outcome.id for outcome in outcomes if outcome.state == "rejected"]
        insert_fallbacks(connection, database, rejected, fallbacks, purpose, now)
    return resolved


# --- by hand --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """The doubt that somebody decides about: a campaign's; of one run, on one channel, where given.

    `sent_until` leaves out what was sent later.
    """

    campaign: str
    run_id: int | None = None
    channel: str | None = None
    sent_until: datetime | None = None

    def of(self, table: Table) -> ColumnElement[bool]:
        """Which rows of `messages` or `posts` it is."""
        of_runs = select(runs.c.id).where(runs.c.campaign == self.campaign)
        if self.run_id is not None:
            of_runs = of_runs.where(runs.c.id == self.run_id)
        chosen = and_(table.c.state == literal_column("'in_doubt'"), table.c.run_id.in_(of_runs))
        if self.channel is not None:
            chosen &= table.c.channel == self.channel
        if self.sent_until is not None:
            chosen &= table.c.sent_at <= self.sent_until
        return chosen


class InDoubt(NamedTuple):
    """How many are in doubt, or were until they were settled."""

    messages: int
    posts: int


def count_in_doubt(connection: Connection, chosen: Chosen) -> InDoubt:
    """How many messages and posts are in this doubt."""
    counts = [select(func.count()).select_from(table).where(chosen.of(table)) for table in (messages, posts)]
    return InDoubt(*(connection.scalar(count) or 0 for count in counts))


def accept(connection: Connection, chosen: Chosen, now: datetime) -> InDoubt:
    """Takes them for accepted, because somebody says so. Needs the project's lock."""
    said = {"state": "accepted", "reason": Reason.SETTLED_BY_HAND.value, "settled_at": now}
    return _settle(connection, chosen, said, said)


def resend(connection: Connection, chosen: Chosen, now: datetime) -> InDoubt:
    """Plans them again, due now. Needs the project's lock."""
    again = {"state": "planned", "reason": Reason.RESENT.value, "settled_at": now, "due_at": now}
    # A message counts no longer under a cap. A post's last call is still known, to look for it.
    return _settle(connection, chosen, again | {"sent_at": None}, again)


def _settle(
    connection: Connection, chosen: Chosen, of_message: dict[str, Any], of_post: dict[str, Any]
) -> InDoubt:
    changes = [
        update(table).where(chosen.of(table)).values(values)
        for table, values in ((messages, of_message), (posts, of_post))
    ]
    return InDoubt(*(connection.execute(change).rowcount for change in changes))
