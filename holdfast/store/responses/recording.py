"""What answers say about messages: kept, the ledger settled, the first of each kind noted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, literal, select, update

from holdfast.channel import ResponseKind
from holdfast.store.ledger import UNSETTLED
from holdfast.store.responses.given import of_messages, staged
from holdfast.store.staging import insert_or, rows_written
from holdfast.tables import MESSAGE_RESPONSES, UtcTime, messages, responses


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
    proved = select(staged.c.message_id).where(staged.c.proof)
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


def update_messages(connection: Connection) -> None:
    """The first response of each kind, by people and by machines, for the messages that got any."""

    def first(kind: str, by: ColumnElement[bool]) -> ColumnElement[datetime]:
        return func.min(responses.c.occurred_at).filter(responses.c.kind == kind, by)

    by_person, by_machine = responses.c.machine.is_(None), responses.c.machine.is_not(None)
    columns = {f"{kind}_at": first(kind, by_person) for kind in MESSAGE_RESPONSES}
    columns |= {f"machine_{kind}_at": first(kind, by_machine) for kind in ("opened", "clicked")}
    seen = (
        select(responses.c.message_id, *(moment.label(name) for name, moment in columns.items()))
        .where(responses.c.message_id.in_(of_messages))
        .group_by(responses.c.message_id)
        .subquery("seen")
    )
    connection.execute(
        update(messages)
        .where(messages.c.id == seen.c.message_id)
        .values({name: seen.c[name] for name in columns})
    )
