"""How the databases mean to go about a rule over a whole shop: no rule with a window reads all orders."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, text

from holdfast.audience.rules import Rule
from holdfast.store.database import Database
from holdfast.store.profiles import refresh_profiles
from holdfast.store.segments import RuleContext, audience_statement
from holdfast.tables import orders, responses, to_microseconds
from tests.integration.rule_oracle import LATE, SECRET, THRESHOLDS
from tests.query_plans import described, full_scans

CONTEXT = RuleContext(LATE, THRESHOLDS, SECRET, {})

CUSTOMERS = """
    INSERT INTO customers (id, external_id, draw, country, created_at, updated_at)
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000)
    SELECT n, 'c' || CAST(n AS TEXT), n, CASE WHEN n % 3 = 0 THEN 'DE' ELSE 'AT' END, 0, 0 FROM numbers
"""
ORDERS = """
    INSERT INTO orders (id, external_id, customer_id, ordered_at, month, total, currency, status, qualifying)
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
    SELECT n, 'o' || CAST(n AS TEXT), 1 + n * n % 65537 % 1999, :now - (20000 - n) * :apart, 0, 1000,
           'EUR', 'paid', :yes
    FROM numbers
"""
# Every fourth customer answered, and everybody clicked ten times.
RESPONSES = """
    INSERT INTO responses (id, channel, event_id, kind, customer_id, occurred_at, received_at, survey, score)
    SELECT id, '', external_id, CASE WHEN customer_id % 4 = 0 THEN 'answered' ELSE 'clicked' END, customer_id,
           ordered_at, ordered_at, CASE WHEN customer_id % 4 = 0 THEN 'nps' END,
           CASE WHEN customer_id % 4 = 0 THEN id % 11 END
    FROM orders
"""
LINES = """
    INSERT INTO order_lines (order_id, sku, name, category, quantity, unit_price)
    SELECT id, 'A-1', 'A', CASE WHEN id % 4 = 0 THEN 'tea' ELSE 'soap' END, 1, 1000 FROM orders
"""


@pytest.fixture
def shop(database: Database) -> Database:
    """2,000 customers with ten orders each over 1,000 days, known to the planner."""
    given = {"now": to_microseconds(LATE), "apart": 1000 * 86_400_000_000 // 20_000, "yes": True}
    with database.write() as connection:
        for statement in (CUSTOMERS, ORDERS, LINES, RESPONSES):
            connection.execute(text(statement), given)
        refresh_profiles(connection)
        connection.execute(text("ANALYZE"))
    return database


BOUGHT_TEA: dict[str, Any] = {"orders.category": {"in": ["tea", "coffee"], "within": "90d"}}
WINDOWS: list[dict[str, Any]] = [
    {"orders.count": {"gte": 2, "within": "30d"}},
    {"orders.count": {"eq": 0, "within": "30d"}},
    {"orders.value": {"gte": 50, "within": "365d"}},
    {"orders.sku": {"eq": "A-1", "within": "30d"}},
    {"orders.last": {"within": "30d"}},
    BOUGHT_TEA,
    {"not": BOUGHT_TEA},
    {"any": [BOUGHT_TEA, {"orders.count": {"gte": 3, "within": "30d"}}]},
    {
        "all": [
            {"lifecycle": "loyal"},
            {"country": "DE"},
            {"not": {"orders.value": {"gt": 15, "within": "90d"}}},
        ]
    },
]


def test_no_rule_with_a_window_reads_all_orders(shop: Database) -> None:
    with shop.read() as connection:
        for rule in WINDOWS:
            statement = audience_statement(Rule.model_validate(rule), CONTEXT)
            assert full_scans(connection, statement, "orders") == [], rule
            assert 0 < len(connection.scalars(statement).all()) < 2000, rule


def test_no_rule_about_answers_reads_all_responses(shop: Database) -> None:
    low: dict[str, Any] = {"nps": {"lte": 6, "within": "365d"}}
    everything = select(func.count()).select_from(responses).where(responses.c.survey == "nps")
    with shop.read() as connection:
        for rule in (low, {"not": low}, {"all": [{"country": "DE"}, {"nps": {"gte": 9}}]}):
            statement = audience_statement(Rule.model_validate(rule), CONTEXT)
            assert full_scans(connection, statement, "responses") == [], rule
            assert "ix_responses_said" in described(connection, statement)
            assert 0 < len(connection.scalars(statement).all()) < 2000, rule
        assert len(full_scans(connection, everything, "responses")) == 1


def test_a_statement_that_reads_all_orders_is_seen_to(shop: Database) -> None:
    everything = select(func.count()).select_from(orders).where(orders.c.ordered_at <= CONTEXT.now)
    with shop.read() as connection:
        assert len(full_scans(connection, everything, "orders")) == 1
