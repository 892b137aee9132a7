"""Importing: a CSV file of orders, against the csv module and one bare executemany of the same rows.

The bare loop writes the same orders. It checks no value, looks for no earlier import of an order, sets no
bad row aside, and keeps no rollup of its customers.
"""

from __future__ import annotations

import csv
import random
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import func, select

from holdfast.store.database import Database
from holdfast.store.imports import import_file
from holdfast.tables import customers, orders, profile_months, profiles, to_microseconds
from tests.benchmarks.measuring import Bound, Taken, measure, stopwatch
from tests.benchmarks.population import NOW, populate
from tests.benchmarks.projects import SECRET, project

LEAST_RATIO = 1 / 3

_CUSTOMERS = 50_000
_INSERT = """
    INSERT INTO orders (external_id, customer_id, ordered_at, month, total, currency, status, qualifying)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--orders", type=int, default=300_000, help="rows of the file")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")


def run(arguments: Namespace) -> list[Bound]:
    """New orders of customers who have none yet."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        populate(Path(folder, "shop.db"), _CUSTOMERS, lines=False)
        file = Path(folder, "orders.csv")
        _write_orders(file, arguments.orders)
        database = Database(Path(folder, "shop.db"))
        print(f"\n{arguments.orders:,} orders of {_CUSTOMERS:,} customers, SQLite")
        taken = measure(
            arguments.rounds,
            arguments.orders,
            bare_executemany=partial(_insert_bare, database, file),
            import_file=partial(_import, database, file),
        )
        database.close()
    ratio = taken["bare_executemany"].wall / taken["import_file"].wall
    return [Bound("importing orders, over bare executemany", ratio, LEAST_RATIO, at_least=True)]


def _write_orders(path: Path, count: int) -> None:
    chance = random.Random(1)  # noqa: S311
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("order_id", "customer_id", "ordered_at", "total", "currency", "status"))
        for number in range(count):
            at = NOW - timedelta(seconds=chance.randrange(2 * 365 * 86_400))
            total = f"{chance.randrange(500, 20_000) / 100:.2f}"
            writer.writerow(
                (f"N{number}", f"c{chance.randint(1, _CUSTOMERS)}", at.isoformat(), total, "EUR", "completed")
            )


def _insert_bare(database: Database, path: Path) -> Taken:
    _empty(database)
    with (
        stopwatch() as elapsed,
        database.write() as connection,
        path.open(encoding="utf-8", newline="") as file,
    ):
        ids = dict(connection.execute(select(customers.c.external_id, customers.c.id)).tuples().all())
        cursor: Any = connection.connection.cursor()
        cursor.executemany(_INSERT, _rows(csv.reader(file), ids))
    return elapsed()


def _rows(reader: Iterator[list[str]], ids: dict[str, int]) -> Iterator[tuple[Any, ...]]:
    next(reader)
    for order_id, customer_id, ordered_at, total, currency, status in reader:
        at = datetime.fromisoformat(ordered_at)
        month = at.year * 12 + at.month - 1
        cents = round(float(total) * 100)
        yield order_id, ids[customer_id], to_microseconds(at), month, cents, currency, status, True


def _import(database: Database, path: Path) -> Taken:
    _empty(database)
    with stopwatch() as elapsed:
        report = import_file(database, project(), SECRET, "orders", path, now=NOW)
        taken = elapsed()
    with database.read() as connection:
        counted = connection.scalar(select(func.sum(profiles.c.order_count)))
    if report.rejected or counted != report.read:
        raise SystemExit(f"{report.rejected} rows were rejected, and the rollup counts {counted}")
    return taken


def _empty(database: Database) -> None:
    tables = (profile_months, profiles, orders)
    with database.write() as connection:
        for table in tables:
            table.drop(connection)
            table.create(connection)
