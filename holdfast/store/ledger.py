"""Messages on leases in the database, and back. See DESIGN for the states.

Every transition is one UPDATE that names the state it starts from and, where there is a lease, its owner;
what it returns is what happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    and_,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from holdfast.audience.reasons import Reason
from holdfast.store.database import Database, database_now
from holdfast.tables import addresses, attempts, messages


@dataclass(frozen=True, slots=True)
class Leased:
    """One message on a lease of ours, with what rendering it needs."""

    id: int
    customer_id: int
    step: str
    channel: str
    kind: str
    variant: str | None
    attempts: int
    address: str | None


_POSTPONED_AT_ONCE = 10_000

UNSETTLED = ("planned", "leased", "sending", "in_doubt")

# Written out, not bound: only then can the planner use the partial index.
IS_PLANNED = messages.c.state == literal_column("'planned'")


def may_go(now: datetime) -> ColumnElement[bool]:
    """The message is planned, due, and its window has not closed over it."""
    return and_(
        IS_PLANNED,
        messages.c.due_at <= now,
        or_(messages.c.closes_at.is_(None), messages.c.closes_at > now),
    )


def lease(
    database: Database, run_id: int, channel: str, owner: str, size: int, length: timedelta, now: datetime
) -> list[Leased]:
    """Leases up to `size` messages of the run that are due on the channel; who else leases gets others."""
    picked = (
        select(messages.c.id)
        .where(
            messages.c.run_id == run_id,
            messages.c.channel == channel,
            may_go(now),
        )
        .order_by(messages.c.due_at, messages.c.id)
        .limit(size)
        .with_for_update(skip_locked=True)
        # PostgreSQL may run a plain subquery again for each row, and then lease more than the limit.
        .cte("picked")
        .prefix_with("MATERIALIZED")
    )
    with database.write() as connection:
        leased = connection.execute(
            update(messages)
            .where(messages.c.id.in_(select(picked.c.id)), messages.c.state == "planned")
            .values(state="leased", lease_owner=owner, lease_expires_at=_expiry(length))
            .returning(messages.c.id)
        ).scalars()
        ids = sorted(leased)
    with database.read() as connection:
        return load(connection, database, ids)


def load(connection: Connection, database: Database, ids: Sequence[int]) -> list[Leased]:
    """The messages with these ids, in the order of their ids, with the customers' addresses of today."""
    return [
        Leased(*row)
        for row in connection.execute(
            select(
                messages.c.id,
                messages.c.customer_id,
                messages.c.step,
                messages.c.channel,
                messages.c.kind,
                messages.c.variant,
                messages.c.attempts,
                addresses.c.address,
            )
            .select_from(
                messages.outerjoin(
                    addresses,
                    and_(
                        addresses.c.customer_id == messages.c.customer_id,
                        addresses.c.kind == messages.c.kind,
                    ),
                )
            )
            .where(messages.c.id.in_(database.among(ids)))
            .order_by(messages.c.id)
        )
    ]


def is_leased_by(message: FromClause, owner: Any) -> ColumnElement[bool]:
    """For statements that name ids. PostgreSQL's statistics know of hardly a leased message: it would go
    through all there are, and compare each with each id. Within an expression it knows nothing of them."""
    return func.coalesce(and_(message.c.state == "leased", message.c.lease_owner == owner), false())


def _expiry(length: timedelta) -> Any:
    return database_now() + literal(_microseconds(length), BigInteger)


def _microseconds(length: timedelta) -> int:
    return int(length.total_seconds() * 1_000_000)


def renew(database: Database, owner: str, length: timedelta) -> None:
    """Gives the messages that the owner has leased and not begun to send the full length again."""
    # Under the project's lock, as `write_calls`: two updates of many rows must not meet in another order.
    with database.write(exclusive=True) as connection:
        connection.execute(
            update(messages)
            .where(messages.c.lease_owner == owner, messages.c.state == "leased")
            .values(lease_expires_at=_expiry(length))
        )


def take_back(
    database: Database, attempt_id: int, ids: Sequence[int], owner: str, length: timedelta, now: datetime
) -> None:
    """Back to `leased`: a call that took nothing, maybe late, whose messages go into smaller ones now."""
    # Under the project's lock, as `write_calls`.
    with database.write(exclusive=True) as connection:
        connection.execute(
            update(messages)
            .where(
                messages.c.id.in_(database.among(ids)),
                messages.c.state.in_(("sending", "in_doubt")),
                messages.c.attempt_id == attempt_id,
            )
            .values(
                state="leased",
                reason=None,
                lease_owner=owner,
                attempts=messages.c.attempts - 1,
                sent_at=None,
                lease_expires_at=_expiry(length),
            )
        )
        connection.execute(update(attempts).where(attempts.c.id == attempt_id).values(finished_at=now))


def release(database: Database, ids: Sequence[int], owner: str, *, skip: Reason | None = None) -> int:
    """Gives leased messages back as `planned`, or, with a reason, `skipped`; how many still were leased."""
    if not ids:
        return 0
    # Under the project's lock, as `write_calls`.
    with database.write(exclusive=True) as connection:
        return connection.execute(
            update(messages)
            .where(
                messages.c.id.in_(database.among(ids)),
                is_leased_by(messages, owner),
            )
            .values(
                state="skipped" if skip else "planned",
                reason=skip and skip.value,
                lease_owner=None,
                lease_expires_at=None,
            )
        ).rowcount


def release_run(connection: Connection, run_id: int) -> None:
    """Gives back what any worker has leased of the run and not begun to send. Needs the project's lock."""
    connection.execute(
        update(messages)
        .where(messages.c.run_id == run_id, messages.c.state == "leased", messages.c.lease_owner.is_not(None))
        .values(state="planned", lease_owner=None, lease_expires_at=None)
    )


def postpone(database: Database, run_id: int, channel: str, until: datetime) -> int:
    """What the run has planned on the channel is not due before `until`; how many were due earlier."""
    postponed = 0
    while True:
        early = (
            select(messages.c.id)
            .where(
                messages.c.run_id == run_id,
                messages.c.channel == channel,
                IS_PLANNED,
                messages.c.due_at < until,
            )
            .limit(_POSTPONED_AT_ONCE)
        )
        # Under the project's lock, as `write_calls`.
        with database.write(exclusive=True) as connection:
            moved = connection.execute(
                update(messages).where(messages.c.id.in_(early), IS_PLANNED).values(due_at=until)
            ).rowcount
        postponed += moved
        if moved < _POSTPONED_AT_ONCE:
            return postponed
