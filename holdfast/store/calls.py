"""Calls to a channel in the ledger: begun before they are made, ended with what became of their messages.

Every transition is one UPDATE that names the state it starts from and, where there is a lease, its owner;
what it returns is what happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Subquery,
    Text,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
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
from holdfast.store.contact import (
    CONFIRMATION,
    Fallback,
    Route,
    because,
    join_contact,
    kept_back,
    over_cap,
    why_none,
)
from holdfast.store.database import Database, packed, rows_of
from holdfast.store.fallbacks import insert_fallbacks
from holdfast.store.ledger import UNSETTLED, is_leased_by
from holdfast.tables import UtcTime, addresses, attempts, campaign_versions, messages, runs, to_microseconds

if TYPE_CHECKING:
    from holdfast.store.runs import Run

Batch = Sequence[int]
"""The ids of the messages of one call."""


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


@dataclass(frozen=True, slots=True)
class Terms:
    """What the calls of a worker for one run have in common; `owner` has their messages on a lease.

    `fallbacks` has, by step, where a message goes that this one refuses.
    """

    run: Run
    owner: str
    route: Route
    purpose: str
    cap: Cap | None = None
    topic: str | None = None
    fallbacks: Mapping[str, Fallback] = field(default_factory=dict)


def write_calls(
    database: Database,
    terms: Terms,
    ended: Sequence[Ended],
    beginning: Sequence[Batch],
    clock: Callable[[], datetime],
) -> list[Begun]:
    """Ends calls that were made, then begins one for each batch, in one transaction under the project-wide
    lock: answers to the same messages may be on their way in, and other runs count under the same caps.

    Committed when this returns. See `_end` and `_begin` for what becomes of the messages.
    """
    with database.write(exclusive=True) as connection:
        # Asked under the lock: a no that was written while we waited for it is of before this moment.
        now = clock()
        if ended:
            _end(connection, database, terms, ended, now)
        return _begin(connection, database, terms, beginning, now) if beginning else []


# --- beginning ------------------------------------------------------------------------------------


def _begin(
    connection: Connection, database: Database, terms: Terms, batches: Sequence[Batch], now: datetime
) -> list[Begun]:
    """Sets `sending` what may go out at this moment: the lease is still ours, the run is running and by the
    same files, the window is open, and consent, address, suppression, the customer's wishes and cap permit.

    Only what comes back as `sending` may be sent; the rest is `skipped` with its reason, or `planned` again.
    A message that is missing from the answer is not, or no longer, that call's.
    """
    attempt_ids = connection.execute(
        insert(attempts).returning(attempts.c.id, sort_by_parameter_order=True),
        [
            {"run_id": terms.run.id, "channel": terms.route.channel, "messages": len(ids), "started_at": now}
            for ids in batches
        ],
    ).scalars().all()  # fmt: skip
    calls = list(zip(attempt_ids, batches, strict=True))
    binds = {
        "given": packed((id_, attempt_id) for attempt_id, ids in calls for id_ in ids),
        "first": min(attempt_ids),
        "owner": terms.owner,
        "version": terms.run.version,
        "now": now,
    }
    judged_by = (database.is_sqlite, terms.route, terms.purpose, terms.topic, terms.cap)
    sent_by = dict(connection.execute(_sending(*judged_by), binds).tuples().all())
    states = dict.fromkeys(sent_by, "sending")
    if len(states) < sum(map(len, batches)):
        states |= connection.execute(_not_sending(*judged_by), binds).tuples().all()
        _forget_unused(connection, database, set(attempt_ids) - set(sent_by.values()))
    return [Begun(attempt_id, dict(_of_call(attempt_id, ids, states, sent_by))) for attempt_id, ids in calls]


def _forget_unused(connection: Connection, database: Database, attempt_ids: set[int]) -> None:
    """Of calls that are not made: whether a run has begun to send is told by its attempts."""
    if attempt_ids:
        connection.execute(delete(attempts).where(attempts.c.id.in_(database.among(sorted(attempt_ids)))))


def _of_call(
    attempt_id: int, ids: Batch, states: Mapping[int, str], sent_by: Mapping[int, int]
) -> Iterator[tuple[int, str]]:
    """The messages of a call with their states: not those that another call of the statement sends."""
    for id_ in ids:
        if (state := states.get(id_)) is not None and sent_by.get(id_, attempt_id) == attempt_id:
            yield id_, state


# Kept: SQLAlchemy takes longer to build these statements than the database to run them for a batch.
@lru_cache(maxsize=64)
def _sending(
    is_sqlite: bool, route: Route, purpose: str, topic: str | None, cap: Cap | None
) -> ReturningUpdate[Any]:
    """Sets `sending` what may go; gives ids and attempts. Binds what `_judged` does.

    The owner and expiry of the lease stay as they are: it is young, and their index is not written then.
    """
    judged = _judged(is_sqlite, route, purpose, topic, cap)
    return (
        update(messages)
        # Named again for PostgreSQL: a row that changed under us is judged again by this, not by the CTE.
        .where(messages.c.id == judged.c.id, judged.c.verdict.is_(None), _is_ours(messages))
        .values(
            state="sending",
            attempts=messages.c.attempts + 1,
            attempt_id=judged.c.attempt_id,
            sent_at=_NOW,
        )
        .returning(messages.c.id, messages.c.attempt_id)
    )


@lru_cache(maxsize=64)
def _not_sending(
    is_sqlite: bool, route: Route, purpose: str, topic: str | None, cap: Cap | None
) -> ReturningUpdate[Any]:
    """Gives back what `_sending` has left: `skipped` for its reason, or `planned`; ids and states."""
    judged = _judged(is_sqlite, route, purpose, topic, cap)
    # Without a verdict is what only waited for another message to the same customer.
    waits = or_(judged.c.verdict.is_(None), judged.c.verdict.in_(_WAITS))
    return (
        update(messages)
        .where(messages.c.id == judged.c.id, _is_ours(messages))
        .values(
            state=case((waits, "planned"), else_="skipped"),
            reason=case((waits, null()), else_=judged.c.verdict),
            lease_owner=None,
            lease_expires_at=None,
        )
        .returning(messages.c.id, messages.c.state)
    )


_NOW = bindparam("now", type_=UtcTime)
# The least of the new attempts: caps count what went before.
_FIRST = bindparam("first", type_=BigInteger)
# Verdicts that say nothing against the message, but against this moment.
_WAITS = ("stopped", "closed", "later")


def _is_ours(message: Any) -> Any:
    return is_leased_by(message, bindparam("owner", type_=Text))


def _judged(is_sqlite: bool, route: Route, purpose: str, topic: str | None, cap: Cap | None) -> CTE:
    """Those of the given messages that are leased by us, with what speaks against sending them now (NULL:
    nothing) in `verdict`; binds given (ids and their attempts), first, owner, version, now."""
    given = rows_of(
        bindparam("given", type_=Text), is_sqlite, {"id": BigInteger(), "attempt_id": BigInteger()}
    )
    candidate = messages.alias("candidate")
    of_run = runs.join(campaign_versions, campaign_versions.c.id == runs.c.version_id)
    goes_on = and_(runs.c.state == "running", campaign_versions.c.digest == bindparam("version", type_=Text))
    # Of a customer's messages in one statement a cap cannot count those that it lets through; nor an
    # address's where it is of addresses.
    whose: ColumnElement[Any] = candidate.c.customer_id
    if purpose == CONFIRMATION:
        whose = (
            select(addresses.c.address_key)
            .where(addresses.c.customer_id == candidate.c.customer_id, addresses.c.kind == candidate.c.kind)
            .scalar_subquery()
        )
    wish = kept_back(candidate.c.customer_id, purpose, topic, _NOW)
    nth = func.row_number().over(partition_by=whose, order_by=candidate.c.id)
    source, problems = join_contact(
        candidate.join(given, given.c.id == candidate.c.id).join(of_run, runs.c.id == candidate.c.run_id),
        candidate.c.customer_id,
        [route],
        purpose,
        _NOW,
    )
    return (
        select(
            candidate.c.id,
            given.c.attempt_id,
            case(
                (~goes_on, literal("stopped")),
                (candidate.c.closes_at <= _NOW, literal("closed")),
                (why_none([route], problems).is_not(None), why_none([route], problems)),
                (wish.is_not(None), wish),
                (over_cap(candidate.c.customer_id, cap, _NOW, _FIRST), because(Reason.CAPPED)),
                *([(nth > 1, literal("later"))] if cap or purpose == CONFIRMATION else []),
                else_=null(),
            ).label("verdict"),
        )
        .select_from(source)
        .where(_is_ours(candidate))
        .cte("judged")
        .prefix_with("MATERIALIZED")
    )


# --- ending ---------------------------------------------------------------------------------------


def _end(
    connection: Connection, database: Database, terms: Terms, calls: Sequence[Ended], now: datetime
) -> None:
    """Writes what the calls' messages became, and the fallbacks of the rejected ones.

    An outcome that comes late is the truth all the same: about a message in doubt; and `accepted` even where
    it was planned again meanwhile, so that it does not go out again. Otherwise an outcome says nothing about
    a later call than its own.
    """
    taken, others = list[Any](), list[Any]()
    for attempt_id, settled in calls:
        for each in settled:
            due_at = None if each.due_at is None else to_microseconds(each.due_at)
            record = (each.id, attempt_id, each.state, each.reason, each.provider_id, due_at)
            (taken if each.state in ("accepted", "in_doubt") else others).append(record)
    found = connection.execute(_taking(database.is_sqlite), {"outcomes": packed(taken), "now": now}).rowcount
    if found < len(taken):
        others += taken
    if others:
        connection.execute(_settlement(database.is_sqlite), {"outcomes": packed(others), "now": now})
    rejected = [each.id for _, settled in calls for each in settled if each.state == "rejected"]
    insert_fallbacks(connection, database, rejected, terms.fallbacks, terms.purpose, now)
    connection.execute(_counting(), [_counted(call, now) for call in calls])


_OUTCOME: dict[str, TypeEngine[Any]] = {
    "id": BigInteger(),
    "attempt_id": BigInteger(),
    "state": Text(),
    "reason": Text(),
    "provider_id": Text(),
    "due_at": BigInteger(),
}


@lru_cache(maxsize=2)
def _taking(is_sqlite: bool) -> Update:
    """Settles what may have been taken, `accepted` or `in_doubt`, by the call itself; binds outcomes and now.

    What almost every message comes to: it leaves alone what cannot have changed, and its indexes.
    """
    given = rows_of(bindparam("outcomes", type_=Text), is_sqlite, _OUTCOME)
    return (
        update(messages)
        .where(messages.c.id == given.c.id, _is_of_call(given))
        .values(
            state=given.c.state,
            reason=given.c.reason,
            provider_id=given.c.provider_id,
            settled_at=_NOW,
            lease_owner=None,
            lease_expires_at=None,
        )
    )


@lru_cache(maxsize=2)
def _settlement(is_sqlite: bool) -> Update:
    """Settles whatever it may be, also what comes late; binds outcomes and now."""
    given = rows_of(bindparam("outcomes", type_=Text), is_sqlite, _OUTCOME)
    return (
        update(messages)
        .where(
            messages.c.id == given.c.id,
            or_(
                _is_of_call(given),
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
                else_=func.coalesce(messages.c.sent_at, _NOW),
            ),
            settled_at=_NOW,
            lease_owner=None,
            lease_expires_at=None,
        )
    )


def _is_of_call(given: Subquery) -> ColumnElement[bool]:
    return and_(messages.c.attempt_id == given.c.attempt_id, messages.c.state.in_(("sending", "in_doubt")))


# By state, the column of `attempts` that counts it.
_COUNTED = {"accepted": "accepted", "rejected": "rejected", "planned": "retried", "in_doubt": "in_doubt"}


@lru_cache(maxsize=1)
def _counting() -> Update:
    """The statement by which `_end` counts a call's outcomes; binds what `_counted` gives."""
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
