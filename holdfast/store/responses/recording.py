"""What answers say about messages: kept, the ledger settled, the first of each kind noted."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import lru_cache

from sqlalchemy import ColumnElement, Connection, Update, and_, case, func, literal, or_, select, update

from holdfast.channel import ResponseKind
from holdfast.store.ledger import UNSETTLED
from holdfast.store.responses.given import staged
from holdfast.store.staging import insert_or, rows_written
from holdfast.tables import MESSAGE_RESPONSES, UtcTime, messages, responses

# What machines do, too, and is counted apart.
_BY_MACHINES = ("opened", "clicked")


def keep(connection: Connection) -> int:
    """Writes the responses; how many of them are of nothing that we know."""
    kept = [column for column in responses.c if column.name not in ("id", "case_id")]
    connection.execute(
        insert_or(
            connection, responses, select(*(staged.c[column.name] for column in kept))
        ).on_conflict_do_nothing()
    )
    return connection.execute(
        select(func.count()).where(
            staged.c.customer_id.is_(None),
            staged.c.post_id.is_(None),
            staged.c.kind != ResponseKind.MENTIONED.value,
        )
    ).scalar_one()


def settle(connection: Connection, now: datetime) -> int:
    """An answer to a message proves that the provider took it, whatever we knew; how many it was news of."""
    proved = select(staged.c.message_id).where(staged.c.proof, staged.c.unsettled)
    return rows_written(
        connection,
        update(messages)
        .where(messages.c.id.in_(proved), messages.c.state.in_(UNSETTLED))
        .values(
            state="accepted",
            reason=None,
            sent_at=func.coalesce(messages.c.sent_at, literal(now, UtcTime)),
            settled_at=literal(now, UtcTime),
            lease_owner=None,
            lease_expires_at=None,
        ),
    )


def note_first(connection: Connection, kinds: Collection[ResponseKind]) -> None:
    """The first response of each kind, by people and by machines, where these answers bring an earlier one.

    `kinds` are theirs. What a message knows is thus the first of all of its responses, in whatever order
    they come; clicks that are told to be a machine's later are noted anew then.
    """
    if noted := frozenset(kind.value for kind in kinds) & frozenset(MESSAGE_RESPONSES):
        connection.execute(_note_first(noted))


@lru_cache(maxsize=100)
def _note_first(kinds: frozenset[str]) -> Update:
    def first(kind: str, by: ColumnElement[bool]) -> ColumnElement[int]:
        return func.min(staged.c.occurred_at).filter(staged.c.kind == kind, by)

    by_person, by_machine = staged.c.machine.is_(None), staged.c.machine.is_not(None)
    columns = {f"{kind}_at": first(kind, by_person) for kind in sorted(kinds)}
    columns |= {f"machine_{kind}_at": first(kind, by_machine) for kind in _BY_MACHINES if kind in kinds}
    seen = (
        select(staged.c.message_id, *(moment.label(name) for name, moment in columns.items()))
        .where(staged.c.message_id.is_not(None))
        .group_by(staged.c.message_id)
        .subquery("seen")
    )
    earlier = {
        name: or_(
            seen.c[name] < messages.c[name], and_(messages.c[name].is_(None), seen.c[name].is_not(None))
        )
        for name in columns
    }
    # Most pages have few kinds, and what an UPDATE names is written into indexes, changed or not.
    return (
        update(messages)
        .where(messages.c.id == seen.c.message_id, or_(*earlier.values()))
        .values(
            {name: case((is_news, seen.c[name]), else_=messages.c[name]) for name, is_news in earlier.items()}
        )
    )
