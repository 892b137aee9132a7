"""Metrics of the CDNOW purchases: the published figures, and a plain computation beside ours."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy import func, select

from holdfast.metrics.rates import Rate
from holdfast.metrics.revenue import clv
from holdfast.store import aggregates
from holdfast.store.aggregates import KpiSums
from holdfast.store.database import Database
from holdfast.store.profiles import refresh_profiles
from holdfast.store.schema import ensure
from holdfast.tables import orders, profiles, to_microseconds
from tests import cdnow

END = datetime(1998, 7, 1, tzinfo=UTC)
CUT = datetime(1997, 10, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
JUNE = 1998 * 12 + 5


_CUSTOMER = """
    INSERT INTO customers (id, external_id, draw, attributes, created_at, updated_at)
    VALUES (?, ?, 0, '{}', 0, 0)
"""
_ORDER = """
    INSERT INTO orders (external_id, customer_id, ordered_at, month, total, currency, status, qualifying)
    VALUES (?, ?, ?, ?, ?, 'USD', 'completed', 1)
"""


def load(path: Path, purchases: Sequence[tuple[int, date, int]]) -> Database:
    """A database with these purchases: customer, day, cents."""
    database = Database(path)
    ensure(database)
    at = {day: to_microseconds(datetime(day.year, day.month, day.day, tzinfo=UTC)) for _, day, _ in purchases}
    rows = [
        (str(number), customer, at[day], day.year * 12 + day.month - 1, cents)
        for number, (customer, day, cents) in enumerate(purchases)
    ]
    with database.write() as connection:
        known = sorted({customer for customer, _, _ in purchases})
        connection.exec_driver_sql(_CUSTOMER, [(id_, str(id_)) for id_ in known])
        connection.exec_driver_sql(_ORDER, rows)
        refresh_profiles(connection)
    return database


# --- the sample, as Fader, Hardie and Lee use it ---------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The one-in-ten sample, a purchase a day: its customers' purchases of one day are one transaction."""
    spec = importlib.util.find_spec("lifetimes")
    assert spec is not None
    assert spec.origin is not None
    lines = (Path(spec.origin).parent / "datasets" / "CDNOW_sample.txt").read_text().splitlines()
    days: defaultdict[tuple[int, date], int] = defaultdict(int)
    for line in lines:
        if line.strip():
            _, customer, day, _, dollars = line.split()
            days[int(customer), date.fromisoformat(day)] += round(float(dollars) * 100)
    purchases = [(customer, day, cents) for (customer, day), cents in days.items()]
    return load(tmp_path_factory.mktemp("cdnow-sample") / "holdfast.db", purchases)


def test_the_published_counts_of_the_sample_come_out(sample: Database) -> None:
    # Fader, Hardie and Lee, Marketing Science 24 (2005): 2,357 customers, calibration to 1997-09-30.
    in_calibration = func.count().filter(orders.c.ordered_at < CUT)
    x = select((in_calibration - 1).label("x")).group_by(orders.c.customer_id).subquery()
    later = func.count().filter(orders.c.ordered_at >= CUT)
    with sample.read() as connection:
        counted = connection.execute(
            select(func.count(), func.sum(x.c.x), func.count().filter(x.c.x == 0)).select_from(x)
        ).one()
        assert tuple(counted) == (2_357, 2_457, 1_411)
        assert connection.scalar(select(later)) == 1_882
        assert connection.scalar(select(func.sum(profiles.c.order_count))) == 2_357 + 2_457 + 1_882


def test_the_months_kpis_add_up_to_the_published_counts(sample: Database) -> None:
    months = range(1997 * 12, JUNE + 1)
    with sample.read() as connection:
        sheets = [aggregates.kpis(connection, month, "UTC", END) for month in months]
    calibration, holdout = sheets[:9], sheets[9:]
    assert sum(month.sales.orders - month.sales.repeat_orders for month in sheets) == 2_357
    assert sum(month.sales.repeat_orders for month in calibration) == 2_457
    assert sum(month.sales.orders for month in holdout) == 1_882
    # The end of September: a year had not gone by, and 1,411 of 2,357 had never come again.
    assert calibration[-1].repurchase.rpr == Rate(2_357 - 1_411, 2_357)


# --- all of it ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """All customers and purchases."""
    purchases = [(int(p.customer_id), p.day, int(p.dollars * 100)) for p in cdnow.purchases()]
    return load(tmp_path_factory.mktemp("cdnow-master") / "holdfast.db", purchases)


@pytest.fixture(scope="module")
def june(master: Database) -> KpiSums:
    """The last month of the data."""
    with master.read() as connection:
        return aggregates.kpis(connection, JUNE, "UTC", END)


def buyers(since: datetime, until: datetime) -> set[str]:
    """Customers who bought in [since, until)."""
    return {p.customer_id for p in cdnow.purchases() if since.date() <= p.day < until.date()}


def test_retention_is_what_a_computation_from_the_purchases_gives(june: KpiSums) -> None:
    start = datetime(1998, 6, 1, tzinfo=UTC)
    active_at_start, active_at_end = buyers(start - YEAR, start), buyers(END - YEAR, END)
    ever = buyers(datetime(1997, 1, 1, tzinfo=UTC), start)
    found = june.retention
    assert found.crr == Rate(len(active_at_start & active_at_end), len(active_at_start))
    assert found.active_at_end == len(active_at_end)
    assert found.new == len(active_at_end - ever) == 0
    assert found.reactivated == len(active_at_end - active_at_start) > 0
    # Everybody's first purchase is in the first quarter of 1997: who is back was reactivated.
    assert found.textbook_crr == len(active_at_end) / len(active_at_start)


def test_repurchase_is_what_a_computation_from_the_purchases_gives(june: KpiSums) -> None:
    since = (END - YEAR).date()
    counts = [n for own in cdnow.histories().values() if (n := sum(p.day >= since for p in own))]
    assert june.repurchase.rpr == Rate(sum(n > 1 for n in counts), len(counts))
    assert june.repurchase.orders_per_buyer == sum(counts) / len(counts)


def test_orders_are_what_a_computation_from_the_purchases_gives(june: KpiSums) -> None:
    cents = [int(p.dollars * 100) for p in cdnow.purchases() if p.day >= date(1998, 6, 1)]
    assert june.sales.aov == sum(cents) / len(cents)
    assert june.sales.median == median(cents)
    assert june.sales.repeat_orders == len(cents)
    assert june.sales.returning_share == Rate(june.sales.buyers, june.sales.buyers)


def test_second_orders_are_counted_of_those_who_were_observed_for_long_enough(master: Database) -> None:
    with master.read() as connection:
        found = aggregates.kpis(connection, 1997 * 12 + 4, "UTC", END).repurchase
    last_start = datetime(1997, 6, 1, tzinfo=UTC) - timedelta(days=90)
    observed = [own for own in cdnow.histories().values() if own[0].day <= last_start.date()]
    second = [own for own in observed if len(own) > 1 and own[1].day < own[0].day + timedelta(days=90)]
    assert found.second_order_rate == Rate(len(second), len(observed))
    assert len(second) > 1_000


def test_lifetime_value_is_the_revenue_of_a_buyers_years(june: KpiSums) -> None:
    window = june.repurchase
    revenue = sum(int(p.dollars * 100) for p in cdnow.purchases() if p.day >= (END - YEAR).date())
    assert clv(window.aov, window.orders_per_buyer, 3) == pytest.approx(3 * revenue / window.buyers)
