"""Whom a message was for, and the consents to marketing that change by what they answer.

Consents are only ever added to. A row counts from the moment that the customer spoke (`recorded_at`), not
from when we heard of it, so that the customer's latest word wins in whatever order answers come.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Text,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
)

from holdfast.tables import addresses, consents, customers, erasures, messages

_MARKETING = "marketing"
# What a resubscription gives back has this in its evidence.
_RESUBSCRIBED = "%: resubscribed%"


class Recipient(NamedTuple):
    """The customer of a message, with the message's channel and kind. `erased`: nobody, by now."""

    customer_id: int
    channel: str
    kind: str
    locale: str | None
    timezone: str | None
    country: str | None
    erased: bool


def recipient(connection: Connection, message_id: int) -> Recipient | None:
    """Whom the message was for; None: there is no such message."""
    row = connection.execute(
        select(
            messages.c.customer_id,
            messages.c.channel,
            messages.c.kind,
            customers.c.locale,
            customers.c.timezone,
            customers.c.country,
            erasures.c.erased_at.is_not(None),
        )
        .join(customers, customers.c.id == messages.c.customer_id)
        .outerjoin(erasures, erasures.c.customer_id == customers.c.id)
        .where(messages.c.id == message_id)
    ).one_or_none()
    return Recipient(*row) if row else None


def reachable_kinds(connection: Connection, customer_id: int) -> list[str]:
    """The kinds that the customer has an address of."""
    return list(connection.scalars(select(addresses.c.kind).where(addresses.c.customer_id == customer_id)))


class Word(NamedTuple):
    """A customer's latest word on marketing by a kind. `pending`: a yes that counts once it is confirmed."""

    granted: bool
    pending: bool
    evidence: str
    recorded_at: datetime


def latest_words(connection: Connection, customer_id: int) -> dict[str, Word]:
    """The customer's latest word on marketing, by kind."""
    columns = [consents.c[name] for name in Word._fields]
    rows = connection.execute(
        select(consents.c.kind, *columns)
        .where(consents.c.customer_id == customer_id, consents.c.purpose == _MARKETING)
        .order_by(consents.c.recorded_at, consents.c.id)
    )
    return {kind: Word(*said) for kind, *said in rows}


def record(
    connection: Connection,
    customer_id: int,
    choices: Mapping[str, bool],
    evidence: str,
    now: datetime,
    to_confirm: Collection[str] = (),
) -> None:
    """Writes what the customer chose, by kind, where it is not what was in force; a yes to one of the kinds
    `to_confirm` is pending.

    A no is written beside a no of other evidence, too: what takes that one back says nothing about this.
    """
    before = latest_words(connection, customer_id)

    def is_new(kind: str, granted: bool) -> bool:
        was = before.get(kind)
        if was is None or was.pending:
            return was is None or not granted
        return was.granted is not granted or not (granted or was.evidence == evidence)

    rows = [
        {
            "customer_id": customer_id,
            "kind": kind,
            "purpose": _MARKETING,
            "granted": granted and kind not in to_confirm,
            "pending": granted and kind in to_confirm,
            "evidence": evidence,
            "recorded_at": now,
        }
        for kind, granted in choices.items()
        if is_new(kind, granted)
    ]
    if rows:
        connection.execute(insert(consents), rows)


def withdraw(connection: Connection, answers: FromClause) -> None:
    """A no for each answer that withdraws, unless a no was said at that very moment; for a complaint always.

    Where another no is in force as well: what took it back may still be on its way to us.
    `answers` has customer_id, contact_kind, kind, channel, message_id and occurred_at.
    """
    said_now = _in_force(
        answers,
        and_(consents.c.recorded_at == answers.c.occurred_at, ~consents.c.granted, ~consents.c.pending),
    )
    is_news = or_(answers.c.kind == "complained", func.coalesce(~said_now, true()))
    _add(connection, answers, false(), is_news)
    _end_what_was_given_back(connection, answers)


def _end_what_was_given_back(connection: Connection, answers: FromClause) -> None:
    """A no at the moment of each resubscription that was given after such an answer, was heard of before it,
    and does not take it back: unless the customer said yes in between."""
    given_back, of_its_own = consents.alias("given_back"), consents.alias("of_its_own")

    def said_yes(words: FromClause) -> ColumnElement[bool]:
        return and_(
            words.c.customer_id == answers.c.customer_id,
            words.c.kind == answers.c.contact_kind,
            words.c.purpose == _MARKETING,
            words.c.granted,
        )

    takes_it_back = _evidence(answers.c.channel, "resubscribed")
    yes_in_between = exists().where(
        said_yes(of_its_own),
        ~of_its_own.c.evidence.like(_RESUBSCRIBED),
        of_its_own.c.recorded_at > answers.c.occurred_at,
        of_its_own.c.recorded_at <= given_back.c.recorded_at,
    )
    late = (
        select(
            *(column for column in answers.c if column.name != "occurred_at"),
            given_back.c.recorded_at.label("occurred_at"),
        )
        .join_from(answers, given_back, said_yes(given_back))
        .where(
            given_back.c.evidence.like(_RESUBSCRIBED),
            given_back.c.recorded_at >= answers.c.occurred_at,
            or_(
                answers.c.kind != "unsubscribed",
                func.substr(given_back.c.evidence, 1, func.length(takes_it_back)) != takes_it_back,
            ),
            ~yes_in_between,
        )
    )
    _add(connection, late.subquery("late"), false(), true())


def restore(connection: Connection, answers: FromClause) -> None:
    """A yes for each answer that takes back what was withdrawn through the same channel, and nothing else:
    where there would be a yes without that."""
    withdrawn_there = _evidence(answers.c.channel, "unsubscribed")
    taken_away = func.substr(consents.c.evidence, 1, func.length(withdrawn_there)) == withdrawn_there
    otherwise = _in_force(answers, consents.c.granted, ~taken_away)
    _add(connection, answers, true(), and_(_in_force(answers, taken_away), otherwise))


def _in_force(
    answers: FromClause, what: ColumnElement[Any], *among: ColumnElement[bool]
) -> ColumnElement[Any]:
    """What the customer's consent says that was in force when the answer was given; of those `among` all."""
    return (
        select(what)
        .where(
            consents.c.customer_id == answers.c.customer_id,
            consents.c.kind == answers.c.contact_kind,
            consents.c.purpose == _MARKETING,
            consents.c.recorded_at <= answers.c.occurred_at,
            *among,
        )
        .order_by(consents.c.recorded_at.desc(), consents.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _evidence(channel: ColumnElement[str], kind: ColumnElement[str] | str) -> ColumnElement[str]:
    return case((channel == "", "link"), else_=channel) + ": " + kind


def _add(
    connection: Connection, answers: FromClause, granted: ColumnElement[bool], when: ColumnElement[bool]
) -> None:
    about = func.coalesce(literal(", message ") + cast(answers.c.message_id, Text), "")
    connection.execute(
        insert(consents).from_select(
            ["customer_id", "kind", "purpose", "granted", "evidence", "recorded_at"],
            select(
                answers.c.customer_id,
                answers.c.contact_kind,
                literal(_MARKETING),
                granted,
                _evidence(answers.c.channel, answers.c.kind) + about,
                answers.c.occurred_at,
            )
            .where(answers.c.customer_id.is_not(None), when)
            .order_by(answers.c.occurred_at),
        )
    )
