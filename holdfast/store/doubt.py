"""Messages in doubt: how they come to be, which there are, how their doubt ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, Text, case, func, literal, literal_column, null, select, update

from holdfast.audience.reasons import Reason
from holdfast.store.contact import Route
from holdfast.store.database import Database, database_now
from holdfast.store.ledger import Settled, insert_fallbacks
from holdfast.tables import UtcTime, messages, runs

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


def count_in_doubt(connection: Connection, campaign: str) -> int:
    """How many of the campaign's messages are in doubt."""
    return (
        connection.scalar(
            select(func.count())
            .select_from(messages.join(runs, runs.c.id == messages.c.run_id))
            .where(runs.c.campaign == campaign, IS_IN_DOUBT)
        )
        or 0
    )


def resolve_doubt(
    database: Database,
    doubtful: Sequence[Doubtful],
    outcomes: Sequence[Settled],
    fallbacks: Mapping[str, Sequence[Route]],
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
        insert_fallbacks(connection, database, outcomes, fallbacks, purpose, now)
    return resolved
