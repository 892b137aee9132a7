"""Calls that are out together: what begins in one statement, and what the end of one does to the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from sqlalchemy import insert, select

from holdfast.channel import Accepted, InDoubt, Message, Outcome
from holdfast.delivery import advance, dispatch_chunk
from holdfast.delivery.by_hand import choose, settle_by_hand
from holdfast.errors import ChannelResting, ChannelUnavailable
from holdfast.settings import Cap
from holdfast.store import ledger
from holdfast.store.calls import Begun, Terms, write_calls
from holdfast.store.contact import Route
from holdfast.store.database import Database
from holdfast.tables import attempts, consents
from tests.fakes.scripted_channel import accept_all
from tests.integration.conftest import NOW, Bench, Clock, Shop, make_bench
from tests.integration.test_races import MINUTE, wait_for_a_lock

PARALLEL = [{"id": "first", "channels": ["parallel"], "template": "note"}]
TWO_STEPS = [
    {"id": "first", "channels": ["sms"], "template": "note"},
    {"id": "second", "after": "1d", "channels": ["sms"], "template": "note"},
]


def leased(bench: Bench, run_id: int) -> list[int]:
    """The ids of all that is due, leased."""
    rows = ledger.lease(bench.ws.database, run_id, "sms", "worker", 100, MINUTE, bench.clock.now)
    return [row.id for row in rows]


def begin(bench: Bench, run_id: int, batches: Sequence[Sequence[int]], cap: Cap | None = None) -> list[Begun]:
    """Begins a call for each of the batches, all in one statement."""
    terms = Terms(bench.run_of(run_id), "worker", Route("sms", "sms"), "marketing", cap)
    return write_calls(bench.ws.database, terms, [], batches, bench.clock)


# --- one statement --------------------------------------------------------------------------------


def test_a_message_that_is_in_two_calls_of_one_statement_goes_by_one_of_them(bench: Bench) -> None:
    bench.shop.customers(3)
    bench.campaign()
    run_id = bench.start()
    first, twice, last = leased(bench, run_id)
    calls = begin(bench, run_id, [[first, twice], [twice, last]])
    assert sorted(id_ for call in calls for id_ in call.states) == [first, twice, last]
    assert {state for call in calls for state in call.states.values()} == {"sending"}
    told = {id_: call.attempt_id for call in calls for id_ in call.states}
    assert {row.id: row.attempt_id for row in bench.messages()} == told


def test_a_call_all_of_whose_messages_go_by_another_is_not_made(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign()
    run_id = bench.start()
    ids = leased(bench, run_id)
    calls = begin(bench, run_id, [ids, ids])
    assert sorted(len(call.states) for call in calls) == [0, 1]
    with bench.ws.database.read() as connection:
        made = connection.scalars(select(attempts.c.id)).all()
    assert made == [call.attempt_id for call in calls if call.states]


def test_a_message_that_a_channel_puts_into_two_batches_is_sent_once(bench: Bench) -> None:
    bench.shop.customers(4)
    bench.campaign(steps=PARALLEL)
    channel = bench.calls_at_once(8)
    channel.batches = lambda given: ([message] for message in [*given, *given])  # type: ignore[method-assign]
    bench.run()
    assert sorted(channel.addresses) == ["sms1", "sms2", "sms3", "sms4"]
    assert bench.states() == {("accepted", None): 4}


@pytest.fixture
def both_due(bench: Bench) -> Callable[[int], int]:
    """A run both of whose messages to its only customer are due, under a cap of so many in twelve hours."""

    def make(most: int) -> int:
        bench.shop.customers(1)
        bench.campaign(steps=TWO_STEPS, send={"cap": {"messages": most, "per": "12h"}})
        bench.sms.script = lambda batch: [InDoubt() for _ in batch]
        run_id = bench.run()
        bench.clock.advance(days=2)
        advance(bench.ws, "hello", bench.clock.now)
        lost = choose(bench.ws, "hello")
        settle_by_hand(bench.ws, lost, "resend", who="ada", why="lost", now=bench.clock.now)
        bench.sms.script = accept_all
        bench.sms.calls.clear()
        assert bench.states() == {("planned", "resent"): 1, ("planned", None): 1}
        return run_id

    return make


def test_a_cap_holds_where_two_messages_of_a_customer_begin_in_one_statement(
    bench: Bench, both_due: Callable[[int], int]
) -> None:
    run_id = both_due(1)
    first, second = leased(bench, run_id)
    cap = bench.ws.send_policy(bench.ws.campaign("hello")).cap
    calls = begin(bench, run_id, [[first], [second]], cap)
    assert [call.states for call in calls] == [{first: "sending"}, {second: "planned"}]


def test_a_cap_holds_where_two_messages_of_a_customer_are_in_one_batch(
    bench: Bench, both_due: Callable[[int], int]
) -> None:
    both_due(1)
    bench.dispatch()
    assert bench.sms.addresses == ["sms1"]
    assert bench.states() == {("accepted", None): 1, ("skipped", "capped"): 1}


def test_a_cap_that_has_room_for_both_lets_the_second_go_in_the_next_statement(
    bench: Bench, both_due: Callable[[int], int]
) -> None:
    both_due(2)
    bench.dispatch()
    assert [len(call) for call in bench.sms.calls] == [1, 1]
    assert bench.states() == {("accepted", None): 2}


# --- what is written while a call waits for the lock ----------------------------------------------


class Announced:
    """A lock of this process that says when somebody comes to it."""

    def __init__(self, lock: Any) -> None:
        self._lock, self.has_come = lock, Event()

    def __enter__(self) -> None:
        self.has_come.set()
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


@contextmanager
def held_lock(database: Database) -> Iterator[tuple[Any, Callable[[], None]]]:
    """A write under the project's lock, and what returns when another waits for it."""
    with database.write(exclusive=True) as connection:
        if database.is_sqlite:
            database._writer = announced = Announced(database._writer)
            yield connection, lambda: pytest.fail("nobody came") if not announced.has_come.wait(30) else None
        else:
            yield connection, lambda: wait_for_a_lock(database)


def test_a_no_that_is_committed_while_the_sender_waits_for_the_lock_is_heeded(bench: Bench) -> None:
    [id_] = bench.shop.customers(1)
    bench.campaign()
    bench.start()
    is_held = Event()
    split = bench.sms.batches

    def withdraw() -> None:
        with held_lock(bench.ws.database) as (connection, until_another_waits):
            is_held.set()
            until_another_waits()
            no = {"customer_id": id_, "kind": "sms", "purpose": "marketing", "granted": False}
            at = bench.clock.advance(seconds=1)
            connection.execute(insert(consents).values(no | {"evidence": "STOP", "recorded_at": at}))

    with ThreadPoolExecutor(1) as pool:
        withdrawn = []

        def batches(given: Sequence[Message]) -> Iterator[Sequence[Message]]:
            """Is asked when all is leased and rendered, and nothing has begun."""
            withdrawn.append(pool.submit(withdraw))
            assert is_held.wait(30)
            return split(given)

        bench.sms.batches = batches  # type: ignore[method-assign]
        dispatch_chunk(bench.ws, "hello", "sms", "worker", bench.clock)
        withdrawn[0].result()
    assert bench.sms.calls == []
    assert bench.states() == {("skipped", "no_consent"): 1}


# --- the end of one call, and the others ----------------------------------------------------------


def test_what_one_call_raises_ends_those_that_have_not_begun_while_another_is_still_out(bench: Bench) -> None:
    bench.shop.customers(50)
    bench.campaign(steps=PARALLEL, guard={"stop_if": {"errors": 1000}})
    channel = bench.calls_at_once(2)
    first, goes_on = Event(), Event()

    def refuse(batch: Sequence[Message]) -> list[Outcome]:
        if not first.is_set():
            first.set()
            goes_on.wait(1)  # a server that takes its time, at most so long as others go on
            return [Accepted()]
        if len(channel.calls) == 20:
            goes_on.set()
        raise ChannelUnavailable("the login was refused")

    channel.script = refuse
    run_id = bench.start()
    with pytest.raises(ChannelUnavailable, match="the login was refused"):
        dispatch_chunk(bench.ws, "hello", "parallel", "worker", bench.clock)
    assert not goes_on.is_set()
    assert bench.states() == {("accepted", None): 1, ("planned", None): 49}
    assert bench.run_of(run_id).state == "running"


def test_who_waits_for_a_turn_does_not_call_a_channel_that_is_unavailable_by_then(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    channels = {name: {"adapter": "scripted"} for name in ("sms", "telegram", "checked")}
    limited = {"adapter": "scripted", "rate": "10/s"}
    bench = make_bench(database, shop, clock, tmp_path, channels={**channels, "parallel": limited})
    bench.ws.sleep = time.sleep  # turns are moments of the real clock
    bench.shop.customers(60)
    bench.campaign(steps=PARALLEL)
    channel = bench.calls_at_once(16)

    def refuse(batch: Sequence[Message]) -> list[Outcome]:
        raise ChannelUnavailable("the login was refused")

    channel.script = refuse
    run_id = bench.start()
    with pytest.raises(ChannelUnavailable):
        dispatch_chunk(bench.ws, "hello", "parallel", "worker", bench.clock)
    assert len(channel.calls) < 8
    assert bench.run_of(run_id).state == "running"
    assert bench.states() == {("planned", None): 60}


# --- what no database takes -----------------------------------------------------------------------


@pytest.mark.parametrize(("given", "kept"), [("a\0b", "ab"), ("a\ud800b", "a?b")])
def test_a_providers_id_that_is_no_text_costs_no_other_call_its_outcome(
    bench: Bench, given: str, kept: str
) -> None:
    bench.shop.customers(20)
    bench.campaign(steps=PARALLEL)
    are_out = Barrier(20)

    def accept(batch: Sequence[Message]) -> list[Outcome]:
        are_out.wait(30)
        return [Accepted(given if message.to == "sms7" else "ok") for message in batch]

    bench.calls_at_once(20).script = accept
    bench.run()
    ids = {row.customer_id: row.provider_id for row in bench.messages(state="accepted")}
    assert ids == {id_: kept if id_ == 7 else "ok" for id_ in range(1, 21)}


def test_an_adapter_that_breaks_is_told_though_the_channel_rests(bench: Bench) -> None:
    bench.shop.customers(3)
    bench.campaign(steps=PARALLEL)
    are_out, rests = Barrier(3), Event()

    def script(batch: Sequence[Message]) -> list[Outcome]:
        are_out.wait(30)
        if batch[0].to == "sms1":
            rests.set()
            raise ChannelResting("later", until=NOW, after=timedelta(hours=1))
        assert rests.wait(30)
        raise RuntimeError("a mistake in the adapter")

    bench.calls_at_once(3).script = script
    bench.start()
    with pytest.raises(RuntimeError, match="a mistake"):
        dispatch_chunk(bench.ws, "hello", "parallel", "worker", bench.clock)
