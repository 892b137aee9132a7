"""Refunds: an order comes to less, and with nothing left of it counts nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from holdfast.settings import Business, Kind, Project
from holdfast.store.database import Database
from holdfast.store.imports import ImportReport, import_records
from holdfast.store.imports.history import Claim, exceeding
from holdfast.tables import customers, orders, profile_months, profiles, refunds

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIRST = datetime(2026, 1, 10, 12, tzinfo=UTC)
MORE = "amount: more than is left of the order"

Import = Callable[[Kind, Iterable[dict[str, Any]]], ImportReport]


@pytest.fixture
def put(database: Database, tmp_path: Path) -> Import:
    """Imports records into a shop of two customers, C0 and C1."""
    project = Project(root=tmp_path, business=Business(timezone="Europe/Berlin"))

    def run(kind: Kind, records: Iterable[dict[str, Any]]) -> ImportReport:
        return import_records(database, project, b"a secret of a test", kind, records, now=NOW)

    run("customers", [{"customer_id": "C0"}, {"customer_id": "C1"}])
    return run


def order(order_id: str, total: int = 100, customer_id: str = "C0", **more: Any) -> dict[str, Any]:
    known = {"order_id": order_id, "customer_id": customer_id, "ordered_at": FIRST.isoformat()}
    return known | {"total": total, "status": "completed"} | more


def refund(refund_id: str, order_id: str, amount: Any) -> dict[str, Any]:
    at = (FIRST + timedelta(days=3)).isoformat()
    return {"refund_id": refund_id, "order_id": order_id, "refunded_at": at, "amount": amount}


# --- one after the other ----------------------------------------------------------------------------


def left(database: Database) -> dict[str, tuple[int, int, bool]]:
    """By order, what is left of it and what was refunded, in whole units, and whether it counts."""
    with database.read() as connection:
        return {
            row.external_id: (row.total // 100, row.refunded // 100, row.qualifying)
            for row in connection.execute(select(orders))
        }


def spent(database: Database) -> dict[str, tuple[int, int]]:
    """By customer, orders that count and what they come to; by both tables of the rollup, which agree."""
    named = select(customers.c.external_id, customers.c.id)
    with database.read() as connection:
        names = {id_: name for name, id_ in connection.execute(named)}
        rollup = connection.execute(select(profiles))
        whole = {names[row.customer_id]: (row.order_count, row.total) for row in rollup}
        monthly: dict[str, tuple[int, int]] = {}
        for row in connection.execute(select(profile_months)):
            n, total = monthly.get(names[row.customer_id], (0, 0))
            monthly[names[row.customer_id]] = (n + row.order_count, total + row.total)
    assert monthly == whole
    return {name: (n, total // 100) for name, (n, total) in whole.items()}


def test_a_part_that_goes_back_lowers_the_value_and_the_whole_counts_no_more(
    database: Database, put: Import
) -> None:
    put("orders", [order("O1"), order("O2", 30)])
    assert put("refunds", [refund("R1", "O1", 40)]).written == 1
    assert left(database) == {"O1": (60, 40, True), "O2": (30, 0, True)}
    assert spent(database) == {"C0": (2, 90)}
    put("refunds", [refund("R2", "O1", 60)])
    assert left(database)["O1"] == (0, 100, False)
    assert spent(database) == {"C0": (1, 30)}


def test_the_same_refund_again_changes_nothing_and_a_changed_one_is_brought_up_to_date(
    database: Database, put: Import
) -> None:
    put("orders", [order("O1")])
    assert [put("refunds", [refund("R1", "O1", 40)]).written for _ in range(2)] == [1, 0]
    put("refunds", [refund("R1", "O1", 100)])
    assert left(database)["O1"] == (0, 100, False)
    put("refunds", [refund("R1", "O1", 10)])
    assert left(database)["O1"] == (90, 10, True)
    assert spent(database) == {"C0": (1, 90)}


def test_a_refund_that_was_of_another_order_gives_that_one_its_value_back(
    database: Database, put: Import
) -> None:
    put("orders", [order("O1"), order("O2", 50, "C1")])
    put("refunds", [refund("R1", "O1", 40)])
    put("refunds", [refund("R1", "O2", 50)])
    assert left(database) == {"O1": (100, 0, True), "O2": (0, 50, False)}
    assert spent(database) == {"C0": (1, 100)}


def test_an_order_that_is_told_again_keeps_its_refunds_off(database: Database, put: Import) -> None:
    put("orders", [order("O1")])
    put("refunds", [refund("R1", "O1", 40)])
    assert put("orders", [order("O1")]).written == 0
    put("orders", [order("O1", 120, "C1")])
    assert left(database)["O1"] == (80, 40, True)
    assert spent(database) == {"C1": (1, 80)}
    # It came to less than what went back: nothing is left, and that comes back with what it came to.
    put("orders", [order("O1", 30)])
    assert left(database)["O1"][2] is False
    assert spent(database) == {}
    put("orders", [order("O1", 100)])
    assert left(database)["O1"] == (60, 40, True)


def test_an_order_that_was_cancelled_counts_no_more_for_being_refunded_less(
    database: Database, put: Import
) -> None:
    put("orders", [order("O1")])
    put("refunds", [refund("R1", "O1", 40)])
    put("orders", [order("O1", status="cancelled")])
    put("refunds", [refund("R1", "O1", 20)])
    assert left(database)["O1"] == (80, 20, False)
    assert spent(database) == {}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (refund("R1", "O9", 1), "order_id: not among the orders"),
        (refund("R1", "O1", 100.01), MORE),
        (refund("R1", "O1", 0), "amount: nothing"),
        (refund("R1", "O1", -1), "amount: negative"),
        (refund("R1", "O1", ""), "amount: not an amount like 1234.50"),
        (refund("", "O1", 1), "refund_id: empty"),
        (refund("R1", "O1", 1) | {"refunded_at": "soon"}, "refunded_at: not an ISO 8601 date or time"),
        (refund("R1", "O1", 1) | {"refunded_at": "2026-12-24"}, "refunded_at: in the future"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_cannot_be_a_refund_is_refused_and_others_are_kept(
    database: Database, put: Import, record: dict[str, Any], reason: str
) -> None:
    put("orders", [order("O1"), order("O2")])
    report = put("refunds", [record, refund("R2", "O2", 5)])
    assert report.refused == [(1, reason)]
    assert left(database) == {"O1": (100, 0, True), "O2": (95, 5, True)}


@pytest.mark.parametrize(
    ("amounts", "refused"),
    [((60, 40), []), ((60, 50, 40), [1]), ((101, 100, 1), [0, 2]), ((50, 50, 1, 1), [2, 3])],
)
def test_each_refund_is_judged_after_those_before_it(amounts: tuple[int, ...], refused: list[int]) -> None:
    claims = [Claim(line, 7, amount, None, 0) for line, amount in enumerate(amounts)]
    assert exceeding(claims, {7: 100}) == refused


def test_a_refund_that_grows_no_larger_is_taken_though_the_order_came_to_less() -> None:
    assert exceeding([Claim(1, 7, 40, 7, 40)], {7: -30}) == []
    assert exceeding([Claim(1, 7, 41, 7, 40)], {7: -30}) == [1]
    assert exceeding([Claim(1, 7, 41, 8, 50)], {7: 30, 8: 0}) == [1]


def test_what_a_refund_gives_back_is_there_for_the_next_one() -> None:
    claims = [Claim(1, 8, 50, 7, 50), Claim(2, 7, 100, None, 0)]
    assert exceeding(claims, {7: 50, 8: 50}) == []
    assert exceeding(claims[::-1], {7: 50, 8: 50}) == [2]


# --- in any order -----------------------------------------------------------------------------------


@dataclass
class Books:
    """The same in plain arithmetic, one row after the other."""

    orders: dict[str, tuple[str, int, bool]] = field(default_factory=dict)
    refunds: dict[str, tuple[str, int]] = field(default_factory=dict)

    def refunded(self, order_id: str, but: str = "") -> int:
        return sum(amount for id_, (of, amount) in self.refunds.items() if of == order_id and id_ != but)

    def take(self, kind: Kind, rows: list[dict[str, Any]]) -> list[int]:
        """Places of the refused rows, from 1. The last row of an id counts."""
        key = f"{kind.removesuffix('s')}_id"
        places = {row[key]: place for place, row in enumerate(rows, 1)}
        refused = []
        for place in sorted(places.values()):
            row = rows[place - 1]
            if kind == "orders":
                counts = row["status"] == "completed"
                self.orders[row["order_id"]] = (row["customer_id"], row["total"], counts)
                continue
            id_, of, amount = row["refund_id"], row["order_id"], row["amount"]
            before, own = self.refunds.get(id_, ("", 0))
            allowed = self.orders[of][1] - self.refunded(of, but=id_) if of in self.orders else -1
            grows = before != of or amount > own
            if of not in self.orders or (amount > allowed and grows):
                refused.append(place)
            else:
                self.refunds[id_] = (of, amount)
        return refused

    def left(self) -> dict[str, tuple[int, int, bool]]:
        found = {}
        for id_, (_, total, counts) in self.orders.items():
            back = self.refunded(id_)
            found[id_] = (total - back, back, counts and (not back or total > back))
        return found

    def spent(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for id_, (total, _, counts) in self.left().items():
            if counts:
                n, value = found.get(self.orders[id_][0], (0, 0))
                found[self.orders[id_][0]] = (n + 1, value + total)
        return found


# Few ids, so that rows are of the same orders, change, move and exceed what is left.
ORDER_IDS = [f"O{n}" for n in range(3)]
ORDERS = st.builds(
    order,
    st.sampled_from(ORDER_IDS),
    st.integers(0, 9),
    st.sampled_from(["C0", "C1"]),
    status=st.sampled_from(["completed", "completed", "cancelled"]),
)
REFUND_IDS = st.sampled_from([f"R{n}" for n in range(4)])
REFUNDS = st.builds(refund, REFUND_IDS, st.sampled_from([*ORDER_IDS, "O9"]), st.integers(1, 5))
BATCH = st.one_of(
    st.tuples(st.just("orders"), st.lists(ORDERS, min_size=2, max_size=4)),
    st.tuples(st.just("refunds"), st.lists(REFUNDS, min_size=2, max_size=8)),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(BATCH, min_size=5, max_size=9))
def test_whatever_comes_in_whatever_order_the_books_agree(
    database: Database, put: Import, batches: list[tuple[Kind, list[dict[str, Any]]]]
) -> None:
    with database.write() as connection:
        for table in (refunds, profiles, profile_months, orders):
            connection.execute(table.delete())
    books = Books()
    for kind, rows in [("orders", [order(id_, 6) for id_ in ORDER_IDS]), *batches]:
        refused = [line for line, _ in put(kind, rows).refused]
        assert refused == books.take(kind, rows)
    assert left(database) == books.left()
    assert spent(database) == books.spent()
