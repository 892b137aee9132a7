"""What customers did, from files: orders, their lines, and events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Integer, Select, Table, Text, delete, func, or_, select, update

from holdfast.store.imports.rows import REJECT_COLUMNS, Header, Row, Written
from holdfast.store.imports.values import Conventions, Rejected, count, identifier, scalar, to_json, words
from holdfast.store.profiles import extend_profiles, refresh_profiles
from holdfast.store.staging import stage, staging_table, upsert
from holdfast.tables import customers, events, order_lines, orders

ORDER_COLUMNS = ("order_id", "customer_id", "ordered_at", "total", "currency", "status")
LINE_COLUMNS = ("order_id", "sku", "name", "category", "quantity", "unit_price")
EVENT_COLUMNS = ("event_id", "customer_id", "event", "occurred_at")

# Shops' words for how far an order came. Cancelled, refunded and test orders count nowhere.
STATUSES = {
    "pending": "pending",
    "open": "pending",
    "new": "pending",
    "on_hold": "pending",
    "processing": "pending",
    "authorized": "pending",
    "completed": "completed",
    "complete": "completed",
    "paid": "completed",
    "confirmed": "completed",
    "shipped": "completed",
    "sent": "completed",
    "delivered": "completed",
    "fulfilled": "completed",
    "closed": "completed",
    "done": "completed",
    "partially_refunded": "completed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "voided": "cancelled",
    "void": "cancelled",
    "failed": "cancelled",
    "declined": "cancelled",
    "expired": "cancelled",
    "abandoned": "cancelled",
    "refunded": "refunded",
    "returned": "refunded",
    "chargeback": "refunded",
    "test": "test",
    "": "completed",
}
_NOT_COUNTED = ("cancelled", "refunded", "test")


def _staging_for(table: Table) -> Table:
    """Where rows for a table wait, with their line and the external id that they refer by."""
    columns = [Column(c.name, c.type) for c in table.c if c.name != "id"]
    return staging_table(f"staged_{table.name}", Column("line", Integer), Column("reference", Text), *columns)


_staged_orders = _staging_for(orders)
_staged_lines = _staging_for(order_lines)
_staged_events = _staging_for(events)


class OrderRows:
    """Reads rows of a file of orders, and writes a chunk of them with the rollup of their customers."""

    def __init__(self, header: Header, conventions: Conventions, secret: bytes, now: datetime) -> None:
        header.require(("order_id", "customer_id", "ordered_at", "total"), ORDER_COLUMNS)
        self._conventions = conventions
        self._pick = header.picker(*ORDER_COLUMNS)

    def read(self, row: Row) -> tuple[str, tuple[Any, ...]]:
        """The order of one row, by its id. Raises Rejected."""
        order_id, customer_id, ordered_at, total, currency, written_status = self._pick(row.fields)
        order_id = identifier("order_id", order_id)
        moment, month = self._conventions.moment("ordered_at", ordered_at)
        self._conventions.check_currency("currency", currency)
        status = STATUSES.get(written_status) or _status(written_status)
        return order_id, (
            row.line,
            identifier("customer_id", customer_id),
            order_id,
            None,
            moment,
            month,
            self._conventions.amount("total", total),
            0,
            self._conventions.currency,
            status,
            status not in _NOT_COUNTED,
        )

    def write(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Written:
        """Orders, and what follows from them."""
        stage(connection, _staged_orders, rows)
        refused = _resolve(connection, _staged_orders, "customer_id", customers)
        facts = ["customer_id", "ordered_at", "month", "total", "currency", "status", "qualifying"]
        # Both customers of an order: it may have moved from one to the other.
        changed = connection.execute(
            select(orders.c.customer_id, _staged_orders.c.customer_id)
            .join_from(_staged_orders, orders, orders.c.external_id == _staged_orders.c.external_id)
            .where(or_(*(orders.c[name].is_distinct_from(_staged_orders.c[name]) for name in facts)))
        ).all()
        newest = connection.scalar(select(func.coalesce(func.max(orders.c.id), 0))) or 0
        written = upsert(connection, orders, _values(_staged_orders), key=["external_id"], update=facts)
        extend_profiles(connection, after=newest)
        if changed:
            refresh_profiles(connection, {customer_id for pair in changed for customer_id in pair})
        return Written(written, refused)


class LineRows:
    """Reads rows of a file of order lines, and writes a chunk of them."""

    def __init__(self, header: Header, conventions: Conventions, secret: bytes, now: datetime) -> None:
        header.require(("order_id", "sku", "name", "quantity", "unit_price"), LINE_COLUMNS)
        self._conventions = conventions
        self._pick = header.picker(*LINE_COLUMNS)

    def read(self, row: Row) -> tuple[tuple[str, str], tuple[Any, ...]]:
        """The line of one row, by its order and article. Raises Rejected."""
        order_id, sku, name, category, quantity, unit_price = self._pick(row.fields)
        order_id, sku = identifier("order_id", order_id), identifier("sku", sku)
        article = words("name", name)
        if article is None:
            raise Rejected("name: empty")
        return (order_id, sku), (
            row.line,
            order_id,
            None,
            sku,
            article,
            words("category", category),
            count("quantity", quantity),
            self._conventions.amount("unit_price", unit_price),
        )

    def write(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Written:
        """Lines of orders that are there."""
        stage(connection, _staged_lines, rows)
        refused = _resolve(connection, _staged_lines, "order_id", orders)
        facts = ["name", "category", "quantity", "unit_price"]
        written = upsert(
            connection, order_lines, _values(_staged_lines), key=["order_id", "sku"], update=facts
        )
        return Written(written, refused)


class EventRows:
    """Reads rows of a file of events, and writes a chunk of them."""

    def __init__(self, header: Header, conventions: Conventions, secret: bytes, now: datetime) -> None:
        header.require(EVENT_COLUMNS, EVENT_COLUMNS)
        self._conventions = conventions
        self._pick = header.picker(*EVENT_COLUMNS)
        self._properties = [
            (place, name)
            for place, name in enumerate(header.names)
            if name not in EVENT_COLUMNS and name not in REJECT_COLUMNS
        ]

    def read(self, row: Row) -> tuple[str, tuple[Any, ...]]:
        """The event of one row, by its id. Raises Rejected."""
        event_id, customer_id, event, occurred_at = self._pick(row.fields)
        event_id = identifier("event_id", event_id)
        properties = {name: scalar(name, row.fields[place]) for place, name in self._properties}
        return event_id, (
            row.line,
            identifier("customer_id", customer_id),
            event_id,
            None,
            identifier("event", event),
            self._conventions.moment("occurred_at", occurred_at)[0],
            to_json({name: value for name, value in properties.items() if value is not None}),
        )

    def write(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Written:
        """Events of customers that are there."""
        stage(connection, _staged_events, rows)
        refused = _resolve(connection, _staged_events, "customer_id", customers)
        facts = ["customer_id", "event", "occurred_at", "properties"]
        return Written(
            upsert(connection, events, _values(_staged_events), key=["external_id"], update=facts), refused
        )


def _status(text: str) -> str:
    known = STATUSES.get("_".join(text.lower().replace("-", " ").replace("_", " ").split()))
    if known is None:
        raise Rejected("status: not a known status")
    return known


def _values(staged: Table) -> Select[Any]:
    return select(*(column for column in staged.c if column.name not in ("line", "reference")))


def _resolve(connection: Connection, staged: Table, key: str, of: Table) -> dict[int, str]:
    """Sets the foreign key of the staged rows; takes out those that refer to nothing: line and reason."""
    found = select(of.c.id).where(of.c.external_id == staged.c.reference).scalar_subquery()
    connection.execute(update(staged).values({key: found}))
    lines = connection.scalars(delete(staged).where(staged.c[key].is_(None)).returning(staged.c.line)).all()
    return dict.fromkeys(lines, f"{key}: not among the {of.name}")
