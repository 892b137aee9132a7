"""Segments: whom a rule selects from a whole shop, against statements written by hand.

Each rule is compiled to its one statement, and stands beside three by hand that take different ways to the
same customers. The fastest of the three is what it is compared with. All run as rules do in planning, in an
INSERT … SELECT, for which PostgreSQL uses one process.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Insert,
    MetaData,
    Select,
    Table,
    TextualSelect,
    column,
    delete,
    insert,
    text,
)

from holdfast.audience.arms import P, coefficients, threshold
from holdfast.audience.rules import Rule
from holdfast.store.database import Database
from holdfast.store.segments import RuleContext, audience_statement
from tests.benchmarks.databases import postgres_server
from tests.benchmarks.measuring import Bound, Taken, measure, stopwatch
from tests.benchmarks.population import NOW, populate_with_histories
from tests.benchmarks.projects import SECRET, project
from tests.query_plans import full_scans

MOST_RATIO = 1.3
LEAST_CUSTOMERS = 100_000  # that the ratio is judged from

_MATCHED = Table("matched", MetaData(), Column("id", BigInteger), prefixes=["TEMPORARY"])

CONTEXT = RuleContext(as_of=NOW, lifecycle=project().lifecycle, secret=SECRET, segments={})
_A, _B = coefficients(SECRET, "sample", "")
GIVEN: dict[str, int | bool] = {
    "yes": True,
    "now": CONTEXT.now,
    **{f"days_{days}": CONTEXT.ago(timedelta(days=days)) for days in (14, 30, 90, 365)},
    "a": _A,
    "b": _B,
    "p": P,
    "half": threshold(0.5),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A rule, and statements by hand that select the same customers."""

    title: str
    rule: dict[str, Any]
    by_hand: dict[str, str]


SUBJECTS = [
    Subject(
        "gone quiet, in two countries",
        {
            "all": [
                {"lifecycle": {"in": ["at_risk", "lapsed"]}},
                {"orders.count": {"gte": 2}},
                {"country": {"in": ["DE", "EG"]}},
            ]
        },
        {
            "join": """
                SELECT c.id FROM customers c JOIN profiles p ON p.customer_id = c.id
                WHERE c.country IN ('DE', 'EG') AND p.last_order_at < :days_90 AND p.order_count >= 2
            """,
            "in": """
                SELECT id FROM customers
                WHERE country IN ('DE', 'EG')
                  AND id IN (SELECT customer_id FROM profiles
                             WHERE last_order_at < :days_90 AND order_count >= 2)
            """,
            "group by": """
                SELECT c.id
                FROM customers c JOIN (SELECT customer_id FROM orders WHERE qualifying = :yes
                                       GROUP BY customer_id
                                       HAVING count(*) >= 2 AND max(ordered_at) < :days_90) AS quiet
                     ON quiet.customer_id = c.id
                WHERE c.country IN ('DE', 'EG')
            """,
        },
    ),
    Subject(
        "ordered twice in 30 days",
        {"orders.count": {"gte": 2, "within": "30d"}},
        {
            "group by": """
                SELECT customer_id FROM orders
                WHERE qualifying = :yes AND ordered_at > :days_30 AND ordered_at <= :now
                GROUP BY customer_id HAVING count(*) >= 2
            """,
            "join and group by": """
                SELECT p.customer_id
                FROM profiles p JOIN orders o ON o.customer_id = p.customer_id
                WHERE p.last_order_at > :days_30
                  AND o.qualifying = :yes AND o.ordered_at > :days_30 AND o.ordered_at <= :now
                GROUP BY p.customer_id HAVING count(*) >= 2
            """,
            "exists": """
                SELECT p.customer_id FROM profiles p
                WHERE p.last_order_at > :days_30
                  AND EXISTS (SELECT 1 FROM orders o
                              WHERE o.customer_id = p.customer_id AND o.qualifying = :yes
                                AND o.ordered_at > :days_30 AND o.ordered_at <= :now
                              ORDER BY o.ordered_at LIMIT 1 OFFSET 1)
            """,
        },
    ),
    Subject(
        "ordered in 90 days, but no tea and no coffee",
        {
            "all": [
                {"orders.last": {"within": "90d"}},
                {"not": {"orders.category": {"in": ["tea", "coffee"], "within": "90d"}}},
            ]
        },
        {
            "not exists": """
                SELECT p.customer_id FROM profiles p
                WHERE p.last_order_at > :days_90
                  AND NOT EXISTS (SELECT 1 FROM orders o JOIN order_lines l ON l.order_id = o.id
                                  WHERE o.customer_id = p.customer_id AND o.qualifying = :yes
                                    AND o.ordered_at > :days_90 AND o.ordered_at <= :now
                                    AND l.category IN ('tea', 'coffee'))
            """,
            "left join": """
                SELECT p.customer_id
                FROM profiles p
                     LEFT JOIN (SELECT DISTINCT o.customer_id
                                FROM orders o JOIN order_lines l ON l.order_id = o.id
                                WHERE o.qualifying = :yes AND o.ordered_at > :days_90 AND o.ordered_at <= :now
                                  AND l.category IN ('tea', 'coffee')) AS bought
                     ON bought.customer_id = p.customer_id
                WHERE p.last_order_at > :days_90 AND bought.customer_id IS NULL
            """,
            "group by": """
                SELECT o.customer_id
                FROM orders o LEFT JOIN order_lines l ON l.order_id = o.id AND l.category IN ('tea', 'coffee')
                WHERE o.qualifying = :yes AND o.ordered_at > :days_90 AND o.ordered_at <= :now
                GROUP BY o.customer_id HAVING count(l.order_id) = 0
            """,
        },
    ),
    Subject(
        "looked three times in 30 days, no order in 14",
        {
            "all": [
                {"event": {"name": "viewed_product", "count": {"gte": 3}, "within": "30d"}},
                {"orders.count": {"eq": 0, "within": "14d"}},
            ]
        },
        {
            "group by, except": """
                SELECT customer_id FROM events
                WHERE event = 'viewed_product' AND occurred_at > :days_30 AND occurred_at <= :now
                GROUP BY customer_id HAVING count(*) >= 3
                EXCEPT
                SELECT customer_id FROM profiles WHERE last_order_at > :days_14
            """,
            "group by, not exists": """
                WITH looked AS (
                    SELECT customer_id FROM events
                    WHERE event = 'viewed_product' AND occurred_at > :days_30 AND occurred_at <= :now
                    GROUP BY customer_id HAVING count(*) >= 3)
                SELECT customer_id FROM looked
                WHERE NOT EXISTS (SELECT 1 FROM orders o
                                  WHERE o.customer_id = looked.customer_id AND o.qualifying = :yes
                                    AND o.ordered_at > :days_14 AND o.ordered_at <= :now)
            """,
            "count, left join": """
                SELECT c.id
                FROM customers c LEFT JOIN profiles p ON p.customer_id = c.id AND p.last_order_at > :days_14
                WHERE p.customer_id IS NULL
                  AND (SELECT count(*) FROM events e
                       WHERE e.customer_id = c.id AND e.event = 'viewed_product'
                         AND e.occurred_at > :days_30 AND e.occurred_at <= :now) >= 3
            """,
        },
    ),
    Subject(
        "good customers who may be written to, half of them",
        {
            "all": [
                {
                    "any": [
                        {"orders.value": {"gte": 500, "within": "365d"}},
                        {"orders.count": {"gte": 20}},
                    ]
                },
                {"not": {"event": {"name": "complaint", "within": "30d"}}},
                {"consent": "email"},
                {"reachable": "email"},
                {"sample": "50%"},
            ]
        },
        {
            "exists": """
                SELECT c.id FROM customers c JOIN profiles p ON p.customer_id = c.id
                WHERE (c.draw * :a + :b) % :p < :half
                  AND (p.order_count >= 20
                       OR (SELECT sum(o.total) FROM orders o
                           WHERE o.customer_id = c.id AND o.qualifying = :yes
                             AND o.ordered_at > :days_365 AND o.ordered_at <= :now) >= 50000)
                  AND NOT EXISTS (SELECT 1 FROM events e
                                  WHERE e.customer_id = c.id AND e.event = 'complaint'
                                    AND e.occurred_at > :days_30 AND e.occurred_at <= :now)
                  AND EXISTS (SELECT 1 FROM addresses d
                              WHERE d.customer_id = c.id AND d.kind = 'email'
                                AND NOT EXISTS (SELECT 1 FROM suppressions s
                                                WHERE s.kind = 'email' AND s.address_key = d.address_key
                                                  AND s.created_at <= :now))
                  AND (SELECT n.granted FROM consents n
                       WHERE n.customer_id = c.id AND n.kind = 'email' AND n.purpose = 'marketing'
                         AND n.recorded_at <= :now
                       ORDER BY n.recorded_at DESC, n.id DESC LIMIT 1) = :yes
            """,
            "join and group by": """
                WITH latest AS (
                    SELECT customer_id, granted,
                           row_number() OVER (PARTITION BY customer_id
                                              ORDER BY recorded_at DESC, id DESC) AS nth
                    FROM consents WHERE kind = 'email' AND purpose = 'marketing' AND recorded_at <= :now),
                spent AS (
                    SELECT customer_id FROM orders
                    WHERE qualifying = :yes AND ordered_at > :days_365 AND ordered_at <= :now
                    GROUP BY customer_id HAVING sum(total) >= 50000)
                SELECT c.id
                FROM customers c
                     JOIN profiles p ON p.customer_id = c.id
                     JOIN latest n ON n.customer_id = c.id AND n.nth = 1 AND n.granted = :yes
                     JOIN addresses d ON d.customer_id = c.id AND d.kind = 'email'
                     LEFT JOIN suppressions s ON s.kind = 'email' AND s.address_key = d.address_key
                               AND s.created_at <= :now
                     LEFT JOIN spent ON spent.customer_id = c.id
                WHERE (c.draw * :a + :b) % :p < :half
                  AND s.kind IS NULL AND (p.order_count >= 20 OR spent.customer_id IS NOT NULL)
                  AND c.id NOT IN (SELECT customer_id FROM events
                                   WHERE event = 'complaint'
                                     AND occurred_at > :days_30 AND occurred_at <= :now)
            """,
            "in": """
                WITH good AS (
                    SELECT customer_id AS id FROM profiles WHERE order_count >= 20
                    UNION
                    SELECT customer_id FROM orders
                    WHERE qualifying = :yes AND ordered_at > :days_365 AND ordered_at <= :now
                    GROUP BY customer_id HAVING sum(total) >= 50000)
                SELECT c.id FROM customers c
                WHERE (c.draw * :a + :b) % :p < :half
                  AND c.id IN (SELECT id FROM good)
                  AND c.id NOT IN (SELECT customer_id FROM events
                                   WHERE event = 'complaint'
                                     AND occurred_at > :days_30 AND occurred_at <= :now)
                  AND c.id IN (SELECT customer_id FROM addresses d
                               WHERE d.kind = 'email'
                                 AND NOT EXISTS (SELECT 1 FROM suppressions s
                                                 WHERE s.kind = 'email' AND s.address_key = d.address_key
                                                   AND s.created_at <= :now))
                  AND (SELECT n.granted FROM consents n
                       WHERE n.customer_id = c.id AND n.kind = 'email' AND n.purpose = 'marketing'
                         AND n.recorded_at <= :now
                       ORDER BY n.recorded_at DESC, n.id DESC LIMIT 1) = :yes
            """,
        },
    ),
]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=1_000_000, help="customers; ten orders for each")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL too")


def run(arguments: Namespace) -> list[Bound]:
    """Five rules over a shop on SQLite; on PostgreSQL where asked for."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        bounds = _compare("SQLite", Path(folder, "shop.db"), arguments)
        if arguments.postgres:
            with postgres_server(Path(folder, "postgres")) as server:
                bounds += _compare("PostgreSQL", server.location("shop"), arguments)
    return bounds


def _compare(title: str, location: str | Path, arguments: Namespace) -> list[Bound]:
    populate_with_histories(location, arguments.customers)
    print(f"\n{arguments.customers:,} customers, {10 * arguments.customers:,} orders, {title}")
    database = Database(location)
    with database.write() as connection:
        _MATCHED.create(connection)
        bounds = [bound for subject in SUBJECTS for bound in _judge(connection, subject, title, arguments)]
    database.close()
    return bounds


def _judge(connection: Connection, subject: Subject, title: str, arguments: Namespace) -> list[Bound]:
    rule = Rule.model_validate(subject.rule)
    compiled = audience_statement(rule, CONTEXT)
    matched = set(connection.scalars(compiled))
    for name, statement in subject.by_hand.items():
        if set(connection.scalars(text(statement), GIVEN)) != matched:
            raise SystemExit(f"{subject.title}: `{name}` selects others")
    print(f"{subject.title}: {len(matched):,} customers")
    kept = {name: _kept(text(statement).columns(column("id"))) for name, statement in subject.by_hand.items()}
    taken = measure(
        arguments.rounds,
        1,
        holdfast=partial(_take, connection, _kept(compiled)),
        **{name: partial(_take, connection, statement) for name, statement in kept.items()},
    )
    fastest = min(kept, key=lambda name: taken[name].wall)
    ratio = taken["holdfast"].wall / taken[fastest].wall
    print(f"  over `{fastest}`: {ratio:.2f}")
    what = f"{subject.title}, {title}"
    bounds = []
    # Below that, building the statement is much of it.
    if arguments.customers >= LEAST_CUSTOMERS:
        bounds.append(Bound(f"{what}, over the fastest by hand", ratio, MOST_RATIO))
    if "within" in json.dumps(subject.rule):
        bounds.append(
            Bound(f"{what}, full scans of orders", len(full_scans(connection, compiled, "orders")), 0)
        )
    return bounds


def _kept(statement: Select[Any] | TextualSelect) -> Insert:
    return insert(_MATCHED).from_select(["id"], statement)


def _take(connection: Connection, statement: Insert) -> Taken:
    connection.execute(delete(_MATCHED))
    with stopwatch() as elapsed:
        connection.execute(statement, GIVEN)
        return elapsed()
