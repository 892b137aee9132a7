"""Erasing: who asked for it, and what is left of a customer who was."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from holdfast.tables import customers, erasures
from holdfast.tokens import erasure_mark


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
