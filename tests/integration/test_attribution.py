"""Attribution: the last message that a person touched before an order, against plain Python."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, event, func, insert, select, update

from holdfast.metrics.attribution import Attributed
from holdfast.responses import collect
from holdfast.settings import ChannelConfig
from holdfast.store import attribution
from holdfast.store.database import Database
from holdfast.tables import (
    attributions,
    campaign_versions,
    cursors,
    enrollments,
    messages,
    orders,
    responses,
    runs,
)
from tests.integration.conftest import Bench, Clock, Shop

DAY = timedelta(days=1)
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
WITHIN = {"email": 5 * DAY, "sms": 2 * DAY}
CHANNELS = {
    name: ChannelConfig(adapter="sandbox", attributed_within=within) for name, within in WITHIN.items()
}
# Two customers', one on a channel that the project no longer has.
SENT = [("email", 0), ("email", 0), ("sms", 0), ("email", 1), ("sms", 1), ("gone", 1)]


class Touch(NamedTuple):
    """An answer to a message, so many half days after the beginning."""

    message: int
    kind: str
    at: int
    machine: str | None = None


class Order(NamedTuple):
    """An order of a customer, so many half days after the beginning."""

    customer: int
    at: int
    qualifying: bool = True


class Ledger:
    """Messages to two customers, what they did with them, and what they ordered."""

    def __init__(self, database: Database, shop: Shop) -> None:
        self.database = database
        self.customers = shop.customers(2)
        at: dict[str, Any] = {"created_at": BEGAN}
        version = {"campaign": "hello", "digest": "", "source": "", "digests": {}} | at
        route = {"purpose": "marketing", "state": "accepted", "due_at": BEGAN, "sent_at": BEGAN}
        with database.write() as connection:

            def add(table: Any, **row: Any) -> int:
                return int(connection.execute(insert(table).values(row)).inserted_primary_key[0])

            run = {"campaign": "hello", "occurrence": "k", "state": "done", "as_of": BEGAN} | at
            run_id = add(runs, **run, version_id=add(campaign_versions, **version))
            entry = {"campaign": "hello", "run_id": run_id, "entry": 1, "arm": "treated"}
            entries = [
                add(enrollments, **entry, enrolled_at=BEGAN, customer_id=id_) for id_ in self.customers
            ]
            self.messages = [
                add(
                    messages,
                    **route,
                    run_id=run_id,
                    enrollment_id=entries[customer],
                    customer_id=self.customers[customer],
                    channel=channel,
                    kind=channel,
                    step=f"s{number}",
                )
                for number, (channel, customer) in enumerate(SENT)
            ]

    def clear(self) -> None:
        """Nothing was touched or ordered."""
        with self.database.write() as connection:
            for table in (attributions, responses, orders, cursors):
                connection.execute(delete(table))

    def touch(self, touches: list[Touch]) -> None:
        """Keeps answers, and what messages know of them."""
        with self.database.write() as connection:
            first = connection.scalar(select(func.count()).select_from(responses)) or 0
            rows = [
                {
                    "channel": "",
                    "event_id": str(number),
                    "kind": one.kind,
                    "machine": one.machine,
                    "message_id": self.messages[one.message],
                    "occurred_at": moment(one.at),
                    "received_at": moment(one.at),
                }
                for number, one in enumerate(touches, first)
            ]
            if rows:
                connection.execute(insert(responses), rows)
                connection.execute(
                    update(messages).values(opened_at=_first("opened"), clicked_at=_first("clicked"))
                )

    def order(self, placed: list[Order]) -> list[int]:
        """Places orders; their ids."""
        facts = {"month": 0, "total": 100, "currency": "EUR", "status": "completed"}
        with self.database.write() as connection:
            first = (connection.scalar(select(func.max(orders.c.id))) or 0) + 1
            rows = [
                facts
                | {
                    "id": id_,
                    "external_id": f"O{id_}",
                    "customer_id": self.customers[one.customer],
                    "ordered_at": moment(one.at),
                    "qualifying": one.qualifying,
                }
                for id_, one in enumerate(placed, first)
            ]
            if rows:
                connection.execute(insert(orders), rows)
        return [row["id"] for row in rows]

    def refresh(self) -> int:
        return attribution.refresh_all(self.database, CHANNELS)

    def refresh_new(self) -> int:
        return attribution.refresh_new(self.database, CHANNELS, BEGAN)

    def found(self) -> dict[int, tuple[int, str, datetime]]:
        """By order, the place of the message that it is attributed to, the touch, and when it was."""
        with self.database.read() as connection:
            return {
                row.order_id: (self.messages.index(row.message_id), row.touch, row.touched_at)
                for row in connection.execute(select(attributions))
            }


def _first(kind: str) -> Any:
    r = responses.c
    of_message = (r.message_id == messages.c.id, r.kind == kind, r.machine.is_(None))
    return select(func.min(r.occurred_at)).where(*of_message).scalar_subquery()


def moment(half_days: int) -> datetime:
    return BEGAN + half_days * DAY / 2


def last_touch(order: Order, touches: list[Touch]) -> tuple[int, str, datetime] | None:
    """The same in plain Python."""
    candidates = [
        (touch.at, touch.kind == "clicked", touch.message, touch.kind)
        for touch in touches
        if order.qualifying
        and touch.machine is None
        and touch.kind in ("clicked", "opened")
        and SENT[touch.message][1] == order.customer
        and timedelta(0) <= (order.at - touch.at) * DAY / 2 <= WITHIN.get(SENT[touch.message][0], 7 * DAY)
    ]
    if not candidates:
        return None
    at, _, message, kind = max(candidates)
    return message, kind, moment(at)


def expected(placed: dict[int, Order], touches: list[Touch]) -> dict[int, tuple[int, str, datetime]]:
    return {id_: found for id_, order in placed.items() if (found := last_touch(order, touches))}


@pytest.fixture
def ledger(database: Database, shop: Shop) -> Ledger:
    return Ledger(database, shop)


TOUCHES = st.lists(
    st.builds(
        Touch,
        st.integers(0, len(SENT) - 1),
        st.sampled_from(["opened", "clicked", "opened", "clicked", "delivered"]),
        st.integers(0, 20),
        st.sampled_from([None, None, None, "scanner"]),
    ),
    max_size=10,
)
ORDERS = st.lists(
    st.builds(Order, st.integers(0, 1), st.integers(0, 30), st.sampled_from([True, True, True, False])),
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(touches=TOUCHES, late=TOUCHES, placed=ORDERS, more=ORDERS, changed=st.data())
def test_every_order_goes_to_its_last_touch_whatever_comes_when(
    ledger: Ledger,
    touches: list[Touch],
    late: list[Touch],
    placed: list[Order],
    more: list[Order],
    changed: st.DataObject,
) -> None:
    ledger.clear()
    ledger.touch(touches)
    by_id = dict(zip(ledger.order(placed), placed, strict=True))
    ledger.refresh_new()
    assert ledger.found() == expected(by_id, touches)
    # New orders and answers, of any date, are seen by the next one.
    ledger.touch(late)
    by_id |= dict(zip(ledger.order(more), more, strict=True))
    ledger.refresh_new()
    assert ledger.found() == expected(by_id, touches + late)
    # What became of orders that were there is seen when all are gone through.
    for id_ in by_id:
        by_id[id_] = changed.draw(st.builds(Order, st.integers(0, 1), st.just(by_id[id_].at), st.booleans()))
    with ledger.database.write() as connection:
        for id_, order in by_id.items():
            now = {"customer_id": ledger.customers[order.customer], "qualifying": order.qualifying}
            connection.execute(update(orders).where(orders.c.id == id_).values(now))
    ledger.refresh()
    assert ledger.found() == expected(by_id, touches + late)
    assert ledger.refresh() == 0
    assert ledger.refresh_new() == 0


def test_of_two_touches_at_one_moment_the_click_counts_and_then_the_later_message(ledger: Ledger) -> None:
    at_once = [(0, "clicked"), (1, "opened"), (3, "opened"), (4, "opened")]
    ledger.touch([Touch(message, kind, 2) for message, kind in at_once])
    first, second = ledger.order([Order(0, 4), Order(1, 4)])
    assert ledger.refresh() == 2
    assert ledger.found() == {first: (0, "clicked", moment(2)), second: (4, "opened", moment(2))}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_window_is_the_channels_and_its_end_is_included(ledger: Ledger) -> None:
    ledger.touch([Touch(0, "clicked", 0), Touch(4, "clicked", 0), Touch(5, "clicked", 10)])
    placed = [Order(0, 10), Order(0, 11), Order(1, 4), Order(1, 5), Order(1, 24), Order(1, 25)]
    ids = ledger.order(placed)
    ledger.refresh()
    assert sorted(ledger.found()) == [ids[0], ids[2], ids[4]]


def test_collecting_attributes_what_is_new(bench: Bench, clock: Clock, ledger: Ledger) -> None:
    ledger.touch([Touch(2, "clicked", 0)])
    ledger.order([Order(0, 1)])
    assert collect(bench.ws, clock.now).attributions == 1
    assert collect(bench.ws, clock.now).attributions == 0


def test_what_is_attributed_is_summed_net_of_refunds_by_campaign_and_period(ledger: Ledger) -> None:
    ledger.touch([Touch(0, "opened", 0), Touch(3, "clicked", 2)])
    ids = ledger.order([Order(0, 1), Order(0, 6), Order(1, 3), Order(1, 3, qualifying=False)])
    ledger.refresh()
    part = {"total": 60, "refunded": 40}
    with ledger.database.write() as connection:
        connection.execute(update(orders).where(orders.c.id == ids[1]).values(part))

    def summed(connection: Connection) -> list[Attributed]:
        return [
            attribution.of_campaign(connection, "hello", moment(99)),
            attribution.of_campaign(connection, "another", moment(99)),
            attribution.of_campaign(connection, "hello", moment(6)),
            attribution.of_period(connection, moment(3), moment(6)),
        ]

    nothing = Attributed(orders=0, revenue=0, after_click=0)
    with ledger.database.read() as connection:
        assert summed(connection) == [
            Attributed(orders=3, revenue=260, after_click=1),
            nothing,
            Attributed(orders=2, revenue=200, after_click=1),
            Attributed(orders=1, revenue=100, after_click=1),
        ]
    # One that counts no more is out at once, though it is still attributed.
    with ledger.database.write() as connection:
        connection.execute(update(orders).where(orders.c.id == ids[2]).values(qualifying=False))
        assert summed(connection)[3] == nothing


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_more_is_read_than_what_the_customers_touched_and_ordered(ledger: Ledger) -> None:
    plans: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *more: Any) -> None:
        if " messages" in statement:
            rows = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append("\n".join(row[-1] for row in rows))

    ledger.touch([Touch(0, "clicked", 0)])
    ledger.order([Order(0, 1)])
    ledger.refresh_new()
    ledger.order([Order(0, 2)])
    event.listen(ledger.database.engine, "before_cursor_execute", note)
    ledger.refresh_new()
    ledger.refresh()
    event.remove(ledger.database.engine, "before_cursor_execute", note)
    assert len(plans) == 3
    assert not [
        plan for plan in plans if re.search(r"^SCAN (messages|responses|orders)\b", plan, re.MULTILINE)
    ]
    assert sum("ix_messages_touched" in plan for plan in plans) == 2
