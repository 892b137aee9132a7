"""Complaints become cases: opened, opened again and joined, from a set of answers that are being applied.

A customer has one open case at most. It is as old as the earliest complaint in it, which also says why it was
opened; whatever else they say while it is open belongs to it. So the order in which answers come changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from holdfast.audience.complaints import SAID, CaseReason, Complaints
from holdfast.store.staging import stage, staging_table
from holdfast.tables import CASE_REASONS, case_entries, cases, responses

BY_ITSELF = "holdfast"
"""Who opens a case, as its entries have it, where no person does."""

_SAID = tuple(kind.value for kind in SAID)
_complaining = staging_table(
    "complaining_responses",
    Column("channel", Text),
    Column("event_id", Text),
    Column("customer_id", BigInteger),
)


class Complaint(NamedTuple):
    """A response that is a complaint. No customer: somebody whom we do not know, in public."""

    said_at: datetime
    channel: str
    event_id: str
    customer_id: int | None
    reason: CaseReason


def is_said(kind: ColumnElement[str]) -> ColumnElement[bool]:
    """A kind of responses by which customers say something."""
    # Written out, not bound: only then can the planner use the partial index.
    return kind.in_([literal_column(f"'{one}'") for one in _SAID])


def has_open_case(customer_id: ColumnElement[int]) -> ColumnElement[bool]:
    """The customer has an open case."""
    return exists().where(cases.c.customer_id == customer_id, cases.c.closed_at.is_(None))


def follow(connection: Connection, given: Table, complaints: Complaints, now: datetime) -> int:
    """Opens cases for the complaints among the given responses, and joins what was said to its case; how many
    it opened, again or for the first time.

    `given` has responses that are new and kept, with whom they are of. Needs the project's lock.
    """
    found = _complaints(connection, given, complaints)
    of_strangers = [one for one in found if one.customer_id is None]
    of_customers = [one for one in found if one.customer_id is not None]
    opened = _open_for_strangers(connection, of_strangers, now)
    if of_customers:
        stage(
            connection, _complaining, [(one.channel, one.event_id, one.customer_id) for one in of_customers]
        )
        opened += _open_for_customers(connection, of_customers, now - complaints.reopen_within, now)
        _join_complaints(connection)
    _join_what_was_said(connection, given)
    return opened


def _complaints(connection: Connection, given: Table, complaints: Complaints) -> list[Complaint]:
    """The complaints among what people said, the earliest first."""
    said = select(
        given.c.occurred_at,
        given.c.channel,
        given.c.event_id,
        given.c.customer_id,
        given.c.kind,
        given.c.text,
        given.c.survey,
        given.c.score,
    ).where(given.c.kind.in_(_SAID), given.c.machine.is_(None))
    found = [
        Complaint(at, channel, event_id, customer_id, reason)
        for at, channel, event_id, customer_id, kind, *what in connection.execute(said)
        if (reason := complaints.reason(kind, *what)) and (customer_id is not None or reason == "mention")
    ]
    return sorted(found, key=lambda one: _order(one.said_at, one.reason, one.channel))


def _order(at: datetime, reason: str, channel: str) -> tuple[datetime, int, str]:
    """Which of the complaints of one moment is the first must not hang on which of them came first."""
    return at, CASE_REASONS.index(reason), channel


# --- opening --------------------------------------------------------------------------------------


def open_cases(
    connection: Connection, opening: Sequence[Complaint], who: str, text: str, now: datetime
) -> Sequence[int]:
    """Opens a case for each; their ids in this order. None of the customers has an open one."""
    ids = connection.scalars(
        insert(cases).returning(cases.c.id, sort_by_parameter_order=True),
        [
            {
                "customer_id": one.customer_id,
                "channel": one.channel,
                "reason": one.reason,
                "opened_at": one.said_at,
            }
            for one in opening
        ],
    ).all()
    write_entries(connection, ids, "opened", who, text, now)
    return ids


def open_again(connection: Connection, ids: Sequence[int], who: str, text: str, now: datetime) -> None:
    """Opens cases that were closed again."""
    connection.execute(
        update(cases)
        .where(cases.c.id == bindparam("case", type_=BigInteger))
        .values(closed_at=None, reopened=cases.c.reopened + 1),
        [{"case": id_} for id_ in ids],
    )
    write_entries(connection, ids, "reopened", who, text, now)


def write_entries(
    connection: Connection, ids: Iterable[int], what: str, who: str, text: str, now: datetime
) -> None:
    """Writes down what was done about these cases, and who did it."""
    connection.execute(
        insert(case_entries),
        [{"case_id": id_, "what": what, "who": who, "text": text, "at": now} for id_ in ids],
    )


def latest_entry(connection: Connection) -> tuple[int, datetime] | None:
    """The newest entry of any case, and when it was written; None: there is no case yet."""
    newest = select(case_entries.c.id, case_entries.c.at).order_by(case_entries.c.id.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return None if row is None else (row.id, row.at)


def count_opened(connection: Connection, after: int, until: int) -> int:
    """How many customers have a case that was opened, again or for the first time, by one of these entries,
    and is open."""
    count = (
        select(func.count(cases.c.customer_id.distinct()))
        .join(case_entries, case_entries.c.case_id == cases.c.id)
        .where(
            case_entries.c.id > after,
            case_entries.c.id <= until,
            case_entries.c.what.in_(("opened", "reopened")),
            cases.c.closed_at.is_(None),
        )
    )
    return connection.scalar(count) or 0


def _open_for_strangers(connection: Connection, found: Sequence[Complaint], now: datetime) -> int:
    """A case for each: nobody can tell whether two of them are of one person."""
    if found:
        ids = open_cases(connection, found, BY_ITSELF, "", now)
        connection.execute(
            update(responses)
            .where(responses.c.channel == bindparam("of"), responses.c.event_id == bindparam("event"))
            .values(case_id=bindparam("case")),
            [
                {"of": one.channel, "event": one.event_id, "case": id_}
                for one, id_ in zip(found, ids, strict=True)
            ],
        )
    return len(found)


def _open_for_customers(
    connection: Connection, found: Sequence[Complaint], reopened_if_since: datetime, now: datetime
) -> int:
    """Sees to an open case for each of the customers, no younger than their earliest complaint."""
    first: dict[int | None, Complaint] = {}
    for one in found:
        first.setdefault(one.customer_id, one)
    latest = _latest_cases(connection, reopened_if_since)
    opening = [one for customer_id, one in first.items() if customer_id not in latest]
    again = [case.id for case in latest.values() if case.closed_at is not None]
    if opening:
        open_cases(connection, opening, BY_ITSELF, "", now)
    if again:
        open_again(connection, again, BY_ITSELF, "", now)
    earlier = [
        {"case": case.id, "at": one.said_at, "why": one.reason, "by": one.channel}
        for customer_id, case in latest.items()
        if _order((one := first[customer_id]).said_at, one.reason, one.channel)
        < _order(case.opened_at, case.reason, case.channel)
    ]
    if earlier:
        connection.execute(
            update(cases)
            .where(cases.c.id == bindparam("case"))
            .values(opened_at=bindparam("at"), reason=bindparam("why"), channel=bindparam("by")),
            earlier,
        )
    return len(opening) + len(again)


def _latest_cases(connection: Connection, closed_since: datetime) -> Mapping[int, Any]:
    """Of each who complains the open case, else the one that was closed last, if it was since this moment."""
    rows = connection.execute(
        select(cases)
        .where(
            cases.c.customer_id.in_(select(_complaining.c.customer_id)),
            or_(cases.c.closed_at.is_(None), cases.c.closed_at >= closed_since),
        )
        # The last one stands in the end: those that are closed, by when, before the one that is open.
        .order_by(cases.c.closed_at.is_(None), cases.c.closed_at, cases.c.id)
    )
    return {row.customer_id: row for row in rows}


# --- joining --------------------------------------------------------------------------------------


def _join_complaints(connection: Connection) -> None:
    """Joins complaints to the open case of their customer, also what was said before the last one ended."""
    connection.execute(
        update(responses)
        .where(
            responses.c.channel == _complaining.c.channel,
            responses.c.event_id == _complaining.c.event_id,
            cases.c.customer_id == _complaining.c.customer_id,
            cases.c.closed_at.is_(None),
        )
        .values(case_id=cases.c.id)
    )


def _join_what_was_said(connection: Connection, given: Table) -> None:
    """Joins all else that the customers said to the case that was open then."""
    concerned = select(given.c.customer_id).where(
        given.c.customer_id == cases.c.customer_id, given.c.kind.in_(_SAID)
    )
    then_open = (
        select(func.min(cases.c.id))
        .where(
            cases.c.customer_id == responses.c.customer_id,
            cases.c.opened_at <= responses.c.occurred_at,
            or_(cases.c.closed_at.is_(None), cases.c.closed_at >= responses.c.occurred_at),
        )
        .scalar_subquery()
    )
    connection.execute(
        update(responses)
        .where(
            responses.c.customer_id.in_(concerned),
            is_said(responses.c.kind),
            responses.c.machine.is_(None),
            responses.c.case_id.is_(None),
        )
        .values(case_id=then_open)
    )
