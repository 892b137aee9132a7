"""Which kind of channel a customer prefers: the one they chose, else the one they answer on most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, case, func, literal, null, select, update

from holdfast.store.contact import Picks, Route
from holdfast.tables import customers, messages

ANSWERED_WITHIN = timedelta(days=180)
"""Messages sent this long before count; what somebody answered to years ago says little."""

WEIGHTS = {"replied_at": 3, "clicked_at": 2, "opened_at": 1}
"""What a message counts for by the strongest answer that a person gave to it. Machines' are columns of their
own."""

# More than all answers of any customer.
_CHOSEN = 1_000_000_000


def ranks(
    routes: Sequence[Route], customer_id: ColumnElement[int], at: datetime
) -> dict[str, ColumnElement[int]]:
    """By kind of the routes, how much the customer prefers it at this moment; empty for one alone."""
    kinds = dict.fromkeys(route.kind for route in routes)
    if len(kinds) < 2:
        return {}
    them = customers.alias("chooser")
    chosen = select(them.c.preferred_kind).where(them.c.id == customer_id).scalar_subquery()
    return {kind: case((chosen == kind, _CHOSEN), else_=_answered(customer_id, kind, at)) for kind in kinds}


def _answered(customer_id: ColumnElement[int], kind: str, at: datetime) -> ColumnElement[int]:
    sent = messages.alias("answered")
    weight = case(*((sent.c[answer] <= at, points) for answer, points in WEIGHTS.items()), else_=0)
    return (
        select(func.coalesce(func.sum(weight), 0))
        .where(
            sent.c.customer_id == customer_id,
            sent.c.kind == kind,
            sent.c.sent_at > at - ANSWERED_WITHIN,
            sent.c.sent_at <= at,
        )
        .scalar_subquery()
    )


def why_taken(chosen: Picks, ranks: Mapping[str, ColumnElement[int]]) -> ColumnElement[Any]:
    """Why it is this route: `chosen`, `answered`; NULL where the step's order decided."""
    if not ranks:
        return null()
    return case(
        *(
            (picked & condition, literal(word, Text))
            for picked, route in chosen
            for condition, word in (
                (ranks[route.kind] >= _CHOSEN, "chosen"),
                (and_(ranks[route.kind] > 0, ranks[route.kind] < _CHOSEN), "answered"),
            )
        ),
        else_=null(),
    )


def choose(connection: Connection, customer_id: int, kind: str | None) -> None:
    """The customer chose this kind; None: they have no preference."""
    connection.execute(update(customers).where(customers.c.id == customer_id).values(preferred_kind=kind))


def chosen_by(connection: Connection, customer_id: int) -> str | None:
    """The kind that the customer chose; None: they chose none."""
    return connection.scalar(select(customers.c.preferred_kind).where(customers.c.id == customer_id))
