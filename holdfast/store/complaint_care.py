"""How the cases of a period were dealt with, for its KPI sheet."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from holdfast.metrics.complaints import Care, lasting
from holdfast.tables import cases


def care(connection: Connection, since: datetime, until: datetime, as_of: datetime) -> Care:
    """What became, by `as_of`, of the cases that were opened in [since, until).

    A case that was closed without an answer waited for it no longer than that.
    """
    c = cases.c
    rows = connection.execute(
        select(c.opened_at, c.answered_at, c.closed_at, c.reopened).where(
            c.opened_at >= since, c.opened_at < until
        )
    ).all()
    answers, ends = list[tuple[float, bool]](), list[tuple[float, bool]]()
    for opened_at, answered_at, closed_at, _ in rows:
        closed = closed_at is not None and closed_at <= as_of
        answered = answered_at is not None and answered_at <= as_of
        end = closed_at if closed else as_of
        answers.append((_seconds(opened_at, answered_at if answered else end), answered))
        ends.append((_seconds(opened_at, end), closed))
    return Care(
        opened=len(rows),
        still_open=connection.scalar(
            select(func.count()).where(c.opened_at < until, or_(c.closed_at.is_(None), c.closed_at >= until))
        )
        or 0,
        first_answer=lasting([time for time, _ in answers], [over for _, over in answers]),
        resolution=lasting([time for time, _ in ends], [over for _, over in ends]),
        # Whatever was opened again had been closed.
        closed=sum(row.closed_at is not None or row.reopened > 0 for row in rows),
        reopened=sum(row.reopened > 0 for row in rows),
    )


def _seconds(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds())
