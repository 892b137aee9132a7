"""Erasing: who asked for it, carrying it out, and keeping out whoever was erased.

A customer is erased in one transaction. What is left has no name, address or word of theirs; amounts and
times stay, because results rest on them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Table,
    Text,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    union,
    update,
)

from holdfast.audience.reasons import Reason
from holdfast.store.cases import BY_ITSELF
from holdfast.store.casework import close, latest_case
from holdfast.store.database import Database
from holdfast.store.holdings import HOLDINGS, messages_of
from holdfast.store.staging import one_import_at_a_time, stage, staging_table
from holdfast.tables import HAS_BODY, addresses, customers, erasures, inbox, messages, responses
from holdfast.tokens import erasure_mark

# Shorter ones, as numbers of chats are, stand in the letters of others too.
_SHORTEST_NEEDLE = 7
_IS_DONE = erasures.c.erased_at.is_not(None)
_named = staging_table("named_customers", Column("external_id", Text, primary_key=True), Column("mark", Text))


class Request(NamedTuple):
    """Somebody who is to be erased: who it is, by whose word, and since when."""

    customer_id: int
    external_id: str
    asked_by: str
    asked_at: datetime


# --- the wish -------------------------------------------------------------------------------------


def asked_at(connection: Connection, customer_id: int) -> datetime | None:
    """When it was asked that the customer be erased; None: it was not."""
    return connection.scalar(select(erasures.c.asked_at).where(erasures.c.customer_id == customer_id))


def ask(connection: Connection, customer_id: int, secret: bytes, asked_by: str, now: datetime) -> None:
    """Notes that the customer is to be erased. Asked again, the first time stands.

    Needs the project's lock.
    """
    if asked_at(connection, customer_id) is not None:
        return
    external_id = connection.scalars(
        select(customers.c.external_id).where(customers.c.id == customer_id)
    ).one()
    connection.execute(
        insert(erasures).values(
            customer_id=customer_id,
            mark=erasure_mark(secret, external_id),
            asked_by=asked_by,
            asked_at=now,
        )
    )


def take_back(connection: Connection, customer_id: int) -> bool:
    """The customer is not to be erased after all; whether they were to be. What is done is done."""
    waits = erasures.c.customer_id == customer_id, erasures.c.erased_at.is_(None)
    return connection.execute(delete(erasures).where(*waits)).rowcount > 0


def waiting(connection: Connection, asked_until: datetime | None = None) -> list[Request]:
    """Who waits to be erased, and asked up to a moment, if one is given; the oldest wish first."""
    e = erasures.c
    statement = (
        select(e.customer_id, customers.c.external_id, e.asked_by, e.asked_at)
        .join(customers, customers.c.id == e.customer_id)
        .where(e.erased_at.is_(None))
        .order_by(e.asked_at, e.customer_id)
    )
    if asked_until is not None:
        statement = statement.where(e.asked_at <= asked_until)
    return [Request(*row) for row in connection.execute(statement)]


# --- carrying it out ------------------------------------------------------------------------------


Ended = Literal["done", "put_off", "dropped"]
"""How it ended: `put_off`, one of their messages is with a provider at this moment; `dropped`, nobody asks
for it (any more)."""


def erase(database: Database, customer_id: int, now: datetime) -> Ended:
    """Erases the customer, for whom somebody asked.

    Answers that name an address of theirs are looked for before the transaction: the inbox is large.
    """
    with database.read() as connection:
        letters = _letters_with(connection, database, _needles(connection, customer_id))
    with database.write(exclusive=True) as connection:
        if database.is_sqlite:
            # What is deleted is overwritten in the file.
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        # An import that is under way would write down once more whoever it has just looked up.
        one_import_at_a_time(connection)
        waits = erasures.c.customer_id == customer_id, erasures.c.erased_at.is_(None)
        if not connection.scalar(select(exists().where(*waits))):
            return "dropped"
        of_them = messages.c.id.in_(messages_of(customer_id))
        if connection.scalar(select(exists().where(of_them, messages.c.state == "sending"))):
            return "put_off"
        connection.execute(
            update(messages)
            .where(of_them, messages.c.state.in_(("planned", "leased")))
            .values(state="skipped", reason=Reason.ERASED.value, lease_owner=None, lease_expires_at=None)
        )
        _empty_letters(connection, database, [*letters, *_letters_of(connection, customer_id)])
        open_case = latest_case(connection, customer_id)
        if open_case is not None and open_case.closed_at is None:
            # Nobody is left whom to answer.
            close(connection, open_case.id, BY_ITSELF, "", now)
        for holding in HOLDINGS:
            if holding.gone:
                connection.execute(delete(holding.table).where(holding.theirs(customer_id)))
            elif holding.emptied:
                connection.execute(
                    update(holding.table).where(holding.theirs(customer_id)).values(dict(holding.emptied))
                )
        connection.execute(
            update(erasures).where(erasures.c.customer_id == customer_id).values(erased_at=now)
        )
    return "done"


def _needles(connection: Connection, customer_id: int) -> set[bytes]:
    """The customer's addresses as the bodies of providers spell them."""
    a = addresses.c
    rows = connection.execute(select(a.address, a.address_key).where(a.customer_id == customer_id))
    spelled = {text for row in rows for address in row for text in (address, quote(address, safe=""))}
    return {text.encode() for text in spelled if len(text) >= _SHORTEST_NEEDLE}


def _letters_with(connection: Connection, database: Database, needles: Collection[bytes]) -> list[int]:
    """The letters that were handled and hold one of these."""
    if not needles:
        return []

    def holds(needle: bytes) -> ColumnElement[bool]:
        given: ColumnElement[Any] = literal(needle, LargeBinary)
        if database.is_sqlite:
            return func.instr(inbox.c.body, given) > 0
        return func.position(given.op("IN")(inbox.c.body)) > 0

    return [
        *connection.scalars(
            select(inbox.c.id).where(
                inbox.c.handled_at.is_not(None), HAS_BODY, or_(*map(holds, sorted(needles)))
            )
        )
    ]


def _letters_of(connection: Connection, customer_id: int) -> list[int]:
    [holding] = (one for one in HOLDINGS if one.table is responses)
    letter = responses.c.inbox_id
    return [
        id_
        for id_ in connection.scalars(select(letter).where(holding.theirs(customer_id)))
        if id_ is not None
    ]


def _empty_letters(connection: Connection, database: Database, ids: Collection[int]) -> None:
    """The digest stays: a provider that repeats them is recognised."""
    if ids:
        given = database.among(sorted(set(ids)))
        connection.execute(update(inbox).where(inbox.c.id.in_(given)).values(body=b""))


# --- keeping out ----------------------------------------------------------------------------------


def anybody_erased(connection: Connection) -> bool:
    """Whether anybody was erased: where nobody was, there is nothing to look for."""
    return bool(connection.scalar(select(exists().where(_IS_DONE))))


def erased_among(connection: Connection, secret: bytes, external_ids: Collection[str]) -> set[str]:
    """Which of these name customers who were erased, by their own name or by what stands in its place."""
    if not external_ids or not anybody_erased(connection):
        return set()
    stage(connection, _named, [(id_, erasure_mark(secret, id_)) for id_ in {*external_ids}])
    by_mark = select(_named.c.external_id).join(erasures, erasures.c.mark == _named.c.mark)
    by_name = (
        select(_named.c.external_id)
        .join(customers, customers.c.external_id == _named.c.external_id)
        .join(erasures, erasures.c.customer_id == customers.c.id)
    )
    return {*connection.scalars(union(by_mark.where(_IS_DONE), by_name.where(_IS_DONE)))}


def forget_said(connection: Connection, given: Table) -> None:
    """Of answers on their way in (customer_id, text, url, inbox_id): those of customers who were erased keep
    neither words nor their letter. Needs the project's lock."""
    if not anybody_erased(connection):
        return
    theirs = given.c.customer_id.in_(select(erasures.c.customer_id).where(_IS_DONE))
    letters = select(given.c.inbox_id).where(theirs)
    connection.execute(update(inbox).where(inbox.c.id.in_(letters)).values(body=b""))
    connection.execute(update(given).where(theirs).values(text=None, url=None))
