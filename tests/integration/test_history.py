from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert

from holdfast.audience.people import Line, Money, Needs, Order
from holdfast.settings import Project
from holdfast.store.database import Database
from holdfast.store.history import load_bestsellers, load_people
from holdfast.tables import customers, order_lines, orders, profiles

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ALL = Needs(orders=20, lines=True, favourites=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(root=tmp_path)


def add_customer(connection: Any, id_: int, **values: Any) -> None:
    defaults = {"external_id": f"c{id_}", "draw": 1, "created_at": NOW, "updated_at": NOW, "attributes": {}}
    connection.execute(insert(customers).values({"id": id_, **defaults, **values}))


def add_order(
    connection: Any, id_: int, customer_id: int, days_ago: float, total: int = 1000, qualifying: bool = True
) -> None:
    connection.execute(
        insert(orders).values(
            id=id_,
            external_id=f"o{id_}",
            customer_id=customer_id,
            ordered_at=NOW - timedelta(days=days_ago),
            month=0,
            total=total,
            currency="EUR",
            status="paid" if qualifying else "cancelled",
            qualifying=qualifying,
        )
    )


def add_line(
    connection: Any,
    order_id: int,
    sku: str,
    category: str | None = "tea",
    quantity: int = 1,
    price: int = 500,
) -> None:
    connection.execute(
        insert(order_lines).values(
            order_id=order_id,
            sku=sku,
            name=f"Name {sku}",
            category=category,
            quantity=quantity,
            unit_price=price,
        )
    )


def add_profile(connection: Any, customer_id: int, count: int, total: int, *days_ago: float | None) -> None:
    first, previous, last = (None if days is None else NOW - timedelta(days=days) for days in days_ago)
    connection.execute(
        insert(profiles).values(
            customer_id=customer_id,
            order_count=count,
            total=total,
            first_order_at=first,
            previous_order_at=previous,
            last_order_at=last,
        )
    )


@pytest.fixture
def shop(database: Database) -> Database:
    """Two customers with orders and one without."""
    with database.write() as connection:
        add_customer(
            connection,
            1,
            first_name=" Anna\u202e\n",
            last_name="Berg",
            locale="de-AT",
            timezone="Europe/Vienna",
            country="AT",
            city="Graz",
            birthday=date(1990, 2, 28),
            attributes={"plan": "pro", "ü": "ä"},
        )
        add_customer(connection, 2)
        add_customer(connection, 3, first_name="\u200e")
        add_order(connection, 10, 1, 100, 1500)
        add_line(connection, 10, "b", price=700)
        add_line(connection, 10, "A", quantity=2, price=400)
        add_order(connection, 11, 1, 10, 2500)
        add_line(connection, 11, "c", category="mugs", price=2500)
        add_order(connection, 12, 1, 5, 9900, qualifying=False)
        add_line(connection, 12, "z", quantity=50)
        add_order(connection, 13, 2, 400, 800)
        add_line(connection, 13, "d", category=None)
        add_order(connection, 14, 2, 20, 800)
        add_line(connection, 14, "e", quantity=9, price=800)
        add_profile(connection, 1, 2, 4000, 100, 100, 10)
        add_profile(connection, 2, 2, 1600, 400, 400, 20)
    return database


def test_a_customer_comes_with_clean_texts_and_attributes(shop: Database, project: Project) -> None:
    with shop.read() as connection:
        customer = load_people(connection, [1], NOW, Needs(), project)[1].customer
    assert (customer.first_name, customer.name, customer.language) == ("Anna", "Anna Berg", "de")
    assert (customer.timezone, customer.country, customer.city) == ("Europe/Vienna", "AT", "Graz")
    assert customer.birthday == date(1990, 2, 28)
    assert customer.stage == "active"
    assert (customer.attributes.plan, customer.attributes["ü"], customer.attributes.none) == (
        "pro",
        "ä",
        None,
    )


def test_orders_come_latest_first_with_their_lines_and_without_cancelled_ones(
    shop: Database, project: Project
) -> None:
    with shop.read() as connection:
        history = load_people(connection, [1], NOW, ALL, project)[1].history
    assert history.last_order == Order(
        "o11",
        NOW - timedelta(days=10),
        Money(2500, "EUR"),
        "paid",
        (Line(1, "c", "Name c", "mugs", Money(2500, "EUR")),),
    )
    assert [order.id for order in history.orders] == ["o11", "o10"]
    assert [line.sku for line in history.orders[1].lines] == ["A", "b"]
    assert history.orders[1].lines[0].total == Money(800, "EUR")
    assert (history.order_count, history.total_spent, history.average_order) == (
        2,
        Money(4000, "EUR"),
        Money(2000, "EUR"),
    )
    assert history.days_since_last_order == 10


def test_a_customer_without_orders_has_an_empty_history(shop: Database, project: Project) -> None:
    with shop.read() as connection:
        person = load_people(connection, [3], NOW, ALL, project, {})[3]
    assert person.customer.first_name is None
    assert person.customer.stage == "never_purchased"
    assert (person.history.orders, person.history.last_order, person.history.average_order) == (
        (),
        None,
        None,
    )
    assert (person.history.days_since_last_order, person.history.favourite_category) == (None, None)


def test_nothing_after_the_moment_is_seen(shop: Database, project: Project) -> None:
    with shop.read() as connection:
        person = load_people(connection, [1], NOW - timedelta(days=50), ALL, project)[1]
    assert [order.id for order in person.history.orders] == ["o10"]
    assert (person.history.order_count, person.history.total_spent) == (1, Money(1500, "EUR"))
    assert person.history.days_since_last_order == 50
    assert person.history.favourite_category == "tea"
    with shop.read() as connection:
        before_all = load_people(connection, [1], NOW - timedelta(days=500), ALL, project)[1]
    assert (before_all.history.order_count, before_all.history.orders) == (0, ())


def test_recounted_facts_equal_the_rollup(shop: Database, project: Project) -> None:
    with shop.read() as connection:
        kept = load_people(connection, [1, 2], NOW, ALL, project)
    with shop.write() as connection:
        for customer_id in (1, 2):
            later = NOW + timedelta(days=1)
            connection.execute(
                profiles.update().where(profiles.c.customer_id == customer_id).values(last_order_at=later)
            )
        recounted = load_people(connection, [1, 2], NOW, ALL, project)
    assert {id_: replace(p.customer, attributes=None) for id_, p in recounted.items()} == {  # type: ignore[arg-type]
        id_: replace(p.customer, attributes=None)  # type: ignore[arg-type]
        for id_, p in kept.items()
    }
    assert {id_: person.history for id_, person in recounted.items()} == {
        id_: person.history for id_, person in kept.items()
    }


def test_the_favourite_category_is_the_one_with_most_units(shop: Database, project: Project) -> None:
    with shop.read() as connection:
        people = load_people(connection, [1, 2, 3], NOW, ALL, project, {})
    assert [people[id_].history.favourite_category for id_ in (1, 2, 3)] == ["tea", "tea", None]


def test_recommended_are_bestsellers_of_the_favourite_category_that_the_customer_lacks(
    shop: Database, project: Project
) -> None:
    with shop.read() as connection:
        bestsellers = load_bestsellers(connection, NOW)
        people = load_people(connection, [1, 2], NOW, ALL, project, bestsellers)
    assert [product.sku for product in bestsellers["tea"]] == ["e", "A", "b"]
    assert bestsellers["tea"][0].unit_price == Money(800, "EUR")
    assert [product.sku for product in people[1].history.recommended] == ["e"]
    assert [product.sku for product in people[2].history.recommended] == ["A", "b"]


def test_only_as_many_orders_are_loaded_as_templates_read(shop: Database, project: Project) -> None:
    with shop.write() as connection:
        for number in range(30):
            add_order(connection, 100 + number, 3, number + 1)
        add_profile(connection, 3, 30, 30_000, 30, 2, 1)
        one = load_people(connection, [3], NOW, Needs(orders=1), project)[3].history
        many = load_people(connection, [3], NOW, Needs(orders=99), project)[3].history
        none = load_people(connection, [3], NOW, Needs(), project)[3].history
    assert [order.id for order in one.orders] == ["o100"]
    assert len(many.orders) == 20
    assert (none.orders, none.order_count) == ((), 30)


def test_thousands_of_customers_take_a_handful_of_statements(database: Database, project: Project) -> None:
    ids = list(range(1, 5001))
    with database.write() as connection:
        rows = [
            {
                "id": id_,
                "external_id": f"c{id_}",
                "draw": 1,
                "created_at": NOW,
                "updated_at": NOW,
                "attributes": {},
            }
            for id_ in ids
        ]
        connection.execute(insert(customers), rows)
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    with database.read() as connection:
        event.listen(database.engine, "before_cursor_execute", note)
        people = load_people(connection, [*ids, 999_999], NOW, ALL, project, {})
    assert sorted(people) == ids
    assert len(statements) <= 5
