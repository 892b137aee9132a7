"""What customers ask for themselves: which topics they want nothing of, a rest, and a language."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from holdfast.tables import customers, topic_refusals


class Wishes(NamedTuple):
    """What a customer asked for. `paused_until` may be over by now."""

    refused: frozenset[str]
    paused_until: datetime | None
    chosen_locale: str | None


def wishes_of(connection: Connection, customer_id: int) -> Wishes:
    """What the customer asked for so far."""
    c = customers.c
    paused_until, chosen = connection.execute(
        select(c.paused_until, c.chosen_locale).where(c.id == customer_id)
    ).one()
    refused = connection.scalars(
        select(topic_refusals.c.topic).where(topic_refusals.c.customer_id == customer_id)
    )
    return Wishes(frozenset(refused), paused_until, chosen)


def choose_topics(
    connection: Connection, customer_id: int, wanted: Collection[str], refused: Collection[str], now: datetime
) -> None:
    """The customer wants these topics, and refuses those; what is said of no topic stays as it is."""
    t = topic_refusals.c
    if wanted:
        connection.execute(
            delete(topic_refusals).where(t.customer_id == customer_id, t.topic.in_(sorted(wanted)))
        )
    before = wishes_of(connection, customer_id).refused
    if new := sorted({*refused} - before):
        rows = [{"customer_id": customer_id, "topic": topic, "refused_at": now} for topic in new]
        connection.execute(insert(topic_refusals), rows)


def pause(connection: Connection, customer_id: int, until: datetime | None) -> None:
    """The customer gets no marketing up to this moment; None: the rest is over."""
    connection.execute(update(customers).where(customers.c.id == customer_id).values(paused_until=until))


def choose_locale(connection: Connection, customer_id: int, locale: str) -> None:
    """The customer reads this language from now on, whatever imports say."""
    chosen = {"locale": locale, "chosen_locale": locale}
    connection.execute(update(customers).where(customers.c.id == customer_id).values(chosen))
