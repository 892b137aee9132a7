"""Which answers are a machine's, by all that is known of their message."""

from __future__ import annotations

from sqlalchemy import Connection, and_, case, exists, func, null, or_, select, update

from holdfast.channel import ResponseKind
from holdfast.store.responses.given import of_messages
from holdfast.tables import responses

SEVERAL_LINKS = "several_links"
ON_ARRIVAL = "on_arrival"
# In microseconds, as the database counts.
_SECOND = 1_000_000
# Gateways that check mail follow all of its links on arrival; people take longer than this to open it.
_ARRIVAL = 10 * _SECOND
# Where nobody says when it was delivered: too short for a person to look at the first page.
_AT_ONCE = 2 * _SECOND


def tell_machines(connection: Connection) -> None:
    """Flags clicks on several links at once and looks at an invitation on arrival, by all that is known of
    the message by now."""
    click, other = responses, responses.alias("other")
    clicked = ResponseKind.CLICKED.value
    suspects = (
        select(other.c.message_id)
        .where(other.c.message_id.in_(of_messages), other.c.kind == clicked)
        .group_by(other.c.message_id)
        .having(func.count(other.c.url.distinct()) > 1)
    )
    delivery = responses.alias("delivery")
    arrived_until = (
        select(func.min(delivery.c.occurred_at) + _ARRIVAL)
        .where(delivery.c.message_id == click.c.message_id, delivery.c.kind == ResponseKind.DELIVERED.value)
        .correlate(click)
        .scalar_subquery()
    )
    together = case(
        (arrived_until.is_(None), func.abs(click.c.occurred_at - other.c.occurred_at) <= _AT_ONCE),
        else_=and_(click.c.occurred_at <= arrived_until, other.c.occurred_at <= arrived_until),
    )
    several = exists().where(
        other.c.message_id == click.c.message_id,
        other.c.kind == clicked,
        other.c.url != click.c.url,
        together,
    )
    connection.execute(
        update(click)
        .where(
            click.c.message_id.in_(suspects),
            click.c.kind == clicked,
            or_(click.c.machine.is_(None), click.c.machine == SEVERAL_LINKS),
        )
        .values(machine=case((several, SEVERAL_LINKS), else_=null()))
    )
    # Nobody passes an invitation on before they have read it.
    connection.execute(
        update(click)
        .where(
            click.c.message_id.in_(of_messages),
            click.c.kind == ResponseKind.REFERRED.value,
            or_(click.c.machine.is_(None), click.c.machine == ON_ARRIVAL),
        )
        .values(machine=case((click.c.occurred_at <= arrived_until, ON_ARRIVAL), else_=null()))
    )
