"""The rollup of qualifying orders in set SQL: one row a customer, and one a customer and month.

It holds only facts that do not decay. Both functions belong in the transaction that changed the orders.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    case,
    cast,
    delete,
    func,
    select,
    true,
)

from holdfast.store.staging import insert_or, one_import_at_a_time, stage, staging_table
from holdfast.tables import Id, orders, profile_months, profiles

_chosen = staging_table("chosen_customers", Column("customer_id", Id, primary_key=True))


def refresh_profiles(connection: Connection, customer_ids: Collection[int] | None = None) -> None:
    """Computes the rollup of these customers, or of all, from their orders as they now are.

    A customer without a qualifying order has no rollup.
    """
    # Of two transactions that add orders of one customer, the later one must see the earlier one's.
    one_import_at_a_time(connection)
    if customer_ids is not None:
        stage(connection, _chosen, [(customer_id,) for customer_id in set(customer_ids)])

    def chosen(customer_id: Column[int]) -> ColumnElement[bool]:
        return true() if customer_ids is None else customer_id.in_(select(_chosen.c.customer_id))

    for table, rows in _rollup(chosen(orders.c.customer_id)):
        connection.execute(delete(table).where(chosen(table.c.customer_id)))
        connection.execute(insert_or(connection, table, rows))


def extend_profiles(connection: Connection, after: int) -> None:
    """Adds the orders whose id is above `after` to the rollup: what a refresh would give, for less.

    Only for orders that are all new, and under `one_import_at_a_time` since `after` was the highest id.
    """
    least, greatest = (
        (func.min, func.max) if connection.dialect.name == "sqlite" else (func.least, func.greatest)
    )
    for table, rows in _rollup(orders.c.id > after):
        statement = insert_or(connection, table, rows)
        old, new = table.c, statement.excluded
        merged: dict[str, Any] = {
            "order_count": old.order_count + new.order_count,
            "total": old.total + new.total,
        }
        if table is profiles:
            second = least(old.last_order_at, new.last_order_at)
            merged |= {
                "first_order_at": least(old.first_order_at, new.first_order_at),
                "previous_order_at": greatest(
                    second,
                    func.coalesce(old.previous_order_at, second),
                    func.coalesce(new.previous_order_at, second),
                ),
                "last_order_at": greatest(old.last_order_at, new.last_order_at),
            }
        connection.execute(
            statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=merged)
        )


def _rollup(of_these: ColumnElement[bool]) -> list[tuple[Table, Select[Any]]]:
    """The rows of both tables over the qualifying ones of these orders."""
    # Materialised, or SQLite walks the index of all orders for the sake of its order.
    counted = (
        select(orders.c.customer_id, orders.c.month, orders.c.ordered_at, orders.c.total)
        .where(orders.c.qualifying, of_these)
        .cte("counted")
        .prefix_with("MATERIALIZED")
    )
    latest_first = func.row_number().over(
        partition_by=counted.c.customer_id, order_by=counted.c.ordered_at.desc()
    )
    ranked = select(
        counted.c.customer_id, counted.c.ordered_at, counted.c.total, latest_first.label("rank")
    ).subquery()
    per_customer = select(
        ranked.c.customer_id,
        func.count().label("order_count"),
        cast(func.sum(ranked.c.total), BigInteger).label("total"),
        func.min(ranked.c.ordered_at).label("first_order_at"),
        func.max(case((ranked.c.rank == 2, ranked.c.ordered_at))).label("previous_order_at"),
        func.max(ranked.c.ordered_at).label("last_order_at"),
    ).group_by(ranked.c.customer_id)
    per_month = select(
        counted.c.customer_id,
        counted.c.month,
        func.count().label("order_count"),
        cast(func.sum(counted.c.total), BigInteger).label("total"),
    ).group_by(counted.c.customer_id, counted.c.month)
    return [(profiles, per_customer), (profile_months, per_month)]
