"""Customers and their histories for a chunk of messages: a handful of statements for thousands of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Text,
    any_,
    cast,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY

from holdfast.audience.lifecycle import stage
from holdfast.audience.people import (
    ORDERS_SHOWN,
    Attributes,
    Customer,
    History,
    Line,
    Money,
    Needs,
    Order,
    Person,
    Product,
    clean,
)
from holdfast.settings import Project
from holdfast.tables import customers, from_microseconds, order_lines, orders, profiles, to_microseconds

_PRODUCT_NAME_LENGTH = 200
_RECOMMENDED = 3
_BESTSELLERS_WINDOW = timedelta(days=365)
_BESTSELLERS_KEPT = 50
_DAY = 86_400_000_000

_NO_ORDERS = (0, 0, None, None, None)

Bestsellers = Mapping[str, Sequence[Product]]


def among(connection: Connection, expression: ColumnElement[Any], ids: Iterable[int]) -> ColumnElement[bool]:
    """The expression is one of the ids, however many there are: one parameter on either database."""
    if connection.dialect.name == "sqlite":
        values = func.json_each(json.dumps(list(ids))).table_valued("value")
        return expression.in_(select(values.c.value))
    return expression == any_(literal(list(ids), ARRAY(BigInteger)))


def load_people(
    connection: Connection,
    customer_ids: Sequence[int],
    as_of: datetime,
    needs: Needs,
    project: Project,
    bestsellers: Bestsellers | None = None,
) -> dict[int, Person]:
    """The customers with these ids and what they had bought by `as_of`. Unknown ids are left out.

    `bestsellers` (see `load_bestsellers`) is what `history.recommended` chooses from.
    """
    moment = to_microseconds(as_of)
    totals = _totals(connection, customer_ids, moment)
    orders_by_customer = _orders(connection, customer_ids, moment, needs) if needs.orders else {}
    favourites = _favourites(connection, customer_ids, moment, bestsellers or {}) if needs.favourites else {}
    people = {}
    for row in connection.execute(_customers_query(connection, customer_ids)):
        customer_id, first, last, locale, timezone, country, city, birthday, attributes = row
        count, total, first_at, previous_at, last_at = totals.get(customer_id, _NO_ORDERS)
        times = _moment(first_at), _moment(previous_at), _moment(last_at)
        favourite, recommended = favourites.get(customer_id, (None, ()))
        people[customer_id] = Person(
            Customer(
                clean(first),
                clean(last),
                clean(locale),
                timezone,
                clean(country),
                clean(city),
                birthday,
                stage(count, *times, as_of, project.lifecycle),
                Attributes(attributes),
            ),
            History(
                count,
                Money(total, project.business.currency),
                None if last_at is None else (moment - last_at) // _DAY,
                orders_by_customer.get(customer_id, ()),
                favourite,
                recommended,
            ),
        )
    return people


def _customers_query(connection: Connection, ids: Sequence[int]) -> Any:
    c = customers.c
    # Attributes as text: parsing them for everyone would cost more than all the other columns.
    return select(
        c.id,
        c.first_name,
        c.last_name,
        c.locale,
        c.timezone,
        c.country,
        c.city,
        c.birthday,
        cast(c.attributes, Text),
    ).where(among(connection, c.id, ids))


def _totals(connection: Connection, ids: Sequence[int], moment: int) -> dict[int, tuple[Any, ...]]:
    """By customer: count, total, first, previous and last order (microseconds) up to the moment."""
    p = profiles.c
    times = [
        type_coerce(time, BigInteger) for time in (p.first_order_at, p.previous_order_at, p.last_order_at)
    ]
    query = select(p.customer_id, p.order_count, p.total, *times).where(among(connection, p.customer_id, ids))
    rows = {row[0]: tuple(row[1:]) for row in connection.execute(query)}
    newer = [customer_id for customer_id, row in rows.items() if row[-1] > moment]
    if newer:  # the rollup has seen orders after the moment: count theirs again
        for customer_id in newer:
            del rows[customer_id]
        rows |= _recounted(connection, newer, moment)
    return rows


def _recounted(connection: Connection, ids: Sequence[int], moment: int) -> dict[int, tuple[Any, ...]]:
    o = orders.c
    at = type_coerce(o.ordered_at, BigInteger).label("at")
    rank = func.row_number().over(partition_by=o.customer_id, order_by=(o.ordered_at.desc(), o.id.desc()))
    ranked = (
        select(o.customer_id, o.total, at, rank.label("rank"))
        .where(among(connection, o.customer_id, ids), o.qualifying, o.ordered_at <= moment)
        .subquery()
    )
    r = ranked.c
    previous = func.max(r.at).filter(r.rank == 2)
    total = cast(func.sum(r.total), BigInteger)
    query = select(r.customer_id, func.count(), total, func.min(r.at), previous, func.max(r.at))
    return {row[0]: tuple(row[1:]) for row in connection.execute(query.group_by(r.customer_id))}


def _orders(
    connection: Connection, ids: Sequence[int], moment: int, needs: Needs
) -> dict[int, tuple[Order, ...]]:
    o = orders.c
    rank = func.row_number().over(partition_by=o.customer_id, order_by=(o.ordered_at.desc(), o.id.desc()))
    at = type_coerce(o.ordered_at, BigInteger).label("at")
    ranked = (
        select(o.id, o.customer_id, o.external_id, at, o.total, o.currency, o.status, rank.label("rank"))
        .where(among(connection, o.customer_id, ids), o.qualifying, o.ordered_at <= moment)
        .subquery()
    )
    latest = select(ranked).where(ranked.c.rank <= min(needs.orders, ORDERS_SHOWN))
    rows = connection.execute(latest.order_by(ranked.c.customer_id, ranked.c.rank)).all()
    lines = _lines(connection, {row[0]: row[5] for row in rows}) if needs.lines else {}
    found: dict[int, list[Order]] = defaultdict(list)
    for order_id, customer_id, external_id, placed_at, total, currency, status, _ in rows:
        found[customer_id].append(
            Order(
                external_id,
                from_microseconds(placed_at),
                Money(total, currency),
                status,
                tuple(lines.get(order_id, ())),
            )
        )
    return {customer_id: tuple(theirs) for customer_id, theirs in found.items()}


def _lines(connection: Connection, currencies: Mapping[int, str]) -> Mapping[int, list[Line]]:
    """The lines of these orders, by order, in the order of their skus; `currencies` by order id."""
    line = order_lines.c
    query = select(line.order_id, line.sku, line.name, line.category, line.quantity, line.unit_price)
    rows = connection.execute(query.where(among(connection, line.order_id, currencies))).all()
    found: dict[int, list[Line]] = defaultdict(list)
    # Sorted here, not by the database: its collation is the server's.
    for order_id, sku, name, category, quantity, price in sorted(rows, key=itemgetter(0, 1)):
        money = Money(price, currencies[order_id])
        found[order_id].append(Line(quantity, sku, _product_name(name, sku), clean(category), money))
    return found


def _favourites(
    connection: Connection, ids: Sequence[int], moment: int, bestsellers: Bestsellers
) -> dict[int, tuple[str | None, tuple[Product, ...]]]:
    """By customer: the category they bought most units of, and its bestsellers that they do not have."""
    o, line = orders.c, order_lines.c
    query = (
        select(o.customer_id, line.sku, line.category, func.sum(line.quantity))
        .join_from(orders, order_lines, o.id == line.order_id)
        .where(among(connection, o.customer_id, ids), o.qualifying, o.ordered_at <= moment)
        .group_by(o.customer_id, line.sku, line.category)
    )
    units: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    bought: dict[int, set[str]] = defaultdict(set)
    for customer_id, sku, category, quantity in connection.execute(query):
        bought[customer_id].add(sku)
        if category is not None:
            units[customer_id][category] += quantity
    found: dict[int, tuple[str | None, tuple[Product, ...]]] = {}
    for customer_id, by_category in units.items():
        favourite = min(by_category, key=lambda category: (-by_category[category], category))
        mine = bought[customer_id]
        new = (product for product in bestsellers.get(favourite, ()) if product.sku not in mine)
        found[customer_id] = (clean(favourite), tuple(islice(new, _RECOMMENDED)))
    return found


def load_bestsellers(connection: Connection, as_of: datetime) -> dict[str, list[Product]]:
    """By category, what sold the most units in the year before `as_of`, at the price it was last sold for."""
    o, line = orders.c, order_lines.c
    one_product: Any = (line.category, line.sku)
    rank = func.row_number().over(partition_by=one_product, order_by=(o.ordered_at.desc(), o.id.desc()))
    units = func.sum(line.quantity).over(partition_by=one_product)
    sales = (
        select(line.category, line.sku, line.name, line.unit_price, o.currency)
        .add_columns(units.label("units"), rank.label("rank"))
        .join_from(orders, order_lines, o.id == line.order_id)
        .where(
            o.qualifying,
            o.ordered_at <= as_of,
            o.ordered_at > as_of - _BESTSELLERS_WINDOW,
            line.category.is_not(None),
        )
        .subquery()
    )
    rows = connection.execute(select(sales).where(sales.c.rank == 1)).all()
    found: dict[str, list[Product]] = defaultdict(list)
    for category, sku, name, price, currency, _, _ in sorted(rows, key=lambda row: (-row.units, row.sku)):
        if len(found[category]) < _BESTSELLERS_KEPT:
            found[category].append(
                Product(sku, _product_name(name, sku), clean(category) or category, Money(price, currency))
            )
    return dict(found)


def _product_name(name: str, sku: str) -> str:
    return clean(name, _PRODUCT_NAME_LENGTH) or sku


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)
