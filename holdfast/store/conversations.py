"""What was said between customers and us, read from responses, messages and the entries of cases.

Nothing is kept twice: a conversation is what the ledger has of a customer, in the order of time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    func,
    or_,
    select,
)

from holdfast.store.cases import is_said
from holdfast.tables import case_entries, customers, messages, posts, responses, runs

IN_WORDS = ("replied", "mentioned")
Side = Literal["customer", "us"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that was said or done.

    `what` is a kind of response (`replied`), `sent` for a message of ours, or what was done about a case
    (`noted`). `who` of us did it; None: the customer, or a campaign. `step` is of the campaign whose message,
    or post, it is or answers. `case_id` is the case that it belongs to.
    """

    at: datetime
    side: Side
    what: str
    channel: str | None = None
    text: str | None = None
    survey: str | None = None
    score: int | None = None
    campaign: str | None = None
    step: str | None = None
    who: str | None = None
    case_id: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one customer said by one channel; no customer: somebody whom we do not know, each by themselves.

    `last` are the last words, `cases` the cases that any of it belongs to.
    """

    customer_id: str | None
    channel: str
    said: int
    first_at: datetime
    last_at: datetime
    last: str | None
    cases: tuple[int, ...]


def list_conversations(connection: Connection, most: int) -> list[Conversation]:
    """The conversations that were gone on with lately, the latest first."""
    r = responses.c
    # Strangers are not one person.
    who = func.coalesce(r.customer_id, -r.id)
    in_words = and_(is_said(r.kind), r.kind.in_(IN_WORDS), r.machine.is_(None))
    latest = (
        select(
            who.label("who"),
            r.channel,
            func.count().label("said"),
            func.min(r.occurred_at).label("first_at"),
            func.max(r.occurred_at).label("last_at"),
        )
        .where(in_words)
        .group_by(who, r.channel)
        .order_by(func.max(r.occurred_at).desc(), who, r.channel)
        .limit(most)
        .subquery("latest")
    )
    of_it = and_(
        or_(r.customer_id == latest.c.who, and_(r.customer_id.is_(None), r.id == -latest.c.who)),
        r.channel == latest.c.channel,
        in_words,
    )
    rows = connection.execute(
        select(latest, customers.c.external_id, r.text, r.case_id)
        .join_from(latest, responses, of_it)
        .outerjoin(customers, customers.c.id == r.customer_id)
        .order_by(latest.c.last_at.desc(), latest.c.who, latest.c.channel, r.occurred_at, r.id)
    )
    found: dict[tuple[int, str], Conversation] = {}
    for who_, channel, said, first_at, last_at, customer_id, text, case_id in rows:
        before = found.get((who_, channel))
        known = before.cases if before else ()
        cases_ = known if case_id is None or case_id in known else (*known, case_id)
        found[who_, channel] = Conversation(customer_id, channel, said, first_at, last_at, text, cases_)
    return list(found.values())


def turns(
    connection: Connection, customer_id: int | None, case_id: int | None, since: datetime, until: datetime
) -> list[Turn]:
    """What was said and done in this time, the earliest first; all that belongs to the case, whenever."""
    found: list[Turn] = []
    if customer_id is not None:
        in_time = (responses.c.occurred_at >= since, responses.c.occurred_at <= until)
        found += _said(connection, and_(responses.c.customer_id == customer_id, *in_time))
        found += _sent(connection, customer_id, since, until)
    if case_id is not None:
        said_at = responses.c.occurred_at
        elsewhen = or_(responses.c.customer_id.is_(None), said_at < since, said_at > until)
        found += _said(connection, and_(responses.c.case_id == case_id, elsewhen))
        found += _done(connection, case_id)
    return sorted(found, key=lambda turn: turn.at)


def _said(connection: Connection, which: ColumnElement[bool]) -> Iterable[Turn]:
    r = responses.c
    run_id = func.coalesce(messages.c.run_id, posts.c.run_id)
    statement = (
        select(
            r.occurred_at,
            r.kind,
            r.channel,
            r.text,
            r.survey,
            r.score,
            runs.c.campaign,
            func.coalesce(messages.c.step, posts.c.step),
            r.case_id,
        )
        .select_from(
            responses.outerjoin(messages, messages.c.id == r.message_id)
            .outerjoin(posts, posts.c.id == r.post_id)
            .outerjoin(runs, runs.c.id == run_id)
        )
        .where(is_said(r.kind), r.machine.is_(None), which)
        .order_by(r.occurred_at, r.id)
    )
    for at, kind, channel, text, survey, score, campaign, step, case_id in connection.execute(statement):
        yield Turn(at, "customer", kind, channel, text, survey, score, campaign, step, None, case_id)


def _sent(connection: Connection, customer_id: int, since: datetime, until: datetime) -> Iterable[Turn]:
    m = messages.c
    statement = (
        select(m.sent_at, m.channel, runs.c.campaign, m.step)
        .join(runs, runs.c.id == m.run_id)
        .where(m.customer_id == customer_id, m.sent_at.is_not(None), m.sent_at >= since, m.sent_at <= until)
        .order_by(m.sent_at, m.id)
    )
    for at, channel, campaign, step in connection.execute(statement):
        yield Turn(at, "us", "sent", channel, campaign=campaign, step=step)


def _done(connection: Connection, case_id: int) -> Iterable[Turn]:
    e = case_entries.c
    statement = select(e.at, e.what, e.text, e.who).where(e.case_id == case_id).order_by(e.id)
    for at, what, text, who in connection.execute(statement):
        yield Turn(at, "us", what, text=text or None, who=who, case_id=case_id)
