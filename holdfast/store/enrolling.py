"""Enrolling a run's audience and planning its steps: INSERT … SELECT in slices, none of them long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    CursorResult,
    and_,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    null,
    select,
    update,
)

from holdfast.audience.reasons import Reason
from holdfast.store.database import Database
from holdfast.store.planning import (
    MESSAGE_COLUMNS,
    EntryPlan,
    StepPlan,
    entries,
    openings,
    openings_of,
    step_messages,
    zone_key,
)
from holdfast.store.runs import Run, get_run, message_under_way
from holdfast.store.segments import RuleContext
from holdfast.tables import UtcTime, customers, enrollments, messages, runs
from holdfast.units import DailyWindow

# Customers judged in one write transaction: keeps each to about a tenth of a second, so that webhooks get in
# between. Each slice costs some thirty milliseconds more, to compile its statements.
SLICE = 4_000


def enroll(
    database: Database,
    run: Run,
    entry: EntryPlan,
    first: StepPlan,
    following: StepPlan | None,
    context: RuleContext,
    now: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Enrolls the run's audience and plans its first step, slice by slice; goes on where it was broken off.

    `context.as_of` is the run's, so that the audience is the same whenever a slice is judged. Stops early,
    without an error, when the run is no longer `planned` or `running`, or of another version by now, or when
    its audience is being taken back: two workers with different files would undo each other's work for ever.
    """
    with database.read() as connection:
        highest = connection.scalar(select(func.max(customers.c.id))) or 0
    high = 0
    while True:
        with database.write(exclusive=True) as connection:
            seen = get_run(connection, run.id)
            goes_on = seen.state in ("planned", "running") and seen.version == run.version
            if seen.audience_at is not None or not goes_on:
                return
            low = connection.execute(select(runs.c.enrolled_through).where(runs.c.id == run.id)).scalar_one()
            if low < high:
                return
            high = min(low + SLICE, highest)
            if low < highest:
                _enroll_slice(connection, run, entry, first, following, context, now, low, high)
            connection.execute(
                update(runs)
                .where(runs.c.id == run.id)
                .values(enrolled_through=high, audience_at=now if high >= highest else None)
            )
        if progress is not None:
            progress(high, highest)


def _enroll_slice(
    connection: Connection,
    run: Run,
    entry: EntryPlan,
    first: StepPlan,
    following: StepPlan | None,
    context: RuleContext,
    now: datetime,
    low: int,
    high: int,
) -> None:
    # A first step with a delay is planned when it is due, like any other; one without, right here.
    at_once = first.step.after is None
    upcoming = following if at_once else first
    judged = entries(entry, context, now, low, high).subquery("entries")
    treated = judged.c.arm == "treated"
    next_step, due_at = _next(upcoming, now)
    connection.execute(
        insert(enrollments).from_select(
            [
                "run_id",
                "campaign",
                "customer_id",
                "entry",
                "arm",
                "reason",
                "enrolled_at",
                "next_step",
                "due_at",
            ],
            select(
                literal(run.id),
                literal(run.campaign),
                judged.c.customer_id,
                judged.c.entry,
                judged.c.arm,
                judged.c.reason,
                literal(run.time_at(now), UtcTime),
                _only_if(treated, next_step),
                _only_if(treated, due_at),
            ).order_by(judged.c.customer_id),
        )
    )
    if at_once:
        _insert_messages(
            connection,
            run,
            first,
            and_(
                enrollments.c.run_id == run.id,
                enrollments.c.customer_id > low,
                enrollments.c.customer_id <= high,
                enrollments.c.arm == "treated",
            ),
            context,
            now,
        )


def _next(plan: StepPlan | None, now: datetime) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    if plan is None:
        return null(), cast(null(), UtcTime)
    due_at = now + (plan.step.after or timedelta())
    return literal(plan.step.id), literal(due_at, UtcTime)


def _only_if(condition: ColumnElement[bool], value: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((condition, value), else_=null())


def _insert_messages(
    connection: Connection,
    run: Run,
    plan: StepPlan,
    which: ColumnElement[bool],
    context: RuleContext,
    now: datetime,
) -> int:
    enrolled = (
        select(
            enrollments.c.id.label("enrollment_id"),
            enrollments.c.run_id,
            enrollments.c.customer_id,
            enrollments.c.enrolled_at,
        )
        .where(which)
        .subquery("enrolled")
    )
    zones = openings(connection, plan, enrolled, now)
    result: CursorResult[Any] = connection.execute(
        insert(messages).from_select(
            list(MESSAGE_COLUMNS), step_messages(plan, enrolled, zones, context, now)
        )
    )
    return result.rowcount


# --- advancing ------------------------------------------------------------------------------------


def advance(
    database: Database,
    run: Run,
    plan: StepPlan,
    following: StepPlan | None,
    context: RuleContext,
    now: datetime,
) -> int:
    """Plans the step for those of the run for whom it is due, in slices; how many messages came of it.

    Nobody gets a step while the message of the one before it is still on its way, nor earlier than `after`
    from when that message went out.
    """
    due = and_(
        enrollments.c.run_id == run.id,
        enrollments.c.next_step == plan.step.id,
        enrollments.c.due_at <= now,
    )
    if plan.step.after is not None:
        _wait_after_sending(database, due, plan.step.after, now)
    planned = 0
    while True:
        with database.write(exclusive=True) as connection:
            if connection.scalar(select(runs.c.state).where(runs.c.id == run.id)) != "running":
                return planned
            batch = (
                select(enrollments.c.id)
                .where(due, ~message_under_way())
                .order_by(enrollments.c.id)
                .limit(SLICE)
                .subquery("batch")
            )
            last = connection.scalar(select(func.max(batch.c.id)))
            if last is None:
                return planned
            which = and_(due, enrollments.c.id <= last)
            planned += _insert_messages(
                connection, run, plan, and_(which, ~message_under_way()), context, now
            )
            _move_on(connection, which, plan.step.id, following, now)


def _wait_after_sending(
    database: Database, due: ColumnElement[bool], after: timedelta, now: datetime
) -> None:
    last_sent = (
        select(func.max(messages.c.sent_at))
        .where(messages.c.enrollment_id == enrollments.c.id)
        .scalar_subquery()
    )
    pause = literal(int(after.total_seconds() * 1_000_000), BigInteger)
    with database.write(exclusive=True) as connection:
        connection.execute(
            update(enrollments).where(due, last_sent > now - after).values(due_at=last_sent + pause)
        )


def _move_on(
    connection: Connection,
    which: ColumnElement[bool],
    step: str,
    following: StepPlan | None,
    now: datetime,
) -> None:
    """Those who have a message of the step now wait for the next one; who has reached an end, for none."""
    of_step = and_(messages.c.enrollment_id == enrollments.c.id, messages.c.step == step)
    ended = exists().where(
        of_step, messages.c.reason.in_((Reason.CONVERTED.value, Reason.UNSUBSCRIBED.value))
    )
    connection.execute(update(enrollments).where(which, ended).values(next_step=None, due_at=None))
    next_step, due_at = _next(following, now)
    connection.execute(
        update(enrollments).where(which, exists().where(of_step)).values(next_step=next_step, due_at=due_at)
    )


def end_unknown_steps(database: Database, run: Run, known: tuple[str, ...]) -> int:
    """Ends the way of those who wait for a step that the campaign's file no longer has; how many."""
    with database.write(exclusive=True) as connection:
        return connection.execute(
            update(enrollments)
            .where(enrollments.c.run_id == run.id, enrollments.c.next_step.not_in(known))
            .values(next_step=None, due_at=None)
        ).rowcount


def reopen(
    database: Database, run: Run, window: DailyWindow | None, business_zone: str, now: datetime
) -> int:
    """Plans messages whose window closed before they went out for its next opening; how many."""
    closed = and_(messages.c.run_id == run.id, messages.c.state == "planned", messages.c.closes_at <= now)
    # Under the project's lock: answers may be on their way to the same messages, in another order.
    if window is None:
        with database.write(exclusive=True) as connection:
            return connection.execute(
                update(messages).where(closed).values(due_at=now, closes_at=None)
            ).rowcount
    moved = 0
    while True:
        with database.write(exclusive=True) as connection:
            batch = select(messages.c.id, messages.c.customer_id).where(closed).limit(SLICE).subquery("batch")
            of_batch = batch.join(customers, customers.c.id == batch.c.customer_id)
            pairs = connection.execute(
                select(customers.c.timezone, customers.c.country).distinct().select_from(of_batch)
            ).all()
            if not pairs:
                return moved
            zones = openings_of(connection, pairs, window, business_zone, now)
            moved += connection.execute(
                update(messages)
                .where(
                    messages.c.id == batch.c.id,
                    customers.c.id == messages.c.customer_id,
                    zones.c.zone == zone_key(),
                )
                .values(due_at=zones.c.due_at, closes_at=zones.c.closes_at)
            ).rowcount
