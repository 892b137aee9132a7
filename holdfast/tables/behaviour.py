"""What customers did, and the rollup of it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from holdfast.tables.columns import Id, Json, UtcTime, metadata

orders = Table(
    "orders",
    metadata,
    Column("id", Id, primary_key=True),
    Column("external_id", Text, nullable=False, unique=True),
    Column("customer_id", Id, ForeignKey("customers.id"), nullable=False),
    Column("ordered_at", UtcTime, nullable=False),
    Column("month", Integer, nullable=False),
    # What the order came to, less `refunded`: the sum of its refunds.
    Column("total", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False, server_default=text("0")),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    # Not cancelled, test or fully refunded: what every count, sum and recency is over.
    Column("qualifying", Boolean, nullable=False),
    Index("ix_orders_history", "customer_id", "qualifying", "ordered_at", "total"),
)

order_lines = Table(
    "order_lines",
    metadata,
    Column("order_id", Id, ForeignKey("orders.id"), primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

refunds = Table(
    "refunds",
    metadata,
    Column("id", Id, primary_key=True),
    Column("external_id", Text, nullable=False, unique=True),
    Column("order_id", Id, ForeignKey("orders.id"), nullable=False),
    Column("refunded_at", UtcTime, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Index("ix_refunds_order_id", "order_id"),
)

events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("external_id", Text, nullable=False, unique=True),
    Column("customer_id", Id, ForeignKey("customers.id"), nullable=False),
    Column("event", Text, nullable=False),
    Column("occurred_at", UtcTime, nullable=False),
    Column("properties", Json, nullable=False, server_default=text("'{}'")),
    Index("ix_events_history", "customer_id", "event", "occurred_at"),
)

# The rollup: facts over qualifying orders that do not decay. Stages and recencies are computed from it.
profiles = Table(
    "profiles",
    metadata,
    Column("customer_id", Id, ForeignKey("customers.id"), primary_key=True),
    Column("order_count", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("first_order_at", UtcTime, nullable=False),
    Column("previous_order_at", UtcTime),
    Column("last_order_at", UtcTime, nullable=False),
)

profile_months = Table(
    "profile_months",
    metadata,
    Column("customer_id", Id, ForeignKey("customers.id"), primary_key=True),
    Column("month", Integer, primary_key=True),
    Column("order_count", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
