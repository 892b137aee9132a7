"""Dispatch under a pace: what goes together, what waits for another day, and whom a pause concerns."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from holdfast import delivery
from holdfast.channel import Accepted, Message, Outcome, Retry
from holdfast.delivery import approval
from holdfast.errors import BatchRefused, ChannelUnavailable, RunError
from holdfast.store.database import Database
from tests.fakes.scripted_channel import accept_all
from tests.integration.conftest import Bench, Clock, Shop, make_bench

Making = Callable[..., Bench]


@pytest.fixture
def paced(database: Database, shop: Shop, clock: Clock, tmp_path: Path) -> Making:
    """A bench whose channel `sms`, or the one that is named, has these limits."""

    def make(channel: str = "sms", **limits: Any) -> Bench:
        channels = {name: {"adapter": "scripted"} for name in ("sms", "telegram", "checked", "parallel")}
        channels[channel] |= limits
        return make_bench(database, shop, clock, tmp_path, channels=channels)

    return make


def tomorrow() -> datetime:
    """The next midnight, where the business is: paces go by the database's clock, which is the real one."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


def test_a_call_holds_what_its_rate_gives_it_and_everybody_gets_one(paced: Making) -> None:
    bench = paced(rate="40/s")
    bench.shop.customers(30)
    bench.campaign()
    bench.run()
    assert {len(call) for call in bench.sms.calls} == {4, 2}
    assert len(set(bench.sms.addresses)) == len(bench.sms.addresses) == 30


def test_what_a_day_has_no_room_for_waits_for_the_next_and_is_not_lost(paced: Making) -> None:
    bench = paced(per_day=25)
    bench.shop.customers(60)
    bench.campaign()
    left = tomorrow() - datetime.now(UTC)
    run_id = bench.start()
    bench.dispatch()
    assert bench.states() == {("accepted", None): 25, ("planned", None): 35}
    [due_at] = {message.due_at for message in bench.messages(state="planned")}
    assert due_at - bench.clock.now == pytest.approx(left, abs=timedelta(minutes=2))
    assert delivery.next_due(bench.ws, "hello", bench.clock.now) == due_at
    with bench.ws.database.read() as connection:
        assert delivery.runs.get_run(connection, run_id).state == "running"


def test_a_days_budget_is_not_spent_on_batches_that_were_refused(paced: Making) -> None:
    def picky(batch: Sequence[Message]) -> list[Outcome]:
        if len(batch) > 1 and "sms3" in [message.to for message in batch]:
            raise BatchRefused("one of them is bad")
        return accept_all(batch)

    bench = paced(per_day=30)
    bench.shop.customers(30)
    bench.campaign()
    bench.sms.script = picky
    bench.run()
    assert bench.states() == {("accepted", None): 30}
    assert len(bench.sms.addresses) > 30


def test_a_days_budget_is_not_spent_on_messages_that_are_not_sent_after_all(paced: Making) -> None:
    bench = paced(per_day=20)
    ids = bench.shop.customers(30)
    bench.campaign()
    bench.start()
    for id_ in ids[:10]:
        bench.shop.suppress(id_)
    bench.dispatch()
    assert bench.states() == {("skipped", "suppressed"): 10, ("accepted", None): 20}


def test_a_days_budget_is_not_spent_on_recipients_who_ask_for_time(paced: Making) -> None:
    bench = paced(per_day=20)
    bench.shop.customers(28)
    bench.campaign()
    busy = {f"sms{n}" for n in range(1, 6)}
    bench.sms.script = lambda batch: [
        Retry(of_recipient=True) if message.to in busy else Accepted() for message in batch
    ]
    bench.run()
    assert bench.states() == {("accepted", None): 20, ("planned", None): 8}


def test_a_days_budget_is_not_spent_on_a_channel_that_is_unavailable(paced: Making) -> None:
    def refuse(batch: Sequence[Message]) -> list[Outcome]:
        raise ChannelUnavailable("the login was refused")

    bench = paced(per_day=20)
    bench.shop.customers(30)
    bench.campaign()
    bench.sms.script = refuse
    with pytest.raises(ChannelUnavailable):
        bench.run()
    bench.sms.script = accept_all
    bench.dispatch()
    assert bench.states() == {("accepted", None): 20, ("planned", None): 10}


def test_a_rate_holds_when_somebody_lets_go_of_the_lock_that_all_waited_for(paced: Making) -> None:
    """In real time, which turns are of. Whoever plans holds the lock for up to a second."""
    bench = paced("parallel", rate="40/s")
    bench.ws.sleep = time.sleep
    bench.shop.customers(45)
    bench.campaign(steps=[{"id": "first", "channels": ["parallel"], "template": "note"}])
    channel = bench.calls_at_once(64)
    called, is_over = Event(), Event()
    calls: list[float] = []

    def note_when(batch: Sequence[Message]) -> list[Outcome]:
        calls.append(time.monotonic())
        called.set()
        return accept_all(batch)

    def plan() -> None:
        assert called.wait(30)
        with bench.ws.database.write(exclusive=True):
            is_over.wait(0.8)

    channel.script = note_when
    bench.start()
    with ThreadPoolExecutor(1) as pool:
        planned = pool.submit(plan)
        delivery.dispatch_chunk(bench.ws, "hello", "parallel", "test", bench.clock)
        planned.result()
    calls.sort()
    most = max(bisect_left(calls, start + 0.5) - place for place, start in enumerate(calls))
    assert len(calls) == 45
    assert max(after - before for before, after in pairwise(calls)) > 0.4
    assert most <= 30


def test_while_one_channel_rests_another_goes_on(paced: Making) -> None:
    bench = paced(per_day=5)
    bench.shop.customers(20, kinds=["sms"])
    bench.shop.customers(20, kinds=["telegram"])
    bench.campaign(steps=[{"id": "first", "channels": ["sms", "telegram"], "template": "note"}])
    bench.run()
    assert bench.states(channel="sms") == {("accepted", None): 5, ("planned", None): 15}
    assert bench.states(channel="telegram") == {("accepted", None): 20}


def test_a_provider_that_asks_for_an_hour_is_called_once_and_nothing_is_tried_up(bench: Bench) -> None:
    bench.shop.customers(45)
    bench.campaign()
    bench.sms.script = lambda batch: [Retry(timedelta(hours=1), "429") for _ in batch]
    bench.run()
    assert len(bench.sms.calls) == 1
    planned = bench.messages(state="planned")
    assert len(planned) == 45
    assert sum(message.attempts for message in planned) == 10
    waits = {message.due_at - bench.clock.now for message in planned}
    assert all(wait == pytest.approx(timedelta(hours=1), abs=timedelta(minutes=2)) for wait in waits)


def test_a_batch_that_was_taken_before_the_pause_stays_taken(bench: Bench) -> None:
    bench.shop.customers(30)
    bench.campaign()
    answers = iter([Accepted(), Retry(timedelta(hours=1), "429")])
    bench.sms.script = lambda batch: [next_] * len(batch) if (next_ := next(answers, None)) else []
    bench.run()
    assert bench.states() == {("accepted", None): 10, ("planned", None): 20}


def test_an_approved_run_whose_files_were_edited_meanwhile_sends_nothing_more(bench: Bench) -> None:
    bench.shop.customers(80)
    bench.campaign(guard={"approve_above": 10})
    run = delivery.open_run(bench.ws, "hello", "k1", bench.clock.now, bench.clock.now)
    approval.prepare(bench.ws, "hello", bench.clock.now)
    with bench.ws.database.read() as connection:
        run = delivery.runs.get_run(connection, run.id)
    approval.approve(
        bench.ws,
        "hello",
        delivery.plan_of(bench.ws, run, bench.clock.now).hash,
        who="ada",
        why="looked at it",
        now=bench.clock.now,
    )
    delivery.dispatch_chunk(bench.ws, "hello", "sms", "test", bench.clock)
    sent = len(bench.sms.addresses)
    assert sent == bench.ws.project.dispatch.chunk

    template = bench.ws.library.files.root / "note.sms.txt"
    template.write_text(template.read_text().replace("Hello", "Goodbye"))
    with pytest.raises(RunError, match="edited after the plan of 'k1' was approved"):
        delivery.dispatch_chunk(bench.ws, "hello", "sms", "test", bench.clock)
    assert len(bench.sms.addresses) == sent
    assert bench.states() == {("accepted", None): 50, ("planned", None): 30}
