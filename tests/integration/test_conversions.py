"""Conversions: what meets a campaign's goal inside its window, in both arms."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from holdfast.responses import collect
from holdfast.store import conversions
from holdfast.store.imports import import_records
from holdfast.tables import conversions as converted
from holdfast.tables import enrollments, events, orders
from tests.integration.conftest import NOW, Bench

MUCH_LATER = NOW + timedelta(days=60)
WITHIN = timedelta(days=14)
# What is the same SQL as another test's is tried on one database.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
INSTANT = timedelta(microseconds=1)


def enrolled(bench: Bench, customers: int = 1, **fields: Any) -> str:
    """A campaign for an order within 14 days, its run enrolled now."""
    bench.shop.customers(customers)
    name = bench.campaign(**{"goal": {"event": "order", "within": "14d"}, **fields})
    bench.start(name)
    return name


def refresh(bench: Bench, name: str = "hello", now: Any = MUCH_LATER, since: Any = None) -> int:
    goal = bench.ws.campaign(name).goal
    assert goal is not None
    return conversions.refresh(bench.ws.database, name, goal, now, since)


def found(bench: Bench) -> dict[int, tuple[Any, int, int]]:
    """By customer, when they converted, by how many events, worth what."""
    with bench.ws.database.read() as connection:
        rows = connection.execute(
            select(
                enrollments.c.customer_id, converted.c.converted_at, converted.c.events, converted.c.value
            ).join(enrollments, enrollments.c.id == converted.c.enrollment_id)
        )
        return {customer_id: (at, n, value) for customer_id, at, n, value in rows}


@on_sqlite
def test_orders_inside_the_window_convert_and_add_up(bench: Bench) -> None:
    enrolled(bench, customers=2)
    for days in (-1, 3, 9, 20):
        bench.shop.order(1, NOW + timedelta(days=days))
    assert refresh(bench) == 1
    assert found(bench) == {1: (NOW + timedelta(days=3), 2, 200)}


def test_the_window_is_after_the_enrollment_and_up_to_its_end(bench: Bench) -> None:
    enrolled(bench, customers=4)
    moments = NOW, NOW + INSTANT, NOW + WITHIN, NOW + WITHIN + INSTANT
    for customer_id, moment in enumerate(moments, 1):
        bench.shop.order(customer_id, moment)
    refresh(bench)
    assert set(found(bench)) == {2, 3}


@on_sqlite
def test_an_order_in_the_future_does_not_count_until_its_time(bench: Bench) -> None:
    enrolled(bench)
    bench.shop.order(1, NOW + timedelta(days=5))
    assert refresh(bench, now=NOW + timedelta(days=4)) == 0
    assert refresh(bench, now=NOW + timedelta(days=5)) == 1


def test_a_refund_lowers_the_value_and_with_nothing_left_the_conversion_is_taken_back(bench: Bench) -> None:
    enrolled(bench)
    order_id = bench.shop.order(1, NOW + timedelta(days=1))
    refresh(bench)

    def refund(amount: str) -> None:
        record = {"refund_id": "F1", "order_id": order_id, "refunded_at": NOW, "amount": amount}
        ws = bench.ws
        import_records(ws.database, ws.project, ws.secret, "refunds", [record], now=MUCH_LATER)
        refresh(bench)

    refund("0.40")
    assert found(bench)[1][2] == 60
    refund("1.00")
    assert found(bench) == {}


@on_sqlite
def test_a_second_refresh_changes_nothing(bench: Bench) -> None:
    enrolled(bench)
    bench.shop.order(1, NOW + timedelta(days=1))
    assert (refresh(bench), refresh(bench)) == (1, 0)


def test_an_order_that_comes_late_counts_by_its_date_and_a_cancelled_one_is_taken_back(bench: Bench) -> None:
    enrolled(bench)
    bench.shop.order(1, NOW + timedelta(days=9))
    refresh(bench, now=NOW + timedelta(days=10))
    bench.shop.order(1, NOW + timedelta(days=2))
    refresh(bench)
    assert found(bench) == {1: (NOW + timedelta(days=2), 2, 200)}
    with bench.ws.database.write() as connection:
        connection.execute(update(orders).values(qualifying=False, status="cancelled"))
    assert refresh(bench) == 1
    assert found(bench) == {}


@on_sqlite
def test_both_arms_are_counted_and_who_was_turned_away_is_not(bench: Bench) -> None:
    bench.shop.customers(1, consent=False)
    enrolled(bench, customers=40, holdout="50%")
    for customer_id in range(1, 42):
        bench.shop.order(customer_id, NOW + timedelta(days=1))
    assert refresh(bench) == 40
    assert 1 not in found(bench)
    arms = {row.arm for row in bench.enrollments() if row.customer_id in found(bench)}
    assert arms == {"treated", "holdout"}


def test_a_goal_may_be_an_event_of_any_name(bench: Bench) -> None:
    enrolled(bench, customers=2, goal={"event": "lesson", "within": "14d"})
    with bench.ws.database.write() as connection:
        connection.execute(
            insert(events),
            [
                {"external_id": f"e{n}", "customer_id": 1, "event": name, "properties": {},
                 "occurred_at": NOW + timedelta(days=n)}
                for n, name in enumerate(["lesson", "lesson", "lesson", "login"])
            ],
        )  # fmt: skip
    refresh(bench)
    assert found(bench) == {1: (NOW + timedelta(days=1), 2, 0)}


def test_the_end_of_a_customers_way_and_a_conversion_are_judged_alike(bench: Bench) -> None:
    steps = [
        {"id": "first", "channels": ["sms"], "template": "note"},
        {"id": "second", "channels": ["sms"], "template": "note", "after": "3d"},
    ]
    bench.shop.customers(4)
    name = bench.campaign(goal={"event": "order", "within": "2d"}, exit_when=["converted"], steps=steps)
    bench.run(name)
    for customer_id, days in [(1, 0), (2, 1), (3, 2.5)]:
        bench.shop.order(customer_id, NOW + timedelta(days=days))
    bench.clock.advance(days=4)
    bench.dispatch(name)
    ended = {row.customer_id for row in bench.messages(step="second") if row.reason == "converted"}
    collect(bench.ws, bench.clock.now)
    assert ended == set(found(bench)) == {2}


@on_sqlite
def test_runs_whose_window_is_long_over_can_be_left_as_they_are(bench: Bench) -> None:
    enrolled(bench)
    bench.shop.order(1, NOW + timedelta(days=1))
    assert refresh(bench, since=NOW + timedelta(days=1)) == 0
    assert refresh(bench, since=NOW - timedelta(days=1)) == 1


@on_sqlite
def test_a_run_of_many_customers_is_counted_slice_by_slice(bench: Bench, monkeypatch: Any) -> None:
    monkeypatch.setattr(conversions, "_SLICE", 3)
    enrolled(bench, customers=10)
    for customer_id in range(1, 11):
        bench.shop.order(customer_id, NOW + timedelta(days=1))
    assert refresh(bench) == 10
