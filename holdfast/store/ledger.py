"""The life of a message in the database: leased, sending, settled, in doubt. See DESIGN for the states.

Every transition is one UPDATE that names the state it starts from and, where there is a lease, its owner;
what it returns is what happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Text,
    Update,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import TypeEngine

from holdfast.audience.reasons import Reason
from holdfast.channel import RejectReason
from holdfast.settings import Cap
from holdfast.store.contact import Route, because, first_usable, join_contact, over_cap, why_none
from holdfast.store.database import Database, database_now, packed, rows_of
from holdfast.tables import UtcTime, addresses, attempts, campaign_versions, messages, runs, to_microseconds

if TYPE_CHECKING:
    from holdfast.store.runs import Run


@dataclass(frozen=True, slots=True)
class Leased:
    """One message on a lease of ours, with what rendering it needs."""

    id: int
    customer_id: int
    step: str
    channel: str
    kind: str
    variant: str | None
    attempts: int
    address: str | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one message: the state it moves to, with its reason or its next time."""

    id: int
    state: str
    reason: str | None = None
    provider_id: str | None = None
    due_at: datetime | None = None
    # Of a message that was not taken: whoever it is for asks for time, and not the provider.
    is_of_recipient: bool = False


class Begun(NamedTuple):
    """A call that may be made: its attempt, and by id the state of each of its messages by now."""

    attempt_id: int
    states: dict[int, str]


class Ended(NamedTuple):
    """A call that was made: its attempt, and what became of its messages."""

    attempt_id: int
    settled: Sequence[Settled]


_POSTPONED_AT_ONCE = 10_000

# Written out, not bound: only then can the planner use the partial index.
IS_PLANNED = messages.c.state == literal_column("'planned'")


def may_go(now: datetime) -> ColumnElement[bool]:
    """The message is planned, due, and its window has not closed over it."""
    return and_(
        IS_PLANNED,
        messages.c.due_at <= now,
        or_(messages.c.closes_at.is_(None), messages.c.closes_at > now),
    )


def lease(
    database: Database, run_id: int, channel: str, owner: str, size: int, length: timedelta, now: datetime
) -> list[Leased]:
    """Leases up to `size` messages of the run that are due on the channel; who else leases gets others."""
    picked = (
        select(messages.c.id)
        .where(
            messages.c.run_id == run_id,
            messages.c.channel == channel,
            may_go(now),
        )
        .order_by(messages.c.due_at, messages.c.id)
        .limit(size)
        .with_for_update(skip_locked=True)
        # PostgreSQL may run a plain subquery again for each row, and then lease more than the limit.
        .cte("picked")
        .prefix_with("MATERIALIZED")
    )
    with database.write() as connection:
        leased = connection.execute(
            update(messages)
            .where(messages.c.id.in_(select(picked.c.id)), messages.c.state == "planned")
            .values(state="leased", lease_owner=owner, lease_expires_at=_expiry(length))
            .returning(messages.c.id)
        ).scalars()
        ids = sorted(leased)
    with database.read() as connection:
        return load(connection, database, ids)


def load(connection: Connection, database: Database, ids: Sequence[int]) -> list[Leased]:
    """The messages with these ids, in the order of their ids, with the customers' addresses of today."""
    return [
        Leased(*row)
        for row in connection.execute(
            select(
                messages.c.id,
                messages.c.customer_id,
                messages.c.step,
                messages.c.channel,
                messages.c.kind,
                messages.c.variant,
                messages.c.attempts,
                addresses.c.address,
            )
            .select_from(
                messages.outerjoin(
                    addresses,
                    and_(
                        addresses.c.customer_id == messages.c.customer_id,
                        addresses.c.kind == messages.c.kind,
                    ),
                )
            )
            .where(messages.c.id.in_(database.among(ids)))
            .order_by(messages.c.id)
        )
    ]


def _is_leased_by(message: FromClause, owner: Any) -> ColumnElement[bool]:
    """For statements that name ids. PostgreSQL's statistics know of hardly a leased message: it would go
    through all there are, and compare each with each id. Within an expression it knows nothing of them."""
    return func.coalesce(and_(message.c.state == "leased", message.c.lease_owner == owner), false())


def _expiry(length: timedelta) -> Any:
    return database_now() + literal(_microseconds(length), BigInteger)


def _microseconds(length: timedelta) -> int:
    return int(length.total_seconds() * 1_000_000)


def renew(database: Database, owner: str, length: timedelta) -> None:
    """Gives the messages that the owner has leased and not begun to send the full length again."""
    # Under the project's lock, as `begin_sending`: two updates of many rows must not meet in another order.
    with database.write(exclusive=True) as connection:
        connection.execute(
            update(messages)
            .where(messages.c.lease_owner == owner, messages.c.state == "leased")
            .values(lease_expires_at=_expiry(length))
        )


def begin_sending(
    database: Database,
    run: Run,
    batches: Sequence[Sequence[int]],
    owner: str,
    *,
    route: Route,
    purpose: str,
    cap: Cap | None,
    length: timedelta,
    clock: Callable[[], datetime],
) -> list[Begun]:
    """Sets `sending` what may go out at this moment, in one call for each batch of ids.

    Judged under the project-wide lock, in one UPDATE: the lease is still ours, the run is running and by the
    same files, the window is open, and consent, address, suppression and cap permit. Only what comes back as
    `sending` may be sent; the rest is `skipped` with its reason, or `planned` again. A message that is
    missing from the answer is not, or no longer, that call's. Committed when this returns.
    """
    with database.write(exclusive=True) as connection:
        # Asked under the lock: a no that was written while we waited for it is of before this moment.
        now = clock()
        attempt_ids = connection.execute(
            insert(attempts).returning(attempts.c.id, sort_by_parameter_order=True),
            [
                {"run_id": run.id, "channel": route.channel, "messages": len(ids), "started_at": now}
                for ids in batches
            ],
        ).scalars().all()  # fmt: skip
        calls = list(zip(attempt_ids, batches, strict=True))
        rows = connection.execute(
            _beginning(database.is_sqlite, route, purpose, cap),
            {
                "given": packed((id_, attempt_id) for attempt_id, ids in calls for id_ in ids),
                "owner": owner,
                "version": run.version,
                "now": now,
                "length": _microseconds(length),
            },
        ).all()
        made = {attempt_id for _, state, attempt_id in rows if state == "sending"}
        # No call is made: whether a run has begun to send is told by its attempts.
        if unused := [attempt_id for attempt_id in attempt_ids if attempt_id not in made]:
            connection.execute(delete(attempts).where(attempts.c.id.in_(database.among(unused))))
    states = {id_: (state, attempt_id) for id_, state, attempt_id in rows}
    return [Begun(attempt_id, dict(_of_call(attempt_id, ids, states))) for attempt_id, ids in calls]


def _of_call(
    attempt_id: int, ids: Sequence[int], states: Mapping[int, tuple[str, int | None]]
) -> Iterator[tuple[int, str]]:
    """The messages of a call with their states: not those that another call of the statement sends."""
    for id_ in ids:
        state, sent_by = states.get(id_, (None, None))
        if state is not None and (state != "sending" or sent_by == attempt_id):
            yield id_, state


# Kept: SQLAlchemy takes longer to build these statements than the database to run them for a batch.
@lru_cache(maxsize=64)
def _beginning(is_sqlite: bool, route: Route, purpose: str, cap: Cap | None) -> ReturningUpdate[Any]:
    """The statement of `begin_sending`; binds given (ids and their attempts), owner, version, now, length."""
    now, owner = bindparam("now", type_=UtcTime), bindparam("owner", type_=Text)
    given = rows_of(
        bindparam("given", type_=Text), is_sqlite, {"id": BigInteger(), "attempt_id": BigInteger()}
    )
    candidate = messages.alias("candidate")
    of_run = runs.join(campaign_versions, campaign_versions.c.id == runs.c.version_id)
    goes_on = and_(runs.c.state == "running", campaign_versions.c.digest == bindparam("version", type_=Text))
    # Of a customer's messages in one statement a cap cannot count those that it lets through.
    nth = func.row_number().over(partition_by=candidate.c.customer_id, order_by=candidate.c.id)
    source, problems = join_contact(
        candidate.join(given, given.c.id == candidate.c.id).join(of_run, runs.c.id == candidate.c.run_id),
        candidate.c.customer_id,
        [route],
        purpose,
        now,
    )
    judged = (
        select(
            candidate.c.id,
            given.c.attempt_id,
            case(
                (~goes_on, literal("stopped")),
                (candidate.c.closes_at <= now, literal("closed")),
                (why_none([route], problems).is_not(None), why_none([route], problems)),
                (over_cap(candidate.c.customer_id, cap, now), because(Reason.CAPPED)),
                *([(nth > 1, literal("later"))] if cap else []),
                else_=null(),
            ).label("verdict"),
        )
        .select_from(source)
        .where(_is_leased_by(candidate, owner))
        .cte("judged")
        .prefix_with("MATERIALIZED")
    )
    go, wait = judged.c.verdict.is_(None), judged.c.verdict.in_(("stopped", "closed", "later"))
    expiry = database_now() + bindparam("length", type_=BigInteger)
    return (
        update(messages)
        # Named again for PostgreSQL: a row that changed under us is judged again by this, not by the CTE.
        .where(messages.c.id == judged.c.id, _is_leased_by(messages, owner))
        .values(
            state=case((go, "sending"), (wait, "planned"), else_="skipped"),
            reason=case((go | wait, null()), else_=judged.c.verdict),
            attempts=messages.c.attempts + case((go, 1), else_=0),
            attempt_id=case((go, judged.c.attempt_id), else_=messages.c.attempt_id),
            sent_at=case((go, now), else_=messages.c.sent_at),
            lease_owner=case((go, owner), else_=null()),
            lease_expires_at=case((go, expiry), else_=null()),
        )
        .returning(messages.c.id, messages.c.state, messages.c.attempt_id)
    )


def settle(
    database: Database,
    calls: Sequence[Ended],
    fallbacks: Mapping[str, Sequence[Route]],
    purpose: str,
    now: datetime,
) -> None:
    """Writes what the calls' messages became, and the fallbacks of the rejected ones, in one transaction.

    `fallbacks` has, by step, the routes that come after this channel's. An outcome that comes late is the
    truth all the same: about a message in doubt; and `accepted` even where it was planned again meanwhile,
    so that it does not go out again. Otherwise an outcome says nothing about a later call than its own.
    """
    given = packed(
        (
            outcome.id,
            outcome.state,
            outcome.reason,
            outcome.provider_id,
            None if outcome.due_at is None else to_microseconds(outcome.due_at),
            attempt_id,
        )
        for attempt_id, settled in calls
        for outcome in settled
    )
    # Under the project's lock: answers to the same messages may be on their way in, in another order.
    with database.write(exclusive=True) as connection:
        connection.execute(_settlement(database.is_sqlite), {"outcomes": given, "now": now})
        outcomes = [outcome for _, settled in calls for outcome in settled]
        insert_fallbacks(connection, database, outcomes, fallbacks, purpose, now)
        connection.execute(_counting(), [_counted(call, now) for call in calls])


@lru_cache(maxsize=2)
def _settlement(is_sqlite: bool) -> Update:
    """The statement of `settle`; binds outcomes and now."""
    now = bindparam("now", type_=UtcTime)
    columns: dict[str, TypeEngine[Any]] = {
        "id": BigInteger(),
        "state": Text(),
        "reason": Text(),
        "provider_id": Text(),
        "due_at": BigInteger(),
        "attempt_id": BigInteger(),
    }
    given = rows_of(bindparam("outcomes", type_=Text), is_sqlite, columns)
    own_call = messages.c.attempt_id == given.c.attempt_id
    return (
        update(messages)
        .where(
            messages.c.id == given.c.id,
            or_(
                and_(own_call, messages.c.state.in_(("sending", "in_doubt"))),
                and_(given.c.state == "accepted", messages.c.state.in_(UNSETTLED)),
            ),
        )
        .values(
            state=given.c.state,
            reason=given.c.reason,
            provider_id=given.c.provider_id,
            due_at=func.coalesce(given.c.due_at, messages.c.due_at),
            # What was not taken no longer counts under a cap.
            sent_at=case(
                (given.c.state.in_(("planned", "rejected")), null()),
                else_=func.coalesce(messages.c.sent_at, now),
            ),
            settled_at=now,
            lease_owner=None,
            lease_expires_at=None,
        )
    )


UNSETTLED = ("planned", "leased", "sending", "in_doubt")
# By state, the column of `attempts` that counts it.
_COUNTED = {"accepted": "accepted", "rejected": "rejected", "planned": "retried", "in_doubt": "in_doubt"}


@lru_cache(maxsize=1)
def _counting() -> Update:
    """The statement by which `settle` counts a call's outcomes; binds what `_counted` gives."""
    counts = {
        column: func.coalesce(attempts.c[column], 0) + bindparam(f"now_{state}", type_=BigInteger)
        for state, column in _COUNTED.items()
    }
    return (
        update(attempts)
        .where(attempts.c.id == bindparam("attempt", type_=BigInteger))
        .values(finished_at=bindparam("now", type_=UtcTime), **counts)
    )


def _counted(call: Ended, now: datetime) -> dict[str, Any]:
    count = Counter(map(_counted_as, call.settled))
    return {
        "attempt": call.attempt_id, "now": now, **{f"now_{state}": count[state] for state in _COUNTED}
    }  # fmt: skip


def _counted_as(outcome: Settled) -> str:
    """A message that is given up was not refused by the call: it was not taken, like those tried again. What
    its recipient asks for says nothing of the call."""
    if outcome.is_of_recipient:
        return "recipient"
    return "planned" if outcome.reason == RejectReason.RETRIES_EXHAUSTED.value else outcome.state


def insert_fallbacks(
    connection: Connection,
    database: Database,
    outcomes: Sequence[Settled],
    fallbacks: Mapping[str, Sequence[Route]],
    purpose: str,
    now: datetime,
) -> None:
    """Plans the next rank for those of the outcomes that are rejected and can be reached on a later route."""
    rejected = [outcome.id for outcome in outcomes if outcome.state == "rejected"]
    for step, routes in fallbacks.items():
        if not rejected or not routes:
            continue
        failed, later = messages.alias("failed"), messages.alias("later")
        source, problems = join_contact(failed, failed.c.customer_id, routes, purpose, now)
        connection.execute(
            insert(messages).from_select(
                ["enrollment_id", "run_id", "customer_id", "step", "rank", "channel", "kind", "purpose",
                 "variant", "state", "due_at", "closes_at"],
                select(
                    failed.c.enrollment_id,
                    failed.c.run_id,
                    failed.c.customer_id,
                    failed.c.step,
                    failed.c.rank + 1,
                    first_usable(routes, problems, give="channel"),
                    first_usable(routes, problems, give="kind"),
                    failed.c.purpose,
                    failed.c.variant,
                    literal("planned"),
                    literal(now, UtcTime),
                    failed.c.closes_at,
                )
                .select_from(source)
                .where(
                    failed.c.id.in_(database.among(rejected)),
                    failed.c.state == "rejected",
                    failed.c.step == step,
                    ~exists().where(
                        later.c.enrollment_id == failed.c.enrollment_id,
                        later.c.step == step,
                        later.c.rank > failed.c.rank,
                    ),
                    why_none(routes, problems).is_(None),
                ),
            )
        )  # fmt: skip


def take_back(
    database: Database, attempt_id: int, ids: Sequence[int], owner: str, length: timedelta, now: datetime
) -> None:
    """Back to `leased`: a call that took nothing, maybe late, whose messages go into smaller ones now."""
    # Under the project's lock, as `settle`.
    with database.write(exclusive=True) as connection:
        connection.execute(
            update(messages)
            .where(
                messages.c.id.in_(database.among(ids)),
                messages.c.state.in_(("sending", "in_doubt")),
                messages.c.attempt_id == attempt_id,
            )
            .values(
                state="leased",
                reason=None,
                lease_owner=owner,
                attempts=messages.c.attempts - 1,
                sent_at=None,
                lease_expires_at=_expiry(length),
            )
        )
        connection.execute(update(attempts).where(attempts.c.id == attempt_id).values(finished_at=now))


def release(database: Database, ids: Sequence[int], owner: str, *, skip: Reason | None = None) -> int:
    """Gives leased messages back as `planned`, or, with a reason, `skipped`; how many still were leased."""
    if not ids:
        return 0
    # Under the project's lock, as `settle`.
    with database.write(exclusive=True) as connection:
        return connection.execute(
            update(messages)
            .where(
                messages.c.id.in_(database.among(ids)),
                _is_leased_by(messages, owner),
            )
            .values(
                state="skipped" if skip else "planned",
                reason=skip and skip.value,
                lease_owner=None,
                lease_expires_at=None,
            )
        ).rowcount


def release_run(connection: Connection, run_id: int) -> None:
    """Gives back what any worker has leased of the run and not begun to send. Needs the project's lock."""
    connection.execute(
        update(messages)
        .where(messages.c.run_id == run_id, messages.c.state == "leased", messages.c.lease_owner.is_not(None))
        .values(state="planned", lease_owner=None, lease_expires_at=None)
    )


def postpone(database: Database, run_id: int, channel: str, until: datetime) -> int:
    """What the run has planned on the channel is not due before `until`; how many were due earlier."""
    postponed = 0
    while True:
        early = (
            select(messages.c.id)
            .where(
                messages.c.run_id == run_id,
                messages.c.channel == channel,
                IS_PLANNED,
                messages.c.due_at < until,
            )
            .limit(_POSTPONED_AT_ONCE)
        )
        # Under the project's lock, as `settle`.
        with database.write(exclusive=True) as connection:
            moved = connection.execute(
                update(messages).where(messages.c.id.in_(early), IS_PLANNED).values(due_at=until)
            ).rowcount
        postponed += moved
        if moved < _POSTPONED_AT_ONCE:
            return postponed
