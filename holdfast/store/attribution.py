"""Attribution: the last message that a person opened or clicked before an order, one an order.

What is attributed is not what a campaign changed: who clicks might have bought anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    union,
)

from holdfast.metrics.attribution import Attributed
from holdfast.settings import ChannelConfig
from holdfast.store.cursors import read_cursor, write_cursor
from holdfast.store.database import Database
from holdfast.store.staging import rows_written, stage, staging_table, upsert
from holdfast.tables import Id, UtcTime, attributions, messages, orders, responses, runs

# Customers whose orders are gone through in one transaction, so that it stays under a second.
_SLICE = 2_000
_PLACE = "attributed"
_MICROSECOND = timedelta(microseconds=1)
_OTHERWISE: timedelta = ChannelConfig.model_fields["attributed_within"].default

_chosen = staging_table("attributed_customers", Column("customer_id", Id, primary_key=True))
_found = staging_table(
    "found_attributions",
    Column("order_id", Id, primary_key=True),
    Column("message_id", Id),
    Column("touch", Text),
    Column("touched_at", UtcTime),
)


def refresh_all(database: Database, channels: Mapping[str, ChannelConfig]) -> int:
    """Attributes all orders anew; how many attributions changed. Channels say how long a touch counts."""
    of_anybody = select(func.min(orders.c.customer_id), func.max(orders.c.customer_id))
    with database.read() as connection:
        lowest, highest = connection.execute(of_anybody).one()
    if lowest is None:
        return 0
    slices = (range(low, low + _SLICE) for low in range(lowest, highest + 1, _SLICE))
    return sum(_refresh(database, channels, customers) for customers in slices)


def refresh_new(database: Database, channels: Mapping[str, ChannelConfig], now: datetime) -> int:
    """Attributes the orders of who ordered or answered since this was last done; how many changed.

    The first time it is all of them. What has changed of an older order since, `refresh_all` sees.
    """
    newest = select(*(select(func.max(table.c.id)).scalar_subquery() for table in (orders, responses)))
    with database.read() as connection:
        read = [int(last) for last in read_cursor(connection, _PLACE).split()]
        last = [latest or 0 for latest in connection.execute(newest).one()]
        if read == last:
            return 0
        customers = sorted(connection.scalars(_customers_since(*read))) if read else []
    if read:
        slices = (customers[start : start + _SLICE] for start in range(0, len(customers), _SLICE))
        changed = sum(_refresh(database, channels, some) for some in slices)
    else:
        changed = refresh_all(database, channels)
    with database.write(exclusive=True) as connection:
        write_cursor(connection, _PLACE, " ".join(map(str, last)), now)
    return changed


def _customers_since(order_id: int, response_id: int) -> Any:
    """Who ordered since, or has an answer since to a message that was opened or clicked.

    Of any kind: when a message was delivered has a say in whether a machine clicked it.
    """
    m = messages.c
    touched = or_(m.opened_at.is_not(None), m.clicked_at.is_not(None), m.machine_clicked_at.is_not(None))
    answered = (
        select(m.customer_id)
        .join_from(responses, messages, m.id == responses.c.message_id)
        .where(responses.c.id > response_id, touched)
    )
    return union(select(orders.c.customer_id).where(orders.c.id > order_id), answered)


def _refresh(database: Database, channels: Mapping[str, ChannelConfig], customers: Sequence[int]) -> int:
    """Brings the attributions of these customers' orders up to date; how many changed."""

    def chosen(customer_id: Column[int]) -> ColumnElement[bool]:
        if isinstance(customers, range):
            return and_(customer_id >= customers.start, customer_id < customers.stop)
        return customer_id.in_(select(_chosen.c.customer_id))

    with database.write(exclusive=True) as connection:
        if not isinstance(customers, range):
            stage(connection, _chosen, [(customer_id,) for customer_id in customers])
        stage(connection, _found, [])
        connection.execute(insert(_found).from_select(list(_found.c), _last_touches(channels, chosen)))
        facts = ["message_id", "touch", "touched_at"]
        changed = upsert(connection, attributions, select(_found), key=["order_id"], update=facts)
        theirs = select(orders.c.id).where(chosen(orders.c.customer_id))
        lost = delete(attributions).where(
            attributions.c.order_id.in_(theirs), attributions.c.order_id.not_in(select(_found.c.order_id))
        )
        return changed + rows_written(connection, lost)


def _last_touches(channels: Mapping[str, ChannelConfig], chosen: Any) -> Select[Any]:
    """The last touch of each order that has one: of two at one moment a click, then the later message's."""
    # Materialised, or SQLite begins with all the answers there are.
    touched = (
        select(messages.c.id, messages.c.customer_id, messages.c.channel)
        .where(
            chosen(messages.c.customer_id),
            or_(messages.c.opened_at.is_not(None), messages.c.clicked_at.is_not(None)),
        )
        .cte("touched")
        .prefix_with("MATERIALIZED")
    )
    m, r, o = touched.c, responses.c, orders.c
    # Of a channel that the project no longer has, it is what channels have that say nothing.
    window: ColumnElement[int] = literal(_OTHERWISE // _MICROSECOND, BigInteger)
    if channels:
        lengths = {
            name: literal(config.attributed_within // _MICROSECOND, BigInteger)
            for name, config in channels.items()
        }
        window = case(lengths, value=m.channel, else_=window)
    # `clicked` comes before `opened` in the alphabet, too.
    last_first = func.row_number().over(
        partition_by=o.id, order_by=[r.occurred_at.desc(), r.kind, m.id.desc()]
    )
    touches = (
        select(
            o.id.label("order_id"),
            m.id.label("message_id"),
            r.kind.label("touch"),
            r.occurred_at.label("touched_at"),
            last_first.label("place"),
        )
        .join_from(touched, responses, r.message_id == m.id)
        .join(orders, o.customer_id == m.customer_id)
        .where(
            r.kind.in_(("clicked", "opened")),
            r.machine.is_(None),
            o.qualifying,
            o.ordered_at >= r.occurred_at,
            o.ordered_at <= r.occurred_at + window,
        )
        .subquery()
    )
    columns = (touches.c[name] for name in ("order_id", "message_id", "touch", "touched_at"))
    return select(*columns).where(touches.c.place == 1)


# --- what it comes to -----------------------------------------------------------------------------


def of_campaign(connection: Connection, campaign: str, until: datetime) -> Attributed:
    """What is attributed to the campaign's messages, of orders placed before `until`."""
    of_runs = messages.c.run_id.in_(select(runs.c.id).where(runs.c.campaign == campaign))
    query = _attributed().join(messages, messages.c.id == attributions.c.message_id)
    return _summed(connection, query.where(of_runs, orders.c.ordered_at < until))


def of_period(connection: Connection, since: datetime, until: datetime) -> Attributed:
    """What is attributed to any message, of orders placed in [since, until)."""
    return _summed(connection, _attributed().where(orders.c.ordered_at >= since, orders.c.ordered_at < until))


def _attributed() -> Select[Any]:
    """Over orders that count: one that no longer does may not have been gone through yet."""
    return (
        select(
            func.count(),
            cast(func.coalesce(func.sum(orders.c.total), 0), BigInteger),
            func.count().filter(attributions.c.touch == "clicked"),
        )
        .join_from(attributions, orders, orders.c.id == attributions.c.order_id)
        .where(orders.c.qualifying)
    )


def _summed(connection: Connection, query: Select[Any]) -> Attributed:
    count, revenue, after_click = connection.execute(query).one()
    return Attributed(orders=count, revenue=revenue, after_click=after_click)
