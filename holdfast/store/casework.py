"""Cases as people work on them: listed, opened by hand, answered, noted, closed. Every step has an entry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    func,
    literal,
    null,
    select,
    type_coerce,
    update,
)

from holdfast.audience.complaints import CaseReason
from holdfast.store.cases import write_entries
from holdfast.tables import UtcTime, case_entries, cases, customers, responses


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `customer_id` is the shop's; None: somebody whom we do not know.

    `waiting_since`: what the customer said then is not answered yet; None: it is their turn, or the case is
    closed. `answered_at` is when they were first answered. `reopened` counts how often it was.
    """

    id: int
    customer_id: str | None
    reason: CaseReason
    channel: str
    opened_at: datetime
    waiting_since: datetime | None
    answered_at: datetime | None
    closed_at: datetime | None
    reopened: int


def list_cases(
    connection: Connection, *, open_only: bool = True, after_id: int = 0, most: int | None = None
) -> list[Case]:
    """Cases with a higher id than this one, in the order of their ids."""
    which: list[ColumnElement[bool]] = [cases.c.id > after_id]
    if open_only:
        which.append(cases.c.closed_at.is_(None))
    return [Case(*row) for row in connection.execute(_cases().where(*which).order_by(cases.c.id).limit(most))]


def find_case(connection: Connection, case_id: int) -> Case | None:
    """The case of this id."""
    row = connection.execute(_cases().where(cases.c.id == case_id)).one_or_none()
    return None if row is None else Case(*row)


def latest_case(connection: Connection, customer_id: int) -> Case | None:
    """The customer's open case; else the one that was closed last."""
    of_customer = _cases().where(cases.c.customer_id == customer_id)
    row = connection.execute(
        of_customer.order_by(cases.c.closed_at.is_not(None), cases.c.closed_at.desc()).limit(1)
    ).one_or_none()
    return None if row is None else Case(*row)


def whose(connection: Connection, case_id: int) -> int | None:
    """The customer of the case, by our id."""
    return connection.scalar(select(cases.c.customer_id).where(cases.c.id == case_id))


def answer(connection: Connection, case_id: int, who: str, text: str, now: datetime) -> None:
    """The customer was answered."""
    first = func.coalesce(cases.c.answered_at, literal(now, UtcTime))
    connection.execute(update(cases).where(cases.c.id == case_id).values(answered_at=first))
    write_entries(connection, [case_id], "answered", who, text, now)


def note(connection: Connection, case_id: int, who: str, text: str, now: datetime) -> None:
    """Something is to be known about the case."""
    write_entries(connection, [case_id], "noted", who, text, now)


def close(connection: Connection, case_id: int, who: str, text: str, now: datetime) -> None:
    """The case is closed."""
    connection.execute(update(cases).where(cases.c.id == case_id).values(closed_at=now))
    write_entries(connection, [case_id], "closed", who, text, now)


def _cases() -> Select[Any]:
    """The columns of `Case`."""
    c, e, r = cases.c, case_entries.c, responses.c
    of_case = select(func.max(e.at)).where(e.case_id == c.id)
    answered_last = of_case.where(e.what == "answered").correlate(cases).scalar_subquery()
    # By when we heard of it: whoever answered did not know of what came later, whenever it was said.
    said_since = (
        select(func.min(r.occurred_at))
        .where(r.case_id == c.id, r.received_at > answered_last)
        .correlate(cases)
        .scalar_subquery()
    )
    reopened_since = (
        select(func.min(e.at))
        .where(e.case_id == c.id, e.what == "reopened", e.at > answered_last)
        .correlate(cases)
        .scalar_subquery()
    )
    waiting_since = case(
        (c.closed_at.is_not(None), null()),
        (c.answered_at.is_(None), c.opened_at),
        else_=func.coalesce(said_since, reopened_since),
    )
    return select(
        c.id,
        customers.c.external_id,
        c.reason,
        c.channel,
        c.opened_at,
        type_coerce(waiting_since, UtcTime),
        c.answered_at,
        c.closed_at,
        c.reopened,
    ).select_from(cases.outerjoin(customers, customers.c.id == c.customer_id))
