"""Conversions: enrollments of either arm whose goal was met inside its window."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    and_,
    cast,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
)

from holdfast.campaign.models import Goal
from holdfast.store.database import Database
from holdfast.store.staging import rows_written, upsert
from holdfast.tables import conversions, enrollments, events, orders, runs

# Customers whose conversions are counted in one transaction, so that it stays under a second.
_SLICE = 20_000


def meets_goal(goal: Goal, enrolled: FromClause, now: datetime) -> ColumnElement[bool]:
    """An order or event of who is `enrolled` (customer_id, enrolled_at) meets the goal in its window, by now.

    What ends a customer's way (`exit_when: converted`) and what is counted are this same expression.
    """
    ends_at = enrolled.c.enrolled_at + literal(goal.within.total_seconds() * 1_000_000, BigInteger)
    if goal.event == "order":
        at, is_meant = (
            orders.c.ordered_at,
            and_(orders.c.customer_id == enrolled.c.customer_id, orders.c.qualifying.is_(True)),
        )
    else:
        at, is_meant = (
            events.c.occurred_at,
            and_(events.c.customer_id == enrolled.c.customer_id, events.c.event == goal.event),
        )
    return and_(is_meant, at > enrolled.c.enrolled_at, at <= ends_at, at <= now)


def refresh(
    database: Database, campaign: str, goal: Goal, now: datetime, enrolled_since: datetime | None = None
) -> int:
    """Brings the campaign's conversions up to date with orders and events as they are; how many changed.

    Late orders count by the date they bear, and one that no longer qualifies is taken back.
    `enrolled_since`: only runs that enrolled somebody since then; the others are left as they are.
    """
    return sum(
        _refresh_slice(database, run_id, low, low + _SLICE, goal, now)
        for run_id, lowest, highest in _runs(database, campaign, enrolled_since)
        for low in range(lowest - 1, highest, _SLICE)
    )


def _runs(database: Database, campaign: str, enrolled_since: datetime | None) -> list[tuple[int, int, int]]:
    """The campaign's runs, each with its lowest and highest customer."""
    customer_id = enrollments.c.customer_id
    statement = (
        select(runs.c.id, func.min(customer_id), func.max(customer_id))
        .join(enrollments, enrollments.c.run_id == runs.c.id)
        .where(runs.c.campaign == campaign)
        .group_by(runs.c.id)
    )
    if enrolled_since is not None:
        statement = statement.where(or_(runs.c.audience_at.is_(None), runs.c.audience_at >= enrolled_since))
    with database.read() as connection:
        return [(run_id, low, high) for run_id, low, high in connection.execute(statement)]


def _refresh_slice(database: Database, run_id: int, low: int, high: int, goal: Goal, now: datetime) -> int:
    of_slice = and_(
        enrollments.c.run_id == run_id,
        enrollments.c.arm.is_not(None),
        enrollments.c.customer_id > low,
        enrollments.c.customer_id <= high,
    )
    met = meets_goal(goal, enrollments, now)
    with database.write(exclusive=True) as connection:
        changed = upsert(
            connection,
            conversions,
            _converted(goal, of_slice, met),
            key=["enrollment_id"],
            update=["converted_at", "events", "value"],
        )
        lapsed = select(enrollments.c.id).where(of_slice, ~exists().where(met))
        return changed + rows_written(
            connection, delete(conversions).where(conversions.c.enrollment_id.in_(lapsed))
        )


def _converted(goal: Goal, of_slice: ColumnElement[bool], met: ColumnElement[bool]) -> Select[Any]:
    is_order = goal.event == "order"
    at = orders.c.ordered_at if is_order else events.c.occurred_at
    value = cast(func.sum(orders.c.total), BigInteger) if is_order else literal(0, BigInteger)
    return (
        select(
            enrollments.c.id.label("enrollment_id"),
            func.min(at).label("converted_at"),
            func.count().label("events"),
            value.label("value"),
        )
        .where(of_slice, met)
        .group_by(enrollments.c.id)
    )
