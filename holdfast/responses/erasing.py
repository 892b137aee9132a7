"""Erasing customers, and exporting what we have of them, on an operator's word or a customer's."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from holdfast.delivery import Workspace
from holdfast.errors import RunError, StoreError
from holdfast.store import erasing
from holdfast.store.counting import find_customer
from holdfast.store.erasing import Request
from holdfast.store.holdings import HOLDINGS


class Erased(NamedTuple):
    """How many customers were erased; `put_off` have a message with a provider just now, and come next."""

    done: int = 0
    put_off: int = 0


def waiting_to_be_erased(ws: Workspace) -> list[Request]:
    """Who is to be erased, the oldest wish first."""
    with ws.database.read() as connection:
        return erasing.waiting(connection)


def erase_waiting(ws: Workspace, now: datetime, asked_until: datetime | None = None) -> Erased:
    """Erases all who wait for it, or who asked up to a moment, one after the other."""
    with ws.database.read() as connection:
        requests = erasing.waiting(connection, asked_until)
    ended = Counter(erasing.erase(ws.database, request.customer_id, now) for request in requests)
    return Erased(ended["done"], ended["put_off"])


def require_customer(ws: Workspace, external_id: str) -> None:
    """Raises StoreError where there is no customer of this id."""
    with ws.database.read() as connection:
        _customer(connection, external_id)


def erase_customer(ws: Workspace, external_id: str, asked_by: str, now: datetime) -> Erased:
    """Erases one customer. Raises StoreError where there is none of this id."""
    with ws.database.write(exclusive=True) as connection:
        customer_id = _customer(connection, external_id)
        erasing.ask(connection, customer_id, ws.secret, asked_by, now)
    ended = erasing.erase(ws.database, customer_id, now)
    return Erased(int(ended == "done"), int(ended == "put_off"))


def keep_customer(ws: Workspace, external_id: str) -> None:
    """The customer is not to be erased after all. Raises RunError where nobody asked for it."""
    with ws.database.write(exclusive=True) as connection:
        if not erasing.take_back(connection, _customer(connection, external_id)):
            raise RunError(
                "nobody asked that this customer be erased", hint="see: holdfast erase --requested"
            )


def export_customer(ws: Workspace, external_id: str, now: datetime) -> dict[str, Any]:
    """All that we have of a customer, by table. Raises StoreError where there is none of this id."""
    with ws.database.read() as connection:
        customer_id = _customer(connection, external_id)
        tables = {
            holding.table.name: [
                {name: _plain(value) for name, value in row.items()}
                for row in connection.execute(
                    select(holding.table).where(holding.theirs(customer_id))
                ).mappings()
            ]
            for holding in HOLDINGS
        }
    return {"customer_id": external_id, "exported_at": now.isoformat(), **tables}


def _customer(connection: Connection, external_id: str) -> int:
    customer_id = find_customer(connection, external_id)
    if customer_id is None:
        raise StoreError("there is no customer of this id", hint="it is the `customer_id` of the import")
    return customer_id


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value
