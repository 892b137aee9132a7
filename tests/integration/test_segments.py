"""Segments on real databases: what the property tests cannot say, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, column, func, insert, select, text, values

from holdfast.audience.arms import P, coefficients, position
from holdfast.audience.lifecycle import Stage, stage
from holdfast.audience.rules import Rule
from holdfast.errors import HoldfastError
from holdfast.settings import Lifecycle
from holdfast.store.database import Database
from holdfast.store.segments import (
    PEOPLE,
    Counted,
    Explained,
    RuleContext,
    audience_statement,
    compile_rule,
    count_each,
    draw_expression,
    explain_customer,
)
from holdfast.tables import customers, metadata
from tests.integration.rule_oracle import LATE, SECRET, THRESHOLDS, Order, Person, Population, store

CONTEXT = RuleContext(LATE, THRESHOLDS, SECRET, {})
DAY = timedelta(days=1)


def person(number: int, *orders: Order, **profile: Any) -> Person:
    attributes = profile.pop("attributes", {})
    blank = dict.fromkeys(("first_name", "last_name", "locale", "timezone", "country", "city"))
    return Person(number, f"c-{number}", blank | profile, attributes, list(orders))


def order(days_ago: float, total: int = 1000, **details: Any) -> Order:
    return Order(
        LATE - timedelta(days=days_ago), total, details.get("qualifying", True), details.get("lines", [])
    )


def fill(database: Database, *people: Person) -> None:
    with database.write() as connection:
        store(connection, Population(list(people), {}))


def matching(database: Database, rule: dict[str, Any], context: RuleContext = CONTEXT) -> list[int]:
    with database.read() as connection:
        statement = audience_statement(Rule.model_validate(rule), context)
        return sorted(connection.scalars(statement))


HOSTILE = [
    "'; DROP TABLE customers; --",
    '" OR 1=1 --',
    "') OR ('1'='1",
    "\\'; DELETE FROM customers; --",
    "%s %(x)s :x ? $1",
    "{0} {x}",
    "'||(SELECT 1)||'",
]


@pytest.mark.parametrize(
    "key", ["country", "customer_id", "language", "attributes.plan", "event", "orders.sku"]
)
def test_hostile_values_are_values(database: Database, key: str) -> None:
    hostile = {number: person(number, country=value) for number, value in enumerate(HOSTILE, 1)}
    for number, value in enumerate(HOSTILE, 1):
        hostile[number].external_id = value
        hostile[number].profile["locale"] = value
        hostile[number].attributes["plan"] = value
        hostile[number].events.append((value, LATE))
        hostile[number].orders.append(order(1, lines=[(value, None)]))
    fill(database, *hostile.values())
    for number, value in enumerate(HOSTILE, 1):
        expected = [number] if "-" not in value or key != "language" else []
        assert matching(database, {key: value}) == expected


@pytest.mark.parametrize("name", ["a'b", 'a"b', "a.b", "$", "a[0]", "", "a) OR (1=1", "x\0", "1st"])
def test_an_attribute_name_that_could_be_more_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"extra_forbidden|not permitted"):
        Rule.model_validate({f"attributes.{name}": 1})


@pytest.mark.parametrize("name", ["plan", "Größe", "数", "with space", "a-b", "_", "DROP TABLE x --"])
def test_an_attribute_is_found_by_the_name_people_gave_it(database: Database, name: str) -> None:
    fill(database, person(1, attributes={name: "pro"}), person(2, attributes={"other": "pro"}))
    assert matching(database, {f"attributes.{name}": "pro"}) == [1]
    assert matching(database, {f"attributes.{name}": {"exists": False}}) == [2]


def test_text_is_compared_exactly_in_case_and_accents(database: Database) -> None:
    spellings = ["Zoë", "zoë", "ZOË", "Zoe", "Zoe\u0308"]
    fill(database, *(person(number, first_name=name) for number, name in enumerate(spellings, 1)))
    assert matching(database, {"first_name": "Zoë"}) == [1]
    assert matching(database, {"first_name": {"starts_with": "Zo"}}) == [1, 4, 5]
    assert matching(database, {"first_name": {"contains": "oe"}}) == [4, 5]
    assert matching(database, {"first_name": {"contains": "OË"}}) == [3]


def test_signs_that_like_would_read_as_wildcards_stand_for_themselves(database: Database) -> None:
    fill(database, person(1, city="50%"), person(2, city="500"), person(3, city="a_b"), person(4, city="axb"))
    assert matching(database, {"city": {"contains": "0%"}}) == [1]
    assert matching(database, {"city": {"starts_with": "a_"}}) == [3]


def test_who_is_nothing_but_a_row_matches_only_what_asks_for_nothing(database: Database) -> None:
    fill(database, person(1))
    present = [
        {"country": "DE"},
        {"country": {"in": ["DE"]}},
        {"country": {"contains": "D"}},
        {"country": {"exists": True}},
        {"language": "de"},
        {"attributes.plan": "pro"},
        {"attributes.plan": {"lt": 5}},
        {"orders.last": {"within": "700d"}},
        {"orders.first": {"before": "1d"}},
        {"orders.value": {"gt": 0}},
        {"orders.category": "shoes"},
        {"event": "viewed"},
        {"consent": "email"},
        {"reachable": "email"},
    ]
    for rule in present:
        assert matching(database, rule) == [], rule
        assert matching(database, {"not": rule}) == [1], rule
    absent = [
        {"country": {"ne": "DE"}},
        {"country": {"not_in": ["DE"]}},
        {"country": {"exists": False}},
        {"attributes.plan": {"ne": 5}},
        {"orders.count": 0},
        {"orders.value": {"eq": 0}},
        {"lifecycle": "never_purchased"},
        {"consent": {"kind": "email", "purpose": "transactional"}},
    ]
    for rule in absent:
        assert matching(database, rule) == [1], rule
        assert matching(database, {"not": rule}) == [], rule


def test_numbers_of_files_are_compared_as_numbers(database: Database) -> None:
    found = [5, "5", "5.0", 5.0, "05"]
    fill(database, *(person(number, attributes={"seats": value}) for number, value in enumerate(found, 1)))
    assert matching(database, {"attributes.seats": 5}) == [1, 2, 3, 4, 5]
    assert matching(database, {"attributes.seats": "5"}) == [2]
    assert matching(database, {"attributes.seats": {"gt": 4.99, "lt": 5.01}}) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("digits", "expected"), [(0, [2]), (2, []), (3, [])])
def test_an_amount_is_in_major_units_of_the_currency(
    database: Database, digits: int, expected: list[int]
) -> None:
    fill(database, person(1, order(1, 99)), person(2, order(1, 100)), person(3))
    assert (
        matching(database, {"orders.value": {"gte": 100}}, replace(CONTEXT, currency_digits=digits))
        == expected
    )


def test_an_amount_finer_than_the_currency_lies_between_two(database: Database) -> None:
    fill(database, person(1, order(1, 1000)), person(2, order(1, 1001)))
    for comparison, expected in [
        ("eq", []),
        ("ne", [1, 2]),
        ("gt", [2]),
        ("gte", [2]),
        ("lt", [1]),
        ("lte", [1]),
    ]:
        assert matching(database, {"orders.value": {comparison: 10.005}}) == expected


def test_windows_of_a_century_are_windows(database: Database) -> None:
    fill(database, person(1, order(700)), person(2))
    assert matching(database, {"orders.last": {"within": "36500d"}}) == [1]
    assert matching(database, {"orders.last": {"before": "36500d"}}) == []


@pytest.mark.parametrize("rollup", [True, False])
def test_orders_after_the_moment_are_not_seen_though_the_rollup_has_them(
    database: Database, rollup: bool
) -> None:
    fill(database, person(1, order(300), order(10)))
    then = replace(CONTEXT, as_of=LATE - 20 * DAY, rollup=rollup)
    assert matching(database, {"orders.count": 1}, then) == [1]
    assert matching(database, {"lifecycle": "lapsed"}, then) == [1]
    assert matching(database, {"lifecycle": "reactivated"}) == [1]


# Tens of days all round, so that orders fall on the thresholds and gaps are as long as they.
moments = st.integers(0, 40).map(lambda tens: LATE - tens * 10 * DAY)
thresholds = st.builds(
    Lifecycle,
    new=st.integers(1, 6).map(lambda tens: tens * 10 * DAY),
    active=st.integers(3, 9).map(lambda tens: tens * 10 * DAY),
    lapsed=st.integers(10, 24).map(lambda tens: tens * 10 * DAY),
    loyal=st.integers(2, 5),
)


@pytest.fixture(scope="module")
def sqlite_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = Database(tmp_path_factory.mktemp("stages") / "holdfast.db")
    metadata.create_all(opened.engine)
    yield opened
    opened.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(moments, max_size=6), min_size=10, max_size=40), thresholds)
def test_stages_in_sql_are_those_of_python(
    sqlite_database: Database, histories: list[list[datetime]], lifecycle: Lifecycle
) -> None:
    people = [
        person(number, *(Order(at, 1, True, []) for at in history))
        for number, history in enumerate(histories, 1)
    ]
    fill(sqlite_database, *people)
    context = replace(CONTEXT, lifecycle=lifecycle)
    conditions = [compile_rule(Rule.model_validate({"lifecycle": name.value}), context) for name in Stage]
    with sqlite_database.read() as connection:
        query = select(customers.c.id, *conditions).select_from(PEOPLE)
        found = {
            who: [name for name, matched in zip(Stage, row, strict=True) if matched]
            for who, *row in connection.execute(query)
        }
    for who in people:
        at = sorted(one.at for one in who.orders)
        first, last = (at[0], at[-1]) if at else (None, None)
        previous = at[-2] if at[1:] else None
        assert found[who.id] == [stage(len(at), first, previous, last, LATE, lifecycle)]


def test_the_draw_in_sql_is_the_draw_in_python(database: Database) -> None:
    numbers = [0, 1, 2, 12_345, P // 2, P - 2, P - 1]
    draws = values(column("x", BigInteger), name="draws").data([(x,) for x in numbers]).cte()
    salts = [coefficients(SECRET, "sample", str(number)) for number in range(20)]
    for a, b in [(1, 0), (P - 1, P - 1), *salts]:
        with database.read() as connection:
            drawn = dict(connection.execute(select(draws, draw_expression(draws.c.x, a, b))).all())
        assert drawn == {x: position(x, a, b) for x in numbers}


EVERYTHING = {
    "all": [
        {"lifecycle": {"in": ["at_risk", "lapsed"]}},
        {"orders.count": {"gte": 2}},
        {"orders.count": {"gte": 1, "within": "400d"}},
        {"orders.value": {"gte": 1, "within": "400d"}},
        {"orders.last": {"before": "90d"}},
        {"orders.category": {"in": ["shoes", "tea"], "within": "400d"}},
        {"orders.sku": "A-1"},
        {"event": {"name": "viewed", "count": {"gte": 3}, "within": "30d"}},
        {"consent": "email"},
        {"reachable": "email"},
        {"not": {"attributes.plan": "pro"}},
        {"sample": "50%"},
    ]
}


@pytest.mark.parametrize("rollup", [True, False])
def test_a_slice_of_customers_searches_and_never_scans_on_sqlite(
    sqlite_database: Database, rollup: bool
) -> None:
    statement = audience_statement(Rule.model_validate(EVERYTHING), replace(CONTEXT, rollup=rollup)).where(
        customers.c.id > 1000, customers.c.id <= 2000
    )
    sql = statement.compile(sqlite_database.engine, compile_kwargs={"literal_binds": True})
    with sqlite_database.read() as connection:
        plan = [
            row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {sql}".replace(":", r"\:")))
        ]
    assert any("SEARCH customers USING INTEGER PRIMARY KEY" in step for step in plan)
    assert any("SEARCH order_lines" in step for step in plan)
    # json_each walks one customer's attributes, not a table.
    assert [step for step in plan if "SCAN" in step and "json_each" not in step] == []


@pytest.mark.parametrize("rollup", [True, False])
def test_a_slice_of_customers_searches_and_never_scans_on_postgresql(
    fresh_postgres_url: str, rollup: bool
) -> None:
    database = Database(fresh_postgres_url)
    metadata.create_all(database.engine)
    statement = audience_statement(Rule.model_validate(EVERYTHING), replace(CONTEXT, rollup=rollup)).where(
        customers.c.id > 1000, customers.c.id <= 1100
    )
    with database.write() as connection:
        seeded = "SELECT n, 'c-' || n, 1, 0, 0 FROM generate_series(1, 20000) n"
        connection.execute(
            text(f"INSERT INTO customers (id, external_id, draw, created_at, updated_at) {seeded}")
        )
        connection.execute(
            text(
                "INSERT INTO orders (external_id, customer_id, ordered_at, month, total, currency, status,"
                " qualifying) SELECT 'o-' || n, 1 + n % 20000, n, 1, 1, 'EUR', 'paid', true"
                " FROM generate_series(1, 60000) n"
            )
        )
        connection.execute(text("ANALYZE"))
        sql = statement.compile(database.engine, compile_kwargs={"literal_binds": True})
        plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {sql}")]
    database.close()
    assert any("on customers" in step and "Index" in step for step in plan)
    assert [step for step in plan if "Seq Scan on orders" in step or "Seq Scan on customers" in step] == []


@pytest.mark.parametrize("rollup", [True, False])
@pytest.mark.parametrize(
    ("comparison", "holds"),
    [
        ({"gte": 1}, "yyyy"),
        ({"gte": 2}, "-yyy"),
        ({"gt": 2}, "--yy"),
        ({"ne": 0}, "yyyy"),
        ({"eq": 0}, "----"),
        ({"lt": 2}, "y---"),
        ({"lte": 2}, "yy--"),
        ({"eq": 1}, "y---"),
        ({"ne": 1}, "-yyy"),
        ({"eq": 3}, "--y-"),
        ({"gte": 2, "lt": 4}, "-yy-"),
        ({"gt": 0, "lte": 3}, "yyy-"),
        ({"gte": 0}, "yyyy"),
        ({"lt": 0}, "----"),
    ],
)
def test_orders_of_a_window_are_counted_up_to_any_number(
    database: Database, comparison: dict[str, int], holds: str, rollup: bool
) -> None:
    # Older orders, and ones after the moment, do not count; 5 and 6 have none in the window.
    ordered = [[5] * number + [40, -1] for number in range(1, 5)] + [[40, 41], []]
    late = LATE + 2 * DAY
    fill(database, *(person(n, *(order(days - 2) for days in each)) for n, each in enumerate(ordered, 1)))
    of_none = {"eq": 0, "lt": 2, "lte": 2, "ne": 1, "gte": 0}
    expected = [number for number, hit in enumerate(holds, 1) if hit == "y"]
    if len(comparison) == 1 and comparison.items() <= of_none.items():
        expected += [5, 6]
    rule = {"orders.count": {**comparison, "within": "30d"}}
    assert matching(database, rule, replace(CONTEXT, as_of=late, rollup=rollup)) == expected


def test_one_customer_is_explained_rule_by_rule(database: Database) -> None:
    fill(database, person(1, order(200), country="DE"), person(2, order(5)))
    context = replace(CONTEXT, segments={"local": Rule.model_validate({"country": {"in": ["DE", "AT"]}})})
    rule = Rule.model_validate({"all": [{"segment": "local"}, {"not": {"lifecycle": "lapsed"}}]})
    with database.read() as connection:
        assert explain_customer(connection, rule, context, "c-1") == [
            Explained(0, "all of these", False),
            Explained(1, "in segment local", True),
            Explained(2, "country is one of DE, AT", True),
            Explained(1, "not this", False),
            Explained(2, "lifecycle stage is lapsed", True),
        ]
        assert [one.matched for one in explain_customer(connection, rule, context, "c-2")] == [
            False,
            False,
            False,
            True,
            False,
        ]
        assert explain_customer(connection, rule, context, "nobody") == []


def test_everybody_is_counted_rule_by_rule(database: Database) -> None:
    rule = Rule.model_validate({"any": [{"country": "DE"}, {"country": "FR"}, {"orders.count": {"gte": 1}}]})
    with database.read() as connection:
        assert [one.customers for one in count_each(connection, rule, CONTEXT)] == [0, 0, 0, 0]
    fill(database, person(1, order(200), country="DE"), person(2, order(5)), person(3))
    with database.read() as connection:
        assert count_each(connection, rule, CONTEXT) == [
            Counted(0, "at least one of these", 2),
            Counted(1, "country is DE", 1),
            Counted(1, "country is FR", 0),
            Counted(1, "number of orders is at least 1", 2),
        ]


def test_a_rule_with_an_unknown_segment_is_not_compiled() -> None:
    with pytest.raises(HoldfastError, match="there is no segment 'vip'"):
        compile_rule(Rule.model_validate({"not": {"segment": "vip"}}), CONTEXT)


def test_the_largest_rule_there_may_be_runs(database: Database) -> None:
    fill(database, person(1, country="DE"))
    largest = {
        "all": [{"any": [{"country": f"X{number}"} for number in range(97)] + [{"country": "DE"}]}] * 3
    }
    assert matching(database, largest) == [1]
    assert matching(database, {"country": {"in": ["DE", *map(str, range(999))]}}) == [1]
    assert matching(database, {"attributes.n": {"not_in": list(range(1000))}}) == [1]
    deep: dict[str, Any] = {"country": "DE"}
    for _ in range(18):
        deep = {"not": deep}
    assert matching(database, deep) == [1]
    with database.read() as connection:
        assert count_each(connection, Rule.model_validate(largest), CONTEXT)[0].customers == 1


def test_a_condition_can_be_used_in_an_insert_from_select(database: Database) -> None:
    fill(database, person(1, country="DE"), person(2))
    with database.write() as connection:
        condition = compile_rule(Rule.model_validate({"country": "DE"}), CONTEXT)
        chosen = select(customers.c.id + 100, customers.c.external_id + "-copy", customers.c.draw, 0, 0)
        connection.execute(
            insert(customers).from_select(
                ["id", "external_id", "draw", "created_at", "updated_at"],
                chosen.select_from(PEOPLE).where(condition),
            )
        )
        assert connection.scalar(select(func.count()).select_from(customers)) == 3
