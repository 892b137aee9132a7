"""What a person on call watches, read from the ledger by statements that look at what waits or is recent.

None of them gets slower with the age of the ledger: what waits has partial indexes, and what is recent is
read from the newest row backwards. So every process tells the same, and a restart changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Table, func, literal, select, type_coerce, union_all

from holdfast.store.doubt import IS_IN_DOUBT
from holdfast.store.inbox import count_waiting
from holdfast.store.ledger import may_go
from holdfast.store.runs import BY_GUARD
from holdfast.tables import UtcTime, attempts, cases, erasures, inbox, messages, posts, responses, runs

RECENT = timedelta(minutes=15)
OUTCOMES = ("accepted", "rejected", "retried", "in_doubt")

Counts = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class VitalSigns:
    """The state of a project at a moment; what is `recent` is of the last `RECENT` before it.

    Letters that could not be read, ever, are by channel ('': our own links), sends of messages by channel and
    outcome, responses by channel ('' again) and kind, doubt by channel and `message` or `post`, guarded runs
    by campaign: those that a guard stopped and nobody resumed. `erasures` wait. `oldest_unanswered` is since
    when the oldest open case has not been answered.
    """

    unread: int
    erasures: int
    oldest_erasure: datetime | None
    oldest_unread: datetime | None
    unreadable: Mapping[str, int]
    due: Mapping[str, int]
    recent_sends: Counts
    recent_responses: Counts
    in_doubt: Counts
    runs: Mapping[str, int]
    guarded_runs: Mapping[str, int]
    open_cases: int
    oldest_unanswered: datetime | None


def read_vital_signs(connection: Connection, now: datetime) -> VitalSigns:
    """The signs as of now."""
    open_cases, oldest_unanswered = _open_cases(connection)
    waits = erasures.c.erased_at.is_(None)
    to_erase, oldest_erasure = connection.execute(
        select(func.count(), func.min(erasures.c.asked_at)).where(waits)
    ).one()
    return VitalSigns(
        erasures=to_erase,
        oldest_erasure=oldest_erasure,
        unread=count_waiting(connection),
        oldest_unread=connection.scalar(
            select(inbox.c.received_at).where(inbox.c.handled_at.is_(None)).order_by(inbox.c.id).limit(1)
        ),
        unreadable=_counted(
            connection,
            select(func.coalesce(inbox.c.channel, ""), func.count())
            .where(inbox.c.problem.is_not(None))
            .group_by(inbox.c.channel),
        ),
        due=_due(connection, now),
        recent_sends=_recent_sends(connection, now),
        recent_responses=_recent_responses(connection, now),
        in_doubt=_in_doubt(connection),
        runs=_counted(connection, select(runs.c.state, func.count()).group_by(runs.c.state)),
        guarded_runs=_counted(
            connection,
            select(runs.c.campaign, func.count())
            .where(runs.c.state.in_(("stopping", "stopped")), runs.c.reason.startswith(BY_GUARD))
            .group_by(runs.c.campaign),
        ),
        open_cases=open_cases,
        oldest_unanswered=oldest_unanswered,
    )


def _due(connection: Connection, now: datetime) -> dict[str, int]:
    statement = (
        select(messages.c.channel, func.count())
        .join(runs, runs.c.id == messages.c.run_id)
        .where(runs.c.state == "running", may_go(now))
        .group_by(messages.c.channel)
    )
    return _counted(connection, statement)


def _recent_sends(connection: Connection, now: datetime) -> dict[tuple[str, str], int]:
    recent = _recent(connection, attempts, attempts.c.started_at, now)
    sums = [func.coalesce(func.sum(recent.c[outcome]), 0) for outcome in OUTCOMES]
    return {
        (channel, outcome): int(messages_)
        for channel, *row in connection.execute(select(recent.c.channel, *sums).group_by(recent.c.channel))
        for outcome, messages_ in zip(OUTCOMES, row, strict=True)
    }


def _recent_responses(connection: Connection, now: datetime) -> dict[tuple[str, str], int]:
    recent = _recent(connection, responses, responses.c.received_at, now)
    of = (recent.c.channel, recent.c.kind)
    return {
        (channel, kind): count
        for channel, kind, count in connection.execute(select(*of, func.count()).group_by(*of))
    }


def _in_doubt(connection: Connection) -> dict[tuple[str, str], int]:
    of_messages = select(messages.c.channel, literal("message"), func.count()).where(IS_IN_DOUBT)
    of_posts = select(posts.c.channel, literal("post"), func.count()).where(posts.c.state == "in_doubt")
    statement = union_all(of_messages.group_by(messages.c.channel), of_posts.group_by(posts.c.channel))
    return {(channel, what): count for channel, what, count in connection.execute(statement)}


def _open_cases(connection: Connection) -> tuple[int, datetime | None]:
    unanswered_since = func.min(cases.c.opened_at).filter(cases.c.answered_at.is_(None))
    count, since = connection.execute(
        select(func.count(), type_coerce(unanswered_since, UtcTime)).where(cases.c.closed_at.is_(None))
    ).one()
    return count, since


def _recent(connection: Connection, table: Table, moment: ColumnElement[Any], now: datetime) -> CTE:
    """The table's rows after the newest that is not recent: ids go up with time, and have an index."""
    # Asked beforehand: PostgreSQL would take a bound that it does not know yet for a third of the table.
    older = select(table.c.id).where(moment < now - RECENT).order_by(table.c.id.desc()).limit(1)
    after = connection.scalar(older) or 0
    # Materialized: SQLite would walk a whole index for the order of a GROUP BY.
    return select(table).where(table.c.id > after).cte("recent").prefix_with("MATERIALIZED")


def _counted(connection: Connection, statement: Any) -> dict[str, int]:
    return dict(map(tuple, connection.execute(statement)))
