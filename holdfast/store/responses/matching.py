"""Whose answer it is: the message, customer and post of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Subquery,
    Table,
    and_,
    case,
    cast,
    func,
    null,
    or_,
    select,
    union_all,
    update,
)

from holdfast.channel import ResponseKind
from holdfast.store.ledger import UNSETTLED
from holdfast.store.responses.given import Given, staged
from holdfast.tables import addresses, messages, posts

# In microseconds, as the database counts. Many providers give whole seconds, so that an answer can seem to
# come before the message.
_ROUNDING = 1_000_000


def match(connection: Connection, given: Sequence[Given]) -> None:
    """Finds message, customer and post of each answer, and what the message knew: NULL what there is not."""
    if any(answer.provider_id for answer in given):
        _match_by_provider(connection)
    if any(answer.address_key and answer.message_id is None for answer in given):
        _match_by_address(connection)
    connection.execute(
        update(staged)
        .where(messages.c.id == staged.c.message_id)
        .values(
            customer_id=messages.c.customer_id,
            contact_kind=messages.c.kind,
            unsettled=messages.c.state.in_(UNSETTLED),
            clicked=or_(messages.c.clicked_at.is_not(None), messages.c.machine_clicked_at.is_not(None)),
        )
    )
    # A message that is not there (any more): there is nobody whom the answer could be of.
    connection.execute(
        update(staged)
        .where(staged.c.message_id.is_not(None), staged.c.customer_id.is_(None))
        .values(message_id=None, address_key=None, proof=False)
    )


def _match_by_provider(connection: Connection) -> None:
    def only(table: Table) -> ColumnElement[int | None]:
        # Some providers name the call, not the message: then many have the name, and it says nothing.
        return (
            select(case((func.count() == 1, func.min(table.c.id)), else_=null()))
            .where(table.c.channel == staged.c.channel, table.c.provider_id == staged.c.provider_id)
            .scalar_subquery()
        )

    unmatched = staged.c.message_id.is_(None), staged.c.provider_id.is_not(None)
    connection.execute(
        update(staged).where(*unmatched).values(message_id=only(messages), post_id=only(posts))
    )
    connection.execute(update(staged).where(*unmatched, staged.c.message_id.is_not(None)).values(proof=True))


def _match_by_address(connection: Connection) -> None:
    """The latest message that went to the address by the channel before the answer; else who has it."""
    of_address = and_(
        addresses.c.kind == staged.c.contact_kind, addresses.c.address_key == staged.c.address_key
    )
    latest = (
        select(messages.c.id)
        .join(addresses, addresses.c.customer_id == messages.c.customer_id)
        .where(
            of_address,
            messages.c.channel == staged.c.channel,
            messages.c.sent_at <= staged.c.occurred_at + _ROUNDING,
        )
        .order_by(messages.c.sent_at.desc(), messages.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    owner = select(func.min(addresses.c.customer_id)).where(of_address).scalar_subquery()
    in_public = staged.c.kind == ResponseKind.MENTIONED.value
    connection.execute(
        update(staged)
        .where(staged.c.message_id.is_(None), staged.c.address_key.is_not(None))
        .values(message_id=case((in_public, null()), else_=latest), customer_id=owner)
    )


def answers_of_kinds(*kinds: ResponseKind) -> Subquery:
    """The answers of these kinds, by everybody who says so: who has only an address to be known by speaks for
    all customers who have it, or would be written to by another's name."""
    of_kind = staged.c.kind.in_([kind.value for kind in kinds])
    same = and_(addresses.c.kind == staged.c.contact_kind, addresses.c.address_key == staged.c.address_key)
    others: dict[str, ColumnElement[Any]] = {
        "customer_id": addresses.c.customer_id,
        "message_id": cast(null(), BigInteger),
    }
    of_others = (
        select(*(others.get(column.name, column).label(column.name) for column in staged.c))
        .join_from(staged, addresses, same)
        .where(of_kind, ~staged.c.proof, addresses.c.customer_id != staged.c.customer_id)
    )
    return union_all(select(staged).where(of_kind), of_others).subquery("answers")
