"""Shops of any size, made by the database itself; the same rows each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Table,
    Text,
    case,
    cast,
    column,
    insert,
    literal,
    select,
    text,
    values,
)

from holdfast.store.database import Database
from holdfast.store.imports import Kind, import_file
from holdfast.store.profiles import refresh_profiles
from holdfast.tables import (
    addresses,
    consents,
    customers,
    events,
    metadata,
    order_lines,
    orders,
    to_microseconds,
)
from tests.benchmarks.projects import SECRET, project
from tests.cdnow import write_cdnow

# A weekday afternoon in Europe, inside 09:00-20:00 in every zone below.
NOW = datetime(2026, 6, 3, 15, 0, tzinfo=UTC)
# The afternoon after the last purchase of the CDNOW histories.
CDNOW_END = datetime(1998, 7, 1, 15, 0, tzinfo=UTC)

_DAY = 86_400_000_000
_MONTH = 2_629_746_000_000
_PRIME = 2**31 - 1

_MARKETS = [
    *[("en-US", "US", "America/New_York")] * 9,
    *[("de", "DE", "Europe/Berlin")] * 6,
    *[("ar-EG", "EG", "Africa/Cairo")] * 3,
    *[("fa", "IR", "Asia/Tehran")] * 2,
]
_FIRST_NAMES = ["Ann", "Bob", "Jürgen", "Zoë", "محمد", "نور", "زهرا", "علی", "O'Neil & Sons", None]
_LAST_NAMES = ["Miller", "Groß", "Smith-Jones", "المصري", "رضایی", "Ng", None]
_GOODS = ["Tea", "Coffee", "Honey", "Bread", "Olive oil", "Soap", "Candle", "Notebook", "Scarf", "Blanket"]
_PRODUCTS = [
    (number, f"SKU-{number:03}", f"{_GOODS[number % 10]}, {size} <{number}>", _GOODS[number % 5].lower())
    for number, size in enumerate(["small", "medium", "large", "family"] * 10)
]


def import_cdnow(location: str | Path) -> None:
    """Imports the CDNOW histories."""
    _in_own_process(_import_cdnow, location)


def _import_cdnow(location: str | Path) -> None:
    database = Database(location)
    metadata.create_all(database.engine)
    with TemporaryDirectory(prefix="holdfast-cdnow-") as folder:
        files = write_cdnow(Path(folder))
        paths: dict[Kind, Path] = {
            "customers": files.customers,
            "orders": files.orders,
            "lines": files.lines,
        }
        for kind, path in paths.items():
            report = import_file(database, project(), SECRET, kind, path, now=CDNOW_END)
            if report.rejected:
                raise SystemExit(f"{report.rejected} {kind} were rejected: {report.reasons}")
    _analyse(database)
    database.close()


def populate(location: str | Path, count: int, *, lines: bool = True) -> None:
    """Makes so many customers, each with an email address, a consent and one to four orders of up to four
    lines. In a process of its own, so that its memory does not count here."""
    _in_own_process(_populate, location, count, lines)


def populate_with_histories(location: str | Path, count: int) -> None:
    """Makes so many customers with ten orders each in the mean, some with none and some with a hundred, over
    1,000 days, and as many events over 100; one or two lines an order, withdrawn consents, bad addresses."""
    _in_own_process(_populate_with_histories, location, count)


def _in_own_process(work: Callable[..., None], *arguments: Any) -> None:
    process = get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit("the population could not be made")


def _populate(location: str | Path, count: int, lines: bool) -> None:
    database = Database(location)
    metadata.create_all(database.engine)
    with database.write() as connection:
        rows = {**_people(count), orders: _orders(count), **({order_lines: _lines()} if lines else {})}
        for table, query in rows.items():
            connection.execute(insert(table).from_select(query.selected_columns.keys(), query))
        refresh_profiles(connection)
    _analyse(database)
    database.close()


# As in a shop that grew up: ids follow time, so that a customer's orders lie scattered. The product of two
# draws gives few customers many orders, and many few; times 7,919 they are not neighbours.
_HISTORIES = """
    INSERT INTO orders (id, external_id, customer_id, ordered_at, month, total, currency, status, qualifying)
    WITH RECURSIVE numbers(n) AS (
             SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < :orders),
         placed AS (SELECT n, :now - (:orders - n) * (1000 * :day / :orders) AS at,
                           n * 1103515245 % 2147483647 * (n * 771171253 % 2147483647) / 2147483647
                           * :customers / 2147483647 AS place
                    FROM numbers)
    SELECT n, 'o' || CAST(n AS TEXT), 1 + place * 7919 % :customers, at, 1970 * 12 + at / 2629746000000,
           500 + n * 7919 % 20000, 'EUR', 'completed', n % 50 > 0
    FROM placed
"""
_HISTORY_LINES = """
    INSERT INTO order_lines (order_id, sku, name, category, quantity, unit_price)
    WITH product(number, sku, name, category) AS (VALUES {products}), nth(k) AS (VALUES (0), (1))
    SELECT o.id, p.sku, p.name, p.category, 1, 500
    FROM orders o JOIN nth ON k <= o.id % 2 JOIN product p ON p.number = (o.id * 31 / 7 + 11 * k) % 40
"""
_HISTORY_EVENTS = """
    INSERT INTO events (id, external_id, customer_id, event, occurred_at)
    WITH RECURSIVE numbers(n) AS (
             SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < :orders)
    SELECT n, 'e' || CAST(n AS TEXT),
           1 + n * 906185749 % 2147483647 * (n * 1226874159 % 2147483647) / 2147483647
             * :customers / 2147483647 * 7919 % :customers,
           CASE WHEN n % 50 = 0 THEN 'complaint' WHEN n % 3 = 0 THEN 'opened_app' ELSE 'viewed_product' END,
           :now - (:orders - n) * (100 * :day / :orders)
    FROM numbers
"""
_WITHDRAWN = """
    INSERT INTO consents (customer_id, kind, purpose, granted, evidence, recorded_at)
    SELECT id, 'email', 'marketing', :no, 'benchmark', :now - id % 300 * :day FROM customers WHERE id % 8 = 0
"""
_SUPPRESSED = """
    INSERT INTO suppressions (kind, address_key, reason, created_at)
    SELECT kind, address_key, 'hard_bounce', :now - customer_id % 300 * :day
    FROM addresses WHERE customer_id % 30 = 0
"""
_UNREACHABLE = "DELETE FROM addresses WHERE customer_id % 12 = 0"


def _populate_with_histories(location: str | Path, count: int) -> None:
    database = Database(location)
    metadata.create_all(database.engine)
    given = {"customers": count, "orders": 10 * count, "now": to_microseconds(NOW), "day": _DAY, "no": False}
    products = ", ".join(f"({number}, '{sku}', '{name}', '{kind}')" for number, sku, name, kind in _PRODUCTS)
    statements = [_HISTORIES, _HISTORY_LINES.format(products=products), _HISTORY_EVENTS]
    indexes = [*orders.indexes, *events.indexes]
    with database.write() as connection:
        for table, query in _people(count).items():
            connection.execute(insert(table).from_select(query.selected_columns.keys(), query))
        # Made anew at the end: rows come by time, and these would be written all over.
        for index in indexes:
            index.drop(connection)
    # Each for itself: SQLite looks for every page in the log of the transaction.
    for statement in [*statements, _WITHDRAWN, _SUPPRESSED, _UNREACHABLE]:
        with database.write() as connection:
            if not database.is_sqlite:
                # Without a look at the foreign keys of each row.
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(statement), given)
    with database.write() as connection:
        for index in indexes:
            index.create(connection)
    _analyse(database)
    with database.write() as connection:
        refresh_profiles(connection)
    _analyse(database)
    if not database.is_sqlite:
        # Now, and not by the server in the middle of a measurement; lets indexes be read without their rows.
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    database.close()


def _analyse(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("ANALYZE")


def _numbers(count: int) -> CTE:
    numbers = select(literal(1, BigInteger).label("n")).cte("numbers", recursive=True)
    return numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < count))


def _drawn(number: ColumnElement[Any], salt: int, choices: int) -> ColumnElement[int]:
    """A draw from 0 to `choices` - 1 that looks random and is the same each time."""
    return number * (48_271 + 7_919 * salt) % _PRIME // 1009 % choices


def _one_of(choices: Sequence[str | None], place: ColumnElement[int]) -> ColumnElement[Any]:
    return case(
        {number: literal(choice, Text) for number, choice in enumerate(choices) if choice}, value=place
    )


def _people(count: int) -> dict[Table, Select[Any]]:
    n = _numbers(count).c.n
    name = cast(n, Text)
    market = _drawn(n, 1, len(_MARKETS))
    long_ago = to_microseconds(NOW) - 900 * _DAY
    return {
        customers: select(
            n.label("id"),
            (literal("c", Text) + name).label("external_id"),
            (n * 1_103_515_245 % _PRIME).label("draw"),
            _one_of(_FIRST_NAMES, _drawn(n, 2, len(_FIRST_NAMES))).label("first_name"),
            _one_of(_LAST_NAMES, _drawn(n, 3, len(_LAST_NAMES))).label("last_name"),
            _one_of([locale for locale, _, _ in _MARKETS], market).label("locale"),
            _one_of([country for _, country, _ in _MARKETS], market).label("country"),
            _one_of([zone for _, _, zone in _MARKETS], market).label("timezone"),
            literal(long_ago, BigInteger).label("created_at"),
            literal(long_ago, BigInteger).label("updated_at"),
        ),
        addresses: select(
            n.label("customer_id"),
            literal("email", Text).label("kind"),
            (literal("customer", Text) + name + "@shop.example").label("address"),
            (literal("customer", Text) + name + "@shop.example").label("address_key"),
        ),
        consents: select(
            n.label("customer_id"),
            literal("email", Text).label("kind"),
            literal("marketing", Text).label("purpose"),
            literal(True).label("granted"),
            literal("benchmark", Text).label("evidence"),
            literal(long_ago, BigInteger).label("recorded_at"),
        ),
    }


def _orders(count: int) -> Select[Any]:
    """One to four orders a customer, the last one 200 to 800 days ago, for nine of ten."""
    numbers, nth = _numbers(count), _up_to_four()
    n = numbers.c.n
    id_ = n * 4 + nth.c.k
    recent = case((_drawn(n, 4, 10) == 0, 190), else_=0)
    at = to_microseconds(NOW) - (200 - recent + _drawn(n, 5, 600) + 40 * nth.c.k) * _DAY
    return select(
        id_.label("id"),
        (literal("o", Text) + cast(id_, Text)).label("external_id"),
        n.label("customer_id"),
        at.label("ordered_at"),
        (1970 * 12 + at // _MONTH).label("month"),
        (500 + _drawn(id_, 6, 20_000)).label("total"),
        literal("EUR", Text).label("currency"),
        literal("completed", Text).label("status"),
        literal(True).label("qualifying"),
    ).select_from(numbers.join(nth, nth.c.k <= _drawn(n, 7, 4)))


def _up_to_four() -> CTE:
    return values(column("k", Integer), name="nth").data([(k,) for k in range(4)]).cte("nth")


def _products() -> CTE:
    return (
        values(column("number", Integer), column("sku", Text), column("name", Text), column("category", Text))
        .data(_PRODUCTS)
        .cte("product")
    )


def _lines() -> Select[Any]:
    """One to four different products an order."""
    nth = _up_to_four()
    product = _products()
    place = (_drawn(orders.c.id, 8, 40) + 11 * nth.c.k) % 40
    return select(
        orders.c.id.label("order_id"),
        product.c.sku,
        product.c.name,
        product.c.category,
        (1 + _drawn(orders.c.id, 9, 3)).label("quantity"),
        (199 + _drawn(orders.c.id + nth.c.k, 10, 5_000)).label("unit_price"),
    ).select_from(
        orders.join(nth, nth.c.k <= _drawn(orders.c.id, 11, 4)).join(product, product.c.number == place)
    )
