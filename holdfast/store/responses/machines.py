"""Which answers are a machine's, by all that is known of their message."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    ScalarSelect,
    Update,
    and_,
    case,
    exists,
    func,
    null,
    or_,
    select,
    update,
)

from holdfast.channel import ResponseKind
from holdfast.store.responses.given import staged
from holdfast.store.staging import rows_written
from holdfast.tables import messages, responses

SEVERAL_LINKS = "several_links"
ON_ARRIVAL = "on_arrival"
# In microseconds, as the database counts.
_SECOND = 1_000_000
# Gateways that check mail follow all of its links on arrival; people take longer than this to open it.
_ARRIVAL = 10 * _SECOND
# Where nobody says when it was delivered: too short for a person to look at the first page.
_AT_ONCE = 2 * _SECOND


def tell_machines(connection: Connection, kinds: Collection[ResponseKind]) -> None:
    """Flags clicks on several links at once and looks at an invitation on arrival, by all that is known of
    the message by now. `kinds` are those of the answers that may tell something new."""
    arrived = ResponseKind.DELIVERED in kinds
    if (arrived or ResponseKind.CLICKED in kinds) and rows_written(connection, _flag_clicks()):
        connection.execute(_note_clicks())
    if arrived or ResponseKind.REFERRED in kinds:
        connection.execute(_flag_looks())


def _several_clicked() -> CompoundSelect[tuple[int]]:
    """The messages of these answers that were clicked more than once by now, or delivered after a click."""
    clicked = staged.c.kind == ResponseKind.CLICKED.value
    before = select(staged.c.message_id).where(
        staged.c.clicked, or_(clicked, staged.c.kind == ResponseKind.DELIVERED.value)
    )
    now = (
        select(staged.c.message_id)
        .where(clicked, staged.c.message_id.is_not(None))
        .group_by(staged.c.message_id)
        .having(func.count() > 1)
    )
    return before.union_all(now)


@lru_cache
def _flag_clicks() -> Update:
    click, other = responses, responses.alias("other")
    clicked = ResponseKind.CLICKED.value
    suspects = (
        select(other.c.message_id)
        .where(other.c.message_id.in_(_several_clicked()), other.c.kind == clicked)
        .group_by(other.c.message_id)
        .having(func.count(other.c.url.distinct()) > 1)
    )
    arrived_until = _arrived_until()
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
    return (
        update(click)
        .where(
            click.c.message_id.in_(suspects),
            click.c.kind == clicked,
            or_(click.c.machine.is_(None), click.c.machine == SEVERAL_LINKS),
        )
        .values(machine=case((several, SEVERAL_LINKS), else_=null()))
    )


@lru_cache
def _flag_looks() -> Update:
    """Nobody passes an invitation on before they have read it."""
    news = ResponseKind.DELIVERED.value, ResponseKind.REFERRED.value
    of_messages = select(staged.c.message_id).where(staged.c.message_id.is_not(None), staged.c.kind.in_(news))
    return (
        update(responses)
        .where(
            responses.c.message_id.in_(of_messages),
            responses.c.kind == ResponseKind.REFERRED.value,
            or_(responses.c.machine.is_(None), responses.c.machine == ON_ARRIVAL),
        )
        .values(machine=case((responses.c.occurred_at <= _arrived_until(), ON_ARRIVAL), else_=null()))
    )


def _arrived_until() -> ScalarSelect[int]:
    """The end of the moments in which a response of the message may be to its arrival; NULL where nobody says
    that it was delivered."""
    delivery = responses.alias("delivery")
    return (
        select(func.min(delivery.c.occurred_at) + _ARRIVAL)
        .where(
            delivery.c.message_id == responses.c.message_id,
            delivery.c.kind == ResponseKind.DELIVERED.value,
        )
        .correlate(responses)
        .scalar_subquery()
    )


@lru_cache
def _note_clicks() -> Update:
    """The first clicks of these messages, by people and by machines, taken anew from all."""

    def first(by: ColumnElement[bool]) -> ColumnElement[int]:
        return func.min(responses.c.occurred_at).filter(by)

    seen = (
        select(
            responses.c.message_id,
            first(responses.c.machine.is_(None)).label("clicked_at"),
            first(responses.c.machine.is_not(None)).label("machine_clicked_at"),
        )
        .where(
            responses.c.message_id.in_(_several_clicked()),
            responses.c.kind == ResponseKind.CLICKED.value,
        )
        .group_by(responses.c.message_id)
        .subquery("seen")
    )
    return (
        update(messages)
        .where(messages.c.id == seen.c.message_id)
        .values(clicked_at=seen.c.clicked_at, machine_clicked_at=seen.c.machine_clicked_at)
    )
