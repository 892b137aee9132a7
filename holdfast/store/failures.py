"""What went wrong: calls of a run that failed, messages that came back.

What a guard judges is counted from the attempts since it last stopped the run: see `runs.stop_by_guard`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, literal_column, or_, select

from holdfast.channel import RejectReason, ResponseKind
from holdfast.tables import attempts, messages, responses, runs

# Written out, not bound, and just as the index has it: only then do the planners use it.
_HAS_FAILED = or_(
    messages.c.state == literal_column("'rejected'"),
    messages.c.bounced_at.is_not(None),
    messages.c.complained_at.is_not(None),
)


# Calls that are looked at in one statement.
_PAGE = 500


class FailedCalls(NamedTuple):
    """Calls that took none of their messages: these are in doubt since, or planned again or given up."""

    calls: int
    in_doubt: int
    retried: int


class CameBack(NamedTuple):
    """Messages that came back: bounced, or of a run refused or bounced; and reported as spam."""

    bounced: int
    complained: int


class Sent(NamedTuple):
    """Messages of a run that providers accepted, and that they accepted or refused."""

    accepted: int
    sent: int


def failed_in_a_row(connection: Connection, run_id: int, channel: str, most: int) -> FailedCalls:
    """The run's latest calls on the channel, back to the last that was answered about a message: it was
    taken, or refused, or all there are for are recipients who want theirs later. Counted up to `most`.

    Calls that were out at once are one in the row: a moment's failure meets them all. Those that still are
    do not count, nor do those of a refused batch that was halved.
    """
    calls, in_doubt, retried, began = 0, 0, 0, None
    for call in _latest_calls(connection, run_id, channel):
        if call.taken or not call.in_doubt + call.retried:
            break
        in_doubt, retried = in_doubt + call.in_doubt, retried + call.retried
        if began is None or call.finished_at <= began:
            calls, began = calls + 1, call.started_at
            if calls == most:
                break
    return FailedCalls(calls, in_doubt, retried)


def _latest_calls(connection: Connection, run_id: int, channel: str) -> Iterator[Row[Any]]:
    """The run's calls on the channel that are over and judged, the latest first."""
    page = (
        select(
            attempts.c.id,
            (attempts.c.accepted + attempts.c.rejected).label("taken"),
            attempts.c.in_doubt,
            attempts.c.retried,
            attempts.c.started_at,
            attempts.c.finished_at,
        )
        .where(
            attempts.c.run_id == run_id,
            attempts.c.channel == channel,
            attempts.c.accepted.is_not(None),
            attempts.c.id > _judged_after(run_id),
        )
        .order_by(attempts.c.id.desc())
        .limit(_PAGE)
    )
    found = connection.execute(page).all()
    while found:
        yield from found
        found = connection.execute(page.where(attempts.c.id < found[-1].id)).all()


def count_came_back(connection: Connection, run_id: int) -> CameBack:
    """How many of the run's messages failed. Costs what they are, not what the run is."""
    return CameBack(*connection.execute(came_back(run_id)).one())


def came_back(run_id: int) -> Select[tuple[int, int]]:
    """The statement of `count_came_back`."""
    # What was given up was never sent: no share of what was.
    given_up = messages.c.reason == RejectReason.RETRIES_EXHAUSTED.value
    refused = or_(and_(messages.c.state == "rejected", ~given_up), messages.c.bounced_at.is_not(None))
    return select(func.count(case((refused, 1))), func.count(messages.c.complained_at)).where(
        messages.c.run_id == run_id, _HAS_FAILED, messages.c.attempt_id > _judged_after(run_id)
    )


def count_sent(connection: Connection, run_id: int) -> Sent:
    """How many of the run's messages its calls got accepted and rejected."""
    accepted, rejected = connection.execute(
        select(func.sum(attempts.c.accepted), func.sum(attempts.c.rejected)).where(
            attempts.c.run_id == run_id, attempts.c.id > _judged_after(run_id)
        )
    ).one()
    return Sent(int(accepted or 0), int(accepted or 0) + int(rejected or 0))


def came_back_since(connection: Connection, last: int) -> tuple[dict[str, CameBack], int]:
    """By campaign, the messages of answers that are newer than the answer `last`; and the newest answer."""
    newest = connection.scalar(select(func.max(responses.c.id))) or 0

    def count(kind: ResponseKind) -> ColumnElement[int]:
        return func.count(responses.c.message_id.distinct()).filter(responses.c.kind == kind.value)

    rows = connection.execute(
        select(runs.c.campaign, count(ResponseKind.BOUNCED), count(ResponseKind.COMPLAINED))
        .select_from(
            responses.join(messages, messages.c.id == responses.c.message_id).join(
                runs, runs.c.id == messages.c.run_id
            )
        )
        .where(
            responses.c.id > last,
            responses.c.id <= newest,
            responses.c.kind.in_((ResponseKind.BOUNCED.value, ResponseKind.COMPLAINED.value)),
        )
        .group_by(runs.c.campaign)
        .order_by(runs.c.campaign)
    )
    return {campaign: CameBack(*counts) for campaign, *counts in rows}, newest


def _judged_after(run_id: int) -> ColumnElement[int]:
    return select(func.coalesce(runs.c.judged_after, 0)).where(runs.c.id == run_id).scalar_subquery()
