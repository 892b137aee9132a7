"""Whether, and how, a customer may be written to at a moment: consent, reachability, wishes and caps as SQL.

Planning and sending judge by these same expressions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Text,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
)

from holdfast.audience.reasons import Reason
from holdfast.channel import RejectReason
from holdfast.settings import Cap
from holdfast.store.cases import has_open_case
from holdfast.tables import (
    UtcTime,
    addresses,
    consents,
    customers,
    messages,
    suppressions,
    topic_refusals,
)

Moment = datetime | ColumnElement[datetime]
"""A time, or what stands for one in a statement that is built once."""


@dataclass(frozen=True, slots=True)
class Route:
    """One channel a step may take, and the kind of address it needs. `opt_in`: no message without a yes."""

    channel: str
    kind: str
    opt_in: bool = False


@dataclass(frozen=True, slots=True)
class Fallback:
    """Where a message goes next that was refused. `by_preference`: by the customer's own order, and so to any
    that the customer was not tried on yet; else to the first."""

    routes: tuple[Route, ...]
    by_preference: bool = False


CONFIRMATION = "confirmation"
"""The purpose of letters that ask for a consent. They go to who refuses no transactional message."""

_MOST_LETTERS = Cap(messages=3, per=timedelta(days=7))
# Refusals that another channel of the kind would meet, too; and for how long, in microseconds, none is tried.
_OF_THE_ADDRESS = (RejectReason.BAD_ADDRESS, RejectReason.MAILBOX_FULL, RejectReason.OPTED_OUT)
_REFUSED_FOR = 7 * 24 * 3600 * 1_000_000


def because(reason: Reason) -> ColumnElement[str]:
    """The reason as SQL has it."""
    return literal(reason.value, Text)


def consents_to(
    customer_id: ColumnElement[int], kind: str, purpose: str, at: Moment, *, opt_in: bool = False
) -> ColumnElement[bool]:
    """The latest consent up to `at` permits. Marketing needs a yes, as everything does with `opt_in`; a
    transactional message only no no."""
    purpose = "transactional" if purpose == CONFIRMATION else purpose
    latest = (
        select(consents.c.granted)
        .where(
            consents.c.customer_id == customer_id,
            consents.c.kind == kind,
            consents.c.purpose == purpose,
            consents.c.recorded_at <= at,
        )
        .order_by(consents.c.recorded_at.desc(), consents.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return func.coalesce(latest, true() if purpose == "transactional" and not opt_in else false())


def waits_for_letter(customer_id: ColumnElement[int], kind: str, at: Moment) -> ColumnElement[bool]:
    """The latest word on marketing up to `at` is a yes to be confirmed, no letter about it went out, or was
    refused lately for its address, and the address has not got as many as it may."""
    word, letter = consents.alias("word"), messages.alias("letter")
    asked_at = (
        select(case((word.c.pending, word.c.recorded_at), else_=null()))
        .where(
            word.c.customer_id == customer_id,
            word.c.kind == kind,
            word.c.purpose == "marketing",
            word.c.recorded_at <= at,
        )
        .order_by(word.c.recorded_at.desc(), word.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    lettered_at = (
        select(func.coalesce(func.max(letter.c.sent_at), -1))
        .where(
            letter.c.customer_id == customer_id,
            letter.c.sent_at.is_not(None),
            letter.c.sent_at <= at,
            letter.c.kind == kind,
            letter.c.purpose == CONFIRMATION,
        )
        .scalar_subquery()
    )
    refused = messages.alias("refused")
    at_ = literal(at, UtcTime) if isinstance(at, datetime) else at
    was_refused = exists().where(
        refused.c.customer_id == customer_id,
        # Written out, not bound: only then can the planner use the partial index.
        refused.c.state == literal_column("'rejected'"),
        refused.c.purpose == literal_column(f"'{CONFIRMATION}'"),
        refused.c.settled_at > at_ - literal(_REFUSED_FOR, BigInteger),
        refused.c.settled_at >= asked_at,
        refused.c.reason.in_([reason.value for reason in _OF_THE_ADDRESS]),
        refused.c.kind == kind,
    )
    is_spared = over_cap(customer_id, _MOST_LETTERS, at, purpose=CONFIRMATION)
    return and_(func.coalesce(asked_at > lettered_at, false()), not_(was_refused), not_(is_spared))


def between(customer_id: ColumnElement[int], low: int, high: int) -> ColumnElement[bool]:
    """A customer of the slice, `low` < id <= `high`."""
    # Written out: the same statement slice after slice is prepared, and then planned for bounds not known.
    least, most = (bindparam(None, value, BigInteger, literal_execute=True) for value in (low, high))
    return and_(customer_id > least, customer_id <= most)


def join_contact(
    source: FromClause,
    customer_id: ColumnElement[int],
    routes: Sequence[Route],
    purpose: str,
    at: Moment,
    slice_: tuple[int, int] | None = None,
) -> tuple[FromClause, dict[str, ColumnElement[str]]]:
    """The source joined to addresses and suppressions; for each kind why it cannot be used (NULL: can).

    `slice_`: the customers are between these; so no more addresses are read.
    """
    problems: dict[str, ColumnElement[str]] = {}
    strict = {route.kind for route in routes if route.opt_in}
    for number, kind in enumerate(dict.fromkeys(route.kind for route in routes)):
        address = addresses.alias(f"address_{number}")
        suppression = suppressions.alias(f"suppression_{number}")
        theirs = [address.c.customer_id == customer_id, address.c.kind == kind]
        if slice_ is not None:
            theirs.append(between(address.c.customer_id, *slice_))
        source = source.outerjoin(address, and_(*theirs)).outerjoin(
            suppression,
            and_(
                suppression.c.kind == kind,
                suppression.c.address_key == address.c.address_key,
                suppression.c.created_at <= at,
            ),
        )
        problems[kind] = case(
            (address.c.address.is_(None), because(Reason.UNREACHABLE)),
            (
                consents_to(customer_id, kind, purpose, at, opt_in=kind in strict).is_(False),
                because(Reason.NO_CONSENT),
            ),
            (suppression.c.address_key.is_not(None), because(Reason.SUPPRESSED)),
            *(
                [(not_(waits_for_letter(customer_id, kind, at)), because(Reason.NOTHING_TO_CONFIRM))]
                if purpose == CONFIRMATION
                else []
            ),
            else_=null(),
        )
    return source, problems


Picks = Sequence[tuple[ColumnElement[bool], Route]]
"""Each route with whether it is the one to take, if none before it is."""


def picks(
    routes: Sequence[Route],
    usable: Sequence[ColumnElement[bool]],
    ranks: Mapping[str, ColumnElement[int]] | None = None,
) -> Picks:
    """Which of the routes is taken: of those that are usable the one whose kind ranks highest, the first of
    equals. Without ranks the first."""
    if not ranks:
        return list(zip(usable, routes, strict=True))
    found = []
    for place, route in enumerate(routes):
        mine = ranks[route.kind]
        beats_earlier = (or_(not_(usable[i]), mine > ranks[routes[i].kind]) for i in range(place))
        later = range(place + 1, len(routes))
        beats_later = (or_(not_(usable[i]), mine >= ranks[routes[i].kind]) for i in later)
        found.append((and_(usable[place], *beats_earlier, *beats_later), route))
    return found


def taken(chosen: Picks, give: str) -> ColumnElement[str]:
    """The `channel` or `kind` of the route that is taken; NULL when none can be."""
    return case(*((picked, literal(getattr(route, give))) for picked, route in chosen), else_=null())


def why_none(routes: Sequence[Route], problems: dict[str, ColumnElement[str]]) -> ColumnElement[str]:
    """Why no route can be used, the nearest miss first; NULL when one can."""
    distinct = [problems[kind] for kind in dict.fromkeys(route.kind for route in routes)]
    nearest = (Reason.NOTHING_TO_CONFIRM, Reason.SUPPRESSED, Reason.NO_CONSENT)
    return case(
        (or_(*(problem.is_(None) for problem in distinct)), null()),
        *((or_(*(problem == reason.value for problem in distinct)), because(reason)) for reason in nearest),
        else_=because(Reason.UNREACHABLE),
    )


def kept_back(
    customer_id: ColumnElement[int], purpose: str, topic: str | None, at: Moment
) -> ColumnElement[Any]:
    """Why the customer gets no marketing of the topic at this moment, however they may be reached; NULL:
    nothing keeps it back. An open complaint goes before what they asked for, and of that what lasts longest.
    """
    if purpose != "marketing":
        return null()
    them = customers.alias("resting")
    reasons = [(exists().where(them.c.id == customer_id, them.c.paused_until > at), because(Reason.PAUSED))]
    if topic is not None:
        refused = topic_refusals.alias("refused")
        refuses = exists().where(refused.c.customer_id == customer_id, refused.c.topic == topic)
        reasons.insert(0, (refuses, because(Reason.TOPIC_REFUSED)))
    return case((has_open_case(customer_id), because(Reason.OPEN_COMPLAINT)), *reasons, else_=null())


def why_suppressed(connection: Connection, kind: str, address_key: str) -> str | None:
    """Why nothing may go to the address: `bounced`, `complained`; None: it may."""
    of_this = (suppressions.c.kind == kind, suppressions.c.address_key == address_key)
    return connection.scalar(select(suppressions.c.reason).where(*of_this))


def over_cap(
    customer_id: ColumnElement[int],
    cap: Cap | None,
    at: Moment,
    before_attempt: ColumnElement[int] | None = None,
    purpose: str = "marketing",
) -> ColumnElement[bool]:
    """The customer already got the cap's number of messages, taken or in doubt, in its window; by calls
    before that attempt, if given.

    Of marketing messages; of letters that ask for a consent, whoever has the customer's address got them:
    many customers with one address must not be many letters to a stranger.
    """
    if cap is None:
        return false()
    sent = messages.alias("sent")
    who = sent.c.customer_id == customer_id
    if purpose == CONFIRMATION:
        theirs, same = addresses.alias("theirs"), addresses.alias("same")
        sharing = (
            select(same.c.customer_id)
            .join(theirs, and_(theirs.c.kind == same.c.kind, theirs.c.address_key == same.c.address_key))
            .where(theirs.c.customer_id == customer_id, same.c.kind == sent.c.kind)
            # Said, because by itself SQLAlchemy looks no further than the statement around it.
            .correlate_except(same, theirs)
        )
        who = sent.c.customer_id.in_(sharing)
    per = literal(int(cap.per.total_seconds() * 1_000_000), BigInteger)
    at = literal(at, UtcTime) if isinstance(at, datetime) else at
    count = (
        select(func.count())
        .select_from(sent)
        .where(
            who,
            sent.c.sent_at > at - per,
            sent.c.purpose == purpose,
            sent.c.state.in_(("sending", "accepted", "in_doubt")),
            *([] if before_attempt is None else [func.coalesce(sent.c.attempt_id, 0) < before_attempt]),
        )
        .scalar_subquery()
    )
    return count >= cap.messages
