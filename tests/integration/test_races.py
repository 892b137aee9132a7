"""Workers that overtake one another. Each test puts two of them at the worst moment, one step at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update

from holdfast.channel import Accepted, InDoubt, Message, Outcome, Rejected, RejectReason, Retry
from holdfast.delivery import advance, dispatch_chunk, enroll, next_due, open_run, settle, stop_runs
from holdfast.delivery.planning import running
from holdfast.errors import BatchRefused
from holdfast.store import doubt, enrolling, ledger, runs
from holdfast.store.calls import Settled, Terms, write_calls
from holdfast.store.contact import Route
from holdfast.store.database import Database
from holdfast.tables import from_microseconds, messages, metadata
from tests.integration.conftest import NOW, Bench, Clock, Shop, make_bench

MINUTE = timedelta(minutes=1)
TELEGRAM_NEXT = [{"id": "first", "channels": ["checked", "telegram"], "template": "note"}]
CHECKED = [{"id": "first", "channels": ["checked"], "template": "note"}]


def lose_leases(bench: Bench) -> None:
    """Time passes over every lease, and somebody takes stock."""
    with bench.ws.database.write() as connection:
        connection.execute(
            update(messages)
            .where(messages.c.lease_owner.is_not(None))
            .values(lease_expires_at=from_microseconds(1))
        )
    doubt.reclaim(bench.ws.database)


def dispatch_one(bench: Bench, channel: str = "sms") -> None:
    dispatch_chunk(bench.ws, "hello", channel, "worker", bench.clock)


def overtaken(bench: Bench, own: Outcome, others: Outcome, channel: str = "sms") -> None:
    """A call outlasts its lease; its message is planned again, and another worker sends it meanwhile."""
    bench.clock.advance(minutes=1)

    def second(batch: Sequence[Message]) -> list[Outcome]:
        return [others for _ in batch]

    def first(batch: Sequence[Message]) -> list[Outcome]:
        lose_leases(bench)
        with bench.ws.database.write() as connection:
            connection.execute(update(messages).values(state="planned", reason=None, sent_at=None))
        bench.channels[channel].script = second
        dispatch_one(bench, channel)
        return [own for _ in batch]

    bench.channels[channel].script = first
    dispatch_one(bench, channel)


def run_state(bench: Bench) -> str:
    with bench.ws.database.read() as connection:
        (run,) = runs.list_runs(connection, "hello")
    return run.state


# --- answers and workers at the same messages -----------------------------------------------------


@pytest.mark.parametrize("work", ["release", "take_back", "reopen"])
def test_a_worker_that_lets_go_of_messages_waits_for_answers_to_them(
    fresh_postgres_url: str, clock: Clock, tmp_path: Path, work: str
) -> None:
    """PostgreSQL ends one of two that change the same rows in another order, and its answers or messages
    would be neither here nor there."""
    database = Database(fresh_postgres_url)
    metadata.create_all(database.engine)
    bench = make_bench(database, Shop(database, clock), clock, tmp_path)
    bench.shop.customers(2)
    bench.campaign()
    run_id = bench.start()
    advance(bench.ws, "hello", NOW)
    first, last = [row.id for row in ledger.lease(database, run_id, "sms", "worker", 2, MINUTE, NOW)]

    def let_go() -> None:
        if work == "release":
            ledger.release(database, [first, last], "worker")
        elif work == "reopen":
            (run,) = running(bench.ws, "hello")
            enrolling.reopen(database, run, None, "UTC", NOW)
        else:
            ledger.take_back(database, 1, [first, last], "worker", MINUTE, NOW)

    with database.write() as connection:
        if work == "take_back":
            connection.execute(update(messages).values(state="sending", attempt_id=1))
        elif work == "reopen":
            over = {"state": "planned", "lease_owner": None, "closes_at": NOW}
            connection.execute(update(messages).values(over))
    with ThreadPoolExecutor(1) as pool, database.write(exclusive=True) as connection:
        connection.execute(update(messages).where(messages.c.id == last).values(delivered_at=NOW))
        waiting = pool.submit(let_go)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        connection.execute(update(messages).where(messages.c.id == first).values(delivered_at=NOW))
        connection.commit()
        waiting.result()
    assert {row.state for row in bench.messages()} == {"leased" if work == "take_back" else "planned"}
    database.close()


# --- a sender that is alive but slow --------------------------------------------------------------


def test_a_late_refusal_does_not_undo_what_another_worker_sent_since(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign()
    bench.start()
    overtaken(bench, own=Retry(), others=InDoubt())
    assert bench.states() == {("in_doubt", "no_answer"): 1}


def test_a_late_acceptance_keeps_the_message_from_going_out_again(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign()
    bench.start()

    def slow(batch: Sequence[Message]) -> list[Outcome]:
        lose_leases(bench)
        with bench.ws.database.write() as connection:
            connection.execute(update(messages).values(state="planned", reason=None, sent_at=None))
        return [Accepted("late") for _ in batch]

    bench.sms.script = slow
    dispatch_one(bench)
    assert [(row.state, row.provider_id, row.sent_at) for row in bench.messages()] == [
        ("accepted", "late", NOW)
    ]
    assert len(bench.sms.calls) == 1


def test_two_workers_that_are_both_refused_leave_one_fallback(bench: Bench) -> None:
    bench.shop.customers(1, kinds=("sms", "telegram"))
    bench.campaign(steps=TELEGRAM_NEXT)
    bench.start()
    refused = Rejected(RejectReason.BAD_ADDRESS)
    overtaken(bench, own=refused, others=refused, channel="checked")
    assert [(row.rank, row.channel, row.state) for row in bench.messages()] == [
        (1, "checked", "rejected"),
        (2, "telegram", "planned"),
    ]


def test_a_batch_that_was_refused_late_is_halved_all_the_same(bench: Bench) -> None:
    bench.shop.customers(4)
    bench.campaign()
    bench.start()
    calls: list[int] = []

    def slow_to_refuse(batch: Sequence[Message]) -> list[Outcome]:
        calls.append(len(batch))
        if len(batch) == 4:
            lose_leases(bench)
            raise BatchRefused("400")
        return [Accepted() for _ in batch]

    bench.sms.script = slow_to_refuse
    bench.dispatch()
    assert calls == [4, 2, 2]
    assert bench.states() == {("accepted", None): 4}


def test_a_reclaim_that_commits_while_sending_waits_takes_the_message_away(
    fresh_postgres_url: str, clock: Clock, tmp_path: Path
) -> None:
    """PostgreSQL judges a row that changed under a waiting UPDATE again, but not what a CTE said of it."""
    database = Database(fresh_postgres_url)
    metadata.create_all(database.engine)
    bench = make_bench(database, Shop(database, clock), clock, tmp_path)
    bench.shop.customers(1)
    bench.campaign()
    run_id = bench.start()
    (leased,) = ledger.lease(bench.ws.database, run_id, "sms", "slow", 1, MINUTE, NOW)

    def begin() -> dict[int, str]:
        terms = Terms(bench.run_of(run_id), "slow", Route("sms", "sms"), "marketing")
        [begun] = write_calls(bench.ws.database, terms, [], [[leased.id]], clock)
        return begun.states

    with ThreadPoolExecutor(1) as pool, bench.ws.database.write() as connection:
        connection.execute(update(messages).values(state="planned", lease_owner=None, lease_expires_at=None))
        begun = pool.submit(begin)
        wait_for_a_lock(bench.ws.database)
        connection.commit()
        assert begun.result(30) == {}
    assert bench.states() == {("planned", None): 1}


def wait_for_a_lock(database: Database) -> None:
    """Returns when another session of this database waits for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    for _ in range(10_000):
        with database.read() as connection:
            if connection.scalar(waiting):
                return
    pytest.fail("nobody waits for a lock")


# --- doubt ----------------------------------------------------------------------------------------


def test_an_answer_about_an_earlier_call_says_nothing_about_a_later_one(bench: Bench) -> None:
    """Two processes settle at once. One has its answer, then the other's resends; the answer is stale."""
    bench.shop.customers(1)
    bench.campaign(steps=CHECKED)
    bench.start()
    checked = bench.channels["checked"]

    def drops_the_line(batch: Sequence[Message]) -> list[Outcome]:
        return [InDoubt() for _ in batch]

    def takes_it_and_drops_the_line(batch: Sequence[Message]) -> list[Outcome]:
        checked.taken += [message.key for message in batch]
        return [InDoubt() for _ in batch]

    checked.script = drops_the_line
    dispatch_one(bench, "checked")
    with bench.ws.database.read() as connection:
        stale = doubt.in_doubt(connection, "hello", "checked")
    settle(bench.ws, "hello", bench.clock.advance(minutes=5))
    checked.script = takes_it_and_drops_the_line
    dispatch_one(bench, "checked")
    never_taken = [Settled(row.id, "planned") for row in stale]
    assert doubt.resolve_doubt(bench.ws.database, stale, never_taken, {}, "marketing", NOW) == 0
    bench.dispatch()
    assert bench.states() == {("accepted", None): 1}
    assert len(checked.taken) == 1


def test_a_message_that_a_lookup_proves_rejected_falls_back_like_any_other(bench: Bench) -> None:
    (id_,) = bench.shop.customers(1, kinds=("sms", "telegram"))
    bench.campaign(steps=TELEGRAM_NEXT)
    bench.start()
    checked = bench.channels["checked"]
    checked.script = lambda batch: [InDoubt() for _ in batch]
    checked.lookup = lambda keys, since: {key: Rejected(RejectReason.BAD_ADDRESS) for key in keys}  # type: ignore[method-assign]
    dispatch_one(bench, "checked")
    bench.dispatch()
    bench.dispatch()
    assert bench.channels["telegram"].addresses == [f"telegram{id_}"]
    assert run_state(bench) == "done"


def test_a_run_that_was_done_goes_on_when_doubt_ends_with_never_taken(bench: Bench) -> None:
    bench.shop.customers(2)
    bench.campaign(steps=CHECKED)
    checked = bench.channels["checked"]
    checked.script = lambda batch: [InDoubt() for _ in batch]
    checked.lookup = lambda keys, since: {}  # type: ignore[method-assign] - nothing known yet
    bench.run()
    assert run_state(bench) == "running"
    settle(bench.ws, "hello", bench.clock.advance(minutes=5))
    assert run_state(bench) == "done"
    del checked.lookup
    checked.script = lambda batch: [Accepted() for _ in batch]
    settle(bench.ws, "hello", bench.clock.now)
    assert run_state(bench) == "running"
    bench.dispatch()
    assert bench.states() == {("accepted", None): 2}
    assert run_state(bench) == "done"


def test_a_late_outcome_into_a_run_that_is_done_is_not_left_lying(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign()
    bench.start()

    def slow(batch: Sequence[Message]) -> list[Outcome]:
        lose_leases(bench)
        settle(bench.ws, "hello", bench.clock.now)
        assert run_state(bench) == "done"
        return [Retry() for _ in batch]

    bench.sms.script = slow
    dispatch_one(bench)
    settle(bench.ws, "hello", bench.clock.now)
    bench.sms.script = lambda batch: [Accepted() for _ in batch]
    bench.clock.advance(hours=1)
    bench.dispatch()
    assert bench.states() == {("accepted", None): 1}
    assert run_state(bench) == "done"


def test_a_run_is_not_done_while_another_worker_holds_leases(bench: Bench) -> None:
    bench.shop.customers(3)
    bench.campaign()
    bench.start()

    def settled_by_another(batch: Sequence[Message]) -> list[Outcome]:
        settle(bench.ws, "hello", bench.clock.now)
        assert run_state(bench) == "running"
        return [Accepted() for _ in batch]

    bench.sms.script = settled_by_another
    bench.dispatch()
    assert run_state(bench) == "done"


def test_what_a_lost_worker_holds_is_due_when_its_lease_runs_out(bench: Bench) -> None:
    bench.shop.customers(3)
    bench.campaign()
    run_id = bench.start()
    ledger.lease(bench.ws.database, run_id, "sms", "lost", 3, MINUTE, NOW)
    expiry = min(row.lease_expires_at for row in bench.messages())
    assert next_due(bench.ws, "hello", bench.clock.now) == expiry


# --- the same thing twice at once -----------------------------------------------------------------


def at_once(*actions: Callable[[], object]) -> None:
    """Runs the actions in threads that start together; raises what one of them raised."""
    barrier = threading.Barrier(len(actions))

    def start(action: Callable[[], object]) -> object:
        barrier.wait(30)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        list(pool.map(start, actions))


def test_an_occurrence_opened_by_several_at_once_is_one_run(bench: Bench) -> None:
    bench.campaign()
    for number in range(5):
        at_once(*[lambda n=number: open_run(bench.ws, "hello", f"k{n}", NOW, NOW)] * 4)  # type: ignore[misc]
    assert len(running(bench.ws, "hello")) == 5


def test_two_who_enroll_the_same_run_enroll_everyone_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "SLICE", 7)
    bench.shop.customers(100)
    bench.campaign()
    run = open_run(bench.ws, "hello", "k1", NOW, NOW)
    at_once(*[lambda: enroll(bench.ws, run, NOW)] * 3)
    assert len(bench.enrollments()) == len(bench.messages()) == 100


def test_two_occurrences_enrolled_at_once_enroll_nobody_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "SLICE", 7)
    bench.shop.customers(100)
    bench.campaign()
    first, second = (open_run(bench.ws, "hello", key, NOW, NOW) for key in ("k1", "k2"))
    at_once(lambda: enroll(bench.ws, first, NOW), lambda: enroll(bench.ws, second, NOW))
    assert len(bench.enrollments(entry=1)) == len(bench.messages()) == 100
    assert len(bench.enrollments(reason="enrolled_before")) == 100


def test_a_step_advanced_by_several_at_once_is_planned_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.shop.customers(60)
    bench.campaign(
        steps=[
            {"id": "first", "channels": ["sms"], "template": "note"},
            {"id": "second", "after": "1d", "channels": ["sms"], "template": "note"},
        ]
    )
    bench.run()
    bench.clock.advance(days=1)
    monkeypatch.setattr(enrolling, "SLICE", 7)
    at_once(*[lambda: advance(bench.ws, "hello", bench.clock.now)] * 3)
    assert len(bench.messages(step="second")) == 60


def test_a_run_stopped_while_it_enrolls_goes_on_when_it_is_resumed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "SLICE", 10)
    bench.shop.customers(35)
    bench.campaign()
    run = open_run(bench.ws, "hello", "k1", NOW, NOW)

    def stopped_after_two_slices(done: int, total: int) -> None:
        if done == 20:
            stop_runs(bench.ws, "hello", "cancelled", NOW)

    enroll(bench.ws, run, NOW, stopped_after_two_slices)
    assert len(bench.enrollments()) == 20
    bench.dispatch()
    assert (bench.sms.calls, run_state(bench)) == ([], "stopped")
    runs.set_state(bench.ws.database, "hello", ("stopped",), "running")
    enroll(bench.ws, run, NOW)
    bench.dispatch()
    assert len(set(bench.sms.addresses)) == len(bench.sms.addresses) == 35
    assert run_state(bench) == "done"
