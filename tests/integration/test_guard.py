"""What stops a run by itself: calls that fail one after the other, and too much that comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import insert

from holdfast.audience.policy import MAX_ATTEMPTS
from holdfast.channel import (
    Accepted,
    InDoubt,
    Message,
    Outcome,
    Rejected,
    RejectReason,
    Response,
    ResponseKind,
    Retry,
)
from holdfast.delivery import dispatch_chunk, resume_runs, settle, stop_runs
from holdfast.delivery.guard import check_calls, check_rates, check_stopped
from holdfast.errors import BatchRefused, RunStopped
from holdfast.responses import CameBack, Stopped, apply, collect, newly_came_back
from holdfast.settings import Dispatch
from holdfast.store import failures, runs
from holdfast.store.runs import Run
from holdfast.tables import attempts
from tests.fakes.scripted_channel import accept_all
from tests.integration.conftest import NOW, Bench
from tests.query_plans import full_scans

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
_names = count()
REFUSED = Rejected(RejectReason.BAD_ADDRESS)
NOT_NOW = Retry(of_recipient=True)
PARALLEL = [{"id": "first", "channels": ["parallel"], "template": "note"}]
# After the first the run still waits.
STEPS = [
    {"id": "first", "channels": ["sms"], "template": "note"},
    {"id": "second", "after": "4d", "channels": ["sms"], "template": "note"},
]


def always(outcome: Outcome) -> Callable[[Sequence[Message]], list[Outcome]]:
    return lambda batch: [outcome for _ in batch]


def in_turn(*outcomes: Outcome) -> Callable[[Sequence[Message]], list[Outcome]]:
    """A call after the other ends in the next of these; the last one for ever."""
    left = list(outcomes)
    return lambda batch: [left[0] if len(left) == 1 else left.pop(0)] * len(batch)


def stop_if(**limits: Any) -> dict[str, Any]:
    return {"stop_if": limits}


def the_run(bench: Bench, run_id: int | None = None) -> Run:
    with bench.ws.database.read() as connection:
        found = runs.list_runs(connection)
    return next(run for run in found if run_id in (None, run.id))


def answered(bench: Bench, kind: ResponseKind, n: int) -> None:
    """So many of the accepted messages are answered so."""
    keys = [bench.ws.signer.sign("message", row.id) for row in bench.messages(state="accepted")[:n]]
    given = [Response(kind, f"e{next(_names)}", bench.clock.now, key=key) for key in keys]
    apply(bench.ws, "sms", given, bench.clock.now)


# --- calls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "became"),
    [(InDoubt(), "30 messages in doubt and 0"), (Retry(), "0 messages in doubt and 30")],
)
def test_calls_that_fail_one_after_the_other_stop_the_run_with_the_figures(
    bench: Bench, outcome: Outcome, became: str
) -> None:
    bench.shop.customers(100)
    bench.campaign(guard=stop_if(errors=3))
    bench.sms.script = always(outcome)
    with pytest.raises(RunStopped) as stopped:
        bench.run()
    reason = f"3 calls in a row failed on channel 'sms', with {became} not taken"
    assert str(stopped.value) == f"run 'k1' of 'hello' was stopped by its guard: {reason}"
    go_on = "go on with: holdfast run hello --resume"
    assert stopped.value.hint == f"look at the provider and the network; {go_on}"
    run = the_run(bench)
    assert (run.state, run.reason, run.is_stopped_by_guard) == ("stopping", f"guard: {reason}", True)
    assert len(bench.sms.calls) == 3
    assert not bench.messages(state="leased")
    settle(bench.ws, "hello", bench.clock.now)
    assert (the_run(bench).state, the_run(bench).reason) == ("stopped", f"guard: {reason}")


@on_sqlite
def test_one_message_that_is_taken_or_refused_breaks_the_row(bench: Bench) -> None:
    bench.shop.customers(70)
    bench.campaign(guard=stop_if(errors=3))
    bench.sms.script = in_turn(InDoubt(), InDoubt(), REFUSED, InDoubt(), InDoubt(), Accepted())
    bench.run()
    assert the_run(bench).state == "done"


@on_sqlite
def test_a_provider_that_asks_for_pauses_is_there_and_stops_nothing(bench: Bench) -> None:
    bench.shop.customers(10)
    bench.campaign(guard=stop_if(errors=1))
    bench.sms.script = always(Retry(bench.ws.project.dispatch.lease))
    bench.run()
    assert the_run(bench).state == "running"


def test_a_call_whose_messages_are_given_up_is_a_failed_one_too(bench: Bench) -> None:
    """Else a row was never longer than a message has attempts, and what nobody took was a refusal."""
    bench.shop.customers(10)
    bench.campaign(guard=stop_if(errors=7))
    bench.sms.script = always(Retry())
    run_id = bench.start()
    for _ in range(MAX_ATTEMPTS):
        bench.dispatch()
        bench.clock.advance(hours=2)
    assert bench.states() == {("rejected", "retries_exhausted"): 10}
    with bench.ws.database.read() as connection:
        assert failures.failed_in_a_row(connection, run_id, "sms", 7) == (MAX_ATTEMPTS, 0, 10 * MAX_ATTEMPTS)
        assert failures.count_came_back(connection, run_id) == CameBack(0, 0)
        assert failures.count_sent(connection, run_id) == failures.Sent(0, 0)


@on_sqlite
def test_a_call_that_fails_while_another_worker_gets_through_only_ends_alone(bench: Bench) -> None:
    bench.shop.customers(20)
    bench.campaign()
    nested = iter([True])

    def slow(batch: Sequence[Message]) -> list[Outcome]:
        """Begins first and comes back last."""
        if next(nested, False):
            bench.sms.script = always(Accepted())
            dispatch_chunk(bench.ws, "hello", "sms", "other", bench.clock)
        return [InDoubt() for _ in batch]

    bench.ws.project = bench.ws.project.model_copy(update={"dispatch": Dispatch(chunk=10)})
    bench.sms.script = slow
    bench.run()
    assert bench.states() == {("in_doubt", "no_answer"): 10, ("accepted", None): 10}


@on_sqlite
def test_a_batch_that_is_halved_counts_by_its_halves(bench: Bench) -> None:
    def picky(batch: Sequence[Message]) -> list[Outcome]:
        if len(batch) > 1:
            raise BatchRefused("one of them is bad")
        return [Accepted()]

    bench.shop.customers(10)
    bench.campaign(guard=stop_if(errors=2))
    bench.sms.script = picky
    bench.run()
    assert bench.states() == {("accepted", None): 10}


def test_a_run_that_was_resumed_is_not_stopped_again_by_the_calls_before(bench: Bench) -> None:
    bench.shop.customers(100)
    bench.campaign(guard=stop_if(errors=3))
    bench.sms.script = always(InDoubt())
    with pytest.raises(RunStopped):
        bench.run()
    resume_runs(bench.ws, "hello", bench.clock.now)
    assert not the_run(bench).is_stopped_by_guard
    with pytest.raises(RunStopped, match="3 calls in a row"):
        bench.dispatch()
    assert len(bench.sms.calls) == 6


@on_sqlite
def test_only_the_run_that_fails_is_stopped_and_only_once(bench: Bench) -> None:
    bench.shop.customers(30)
    bench.campaign(guard=stop_if(errors=2))
    first, second = bench.start(key="k1"), bench.start(bench.campaign("other"), key="k2")
    bench.sms.script = always(InDoubt())
    with pytest.raises(RunStopped):
        bench.dispatch()
    check_calls(bench.ws, the_run(bench, first), "sms")  # another worker's, a moment later
    assert the_run(bench, first).state == "stopping"
    assert the_run(bench, second).state == "running"


@on_sqlite
def test_whoever_works_on_the_run_elsewhere_is_told(bench: Bench) -> None:
    bench.shop.customers(30)
    bench.campaign(guard=stop_if(errors=2))
    bench.start()
    seen = the_run(bench)
    check_stopped(bench.ws, [seen])
    bench.sms.script = always(InDoubt())
    with pytest.raises(RunStopped) as stopped:
        bench.dispatch()
    with pytest.raises(RunStopped, match=str(stopped.value)):
        check_stopped(bench.ws, [seen])
    resume_runs(bench.ws, "hello", bench.clock.now)
    stop_runs(bench.ws, "hello", "cancelled in Prefect", bench.clock.now)
    check_stopped(bench.ws, [seen])  # that was a person


# --- calls that are out at once -------------------------------------------------------------------


@on_sqlite
def test_calls_that_were_out_at_once_fail_as_one(bench: Bench) -> None:
    bench.shop.customers(9)
    bench.campaign(guard=stop_if(errors=4), steps=PARALLEL)
    together = Barrier(3)

    def fail(batch: Sequence[Message]) -> list[Outcome]:
        if together.wait(30) == 0:
            bench.clock.advance(seconds=1)  # while all three are out
        together.wait(30)
        return [InDoubt() for _ in batch]

    bench.channels["parallel"].script = fail
    bench.run()  # which a row of four would stop
    assert len(bench.channels["parallel"].calls) == 9
    assert bench.states() == {("in_doubt", "no_answer"): 9}


def dispatch_hourly(bench: Bench, times: int) -> None:
    """Each time the channel has rested."""
    for _ in range(times):
        bench.dispatch()
        bench.clock.advance(hours=1)


@on_sqlite
@pytest.mark.parametrize("at_once", [16, 64])
def test_a_channel_that_answers_nothing_stops_the_run_however_many_calls_are_out_at_once(
    bench: Bench, at_once: int
) -> None:
    bench.shop.customers(5 * at_once)
    bench.campaign(guard=stop_if(errors=4), steps=PARALLEL)
    bench.ws.project = bench.ws.project.model_copy(update={"dispatch": Dispatch(chunk=at_once)})
    channel = bench.calls_at_once(at_once)
    together = Barrier(at_once)

    def hang(batch: Sequence[Message]) -> list[Outcome]:
        if together.wait(30) == 0:
            bench.clock.advance(seconds=59)
        together.wait(30)
        return [InDoubt() for _ in batch]

    channel.script = hang
    bench.start()
    with pytest.raises(RunStopped, match="4 calls in a row failed on channel 'parallel'"):
        dispatch_hourly(bench, 5)
    assert len(channel.calls) == 4 * at_once


@pytest.mark.parametrize(("most", "told"), [(20, (15, 960, 0)), (10, (10, 577, 0))])
def test_a_row_is_counted_through_any_number_of_calls_that_were_out_at_once(
    bench: Bench, most: int, told: tuple[int, int, int]
) -> None:
    bench.campaign()
    run_id = bench.start()
    ended = {"messages": 1, "accepted": 0, "rejected": 0, "retried": 0, "in_doubt": 0}
    waves = [NOW + timedelta(minutes=minute) for minute in range(16)]
    calls = [
        {"run_id": run_id, "channel": "sms", "started_at": at, "finished_at": at + timedelta(seconds=59)}
        | ended
        | ({"accepted": 1} if at == NOW else {"in_doubt": 1})
        for at in waves
        for _ in range(64)
    ]
    with bench.ws.database.write() as connection:
        connection.execute(insert(attempts), calls)
    with bench.ws.database.read() as connection:
        assert failures.failed_in_a_row(connection, run_id, "sms", most) == told


# --- recipients who ask for time --------------------------------------------------------------------


def test_recipients_who_ask_for_time_stop_nothing_and_others_are_sent_to_as_before(bench: Bench) -> None:
    bench.shop.customers(30)
    bench.campaign(guard=stop_if(errors=3), steps=PARALLEL)
    channel = bench.calls_at_once(1)
    greylisted = {f"sms{n}" for n in range(5, 17)}
    channel.script = lambda batch: [NOT_NOW if m.to in greylisted else Accepted() for m in batch]
    run_id = bench.start()
    dispatch_chunk(bench.ws, "hello", "parallel", "test", bench.clock)
    assert len(channel.calls) == 30
    assert bench.states() == {("accepted", None): 18, ("planned", None): 12}
    assert {row.attempts for row in bench.messages(state="planned")} == {1}
    bench.clock.advance(hours=2)
    channel.script = accept_all
    bench.dispatch()
    assert bench.states() == {("accepted", None): 30}
    assert the_run(bench, run_id).state == "done"


@on_sqlite
def test_a_recipient_who_asks_for_time_breaks_the_row_as_one_that_is_taken_does(bench: Bench) -> None:
    bench.shop.customers(60)
    bench.campaign(guard=stop_if(errors=3))
    bench.sms.script = in_turn(InDoubt(), InDoubt(), NOT_NOW, InDoubt(), InDoubt(), Accepted())
    bench.run()
    assert the_run(bench).state == "running"
    assert bench.states() == {("in_doubt", "no_answer"): 40, ("planned", None): 10, ("accepted", None): 10}


def test_a_message_whose_recipient_asked_for_time_to_the_end_is_given_up_and_held_against_nobody(
    bench: Bench,
) -> None:
    bench.shop.customers(10)
    bench.campaign(guard=stop_if(errors=1, bounce_rate="0%", after=1))
    bench.sms.script = always(NOT_NOW)
    run_id = bench.start()
    for _ in range(MAX_ATTEMPTS):
        bench.dispatch()
        bench.clock.advance(hours=2)
    assert bench.states() == {("rejected", "retries_exhausted"): 10}
    assert len(bench.sms.calls) == MAX_ATTEMPTS
    with bench.ws.database.read() as connection:
        assert failures.failed_in_a_row(connection, run_id, "sms", 9) == (0, 0, 0)
        assert failures.count_came_back(connection, run_id) == CameBack(0, 0)


# --- rates ----------------------------------------------------------------------------------------


def test_refusals_over_the_rate_stop_the_run_before_its_next_chunk(bench: Bench) -> None:
    bench.shop.customers(200)
    bench.campaign(guard=stop_if(bounce_rate="10%", after=50))
    bench.sms.script = in_turn(Accepted(), Accepted(), Accepted(), Accepted(), REFUSED, Accepted())
    with pytest.raises(
        RunStopped, match=r"10 of 50 messages sent were refused or bounced: 20\.00%, more than"
    ):
        bench.run()
    assert len(bench.sms.addresses) == 50
    assert the_run(bench).state == "stopping"


def test_refusals_over_the_rate_stop_the_run_within_a_chunk(bench: Bench) -> None:
    bench.shop.customers(200)
    bench.campaign(guard=stop_if(bounce_rate="10%", after=50))
    bench.ws.project = bench.ws.project.model_copy(update={"dispatch": Dispatch(chunk=200)})
    bench.sms.script = in_turn(Accepted(), Accepted(), Accepted(), REFUSED)
    with pytest.raises(RunStopped, match=r"20 of 50 messages sent were refused or bounced: 40\.00%"):
        bench.run()
    assert len(bench.sms.addresses) == 50
    assert bench.states() == {("accepted", None): 30, ("rejected", "bad_address"): 20, ("planned", None): 150}
    assert the_run(bench).state == "stopping"


@on_sqlite
def test_a_rate_that_is_reached_but_not_passed_is_fine(bench: Bench) -> None:
    bench.shop.customers(100)
    bench.campaign(guard=stop_if(bounce_rate="20%", complaint_rate="0%", after=50))
    bench.sms.script = in_turn(*[Accepted()] * 4, REFUSED, *[Accepted()] * 4, REFUSED, Accepted())
    bench.run()
    assert the_run(bench).state == "done"


@on_sqlite
@pytest.mark.parametrize(("limit", "refused", "sent"), [("29%", 29, 100), ("0.7%", 7, 1000)])
def test_a_rate_that_no_float_holds_exactly_is_not_passed_either(
    bench: Bench, limit: str, refused: int, sent: int
) -> None:
    bench.shop.customers(sent)
    bench.campaign(guard=stop_if(bounce_rate=limit, after=sent), steps=STEPS)
    left = iter(range(refused))
    bench.sms.script = lambda batch: [REFUSED if next(left, None) is not None else Accepted() for _ in batch]
    bench.run()
    check_rates(bench.ws, the_run(bench))
    assert the_run(bench).state == "running"


@on_sqlite
def test_rates_are_judged_when_enough_was_sent(bench: Bench) -> None:
    bench.shop.customers(50)
    bench.campaign(guard=stop_if(bounce_rate="10%", after=51))
    bench.sms.script = always(REFUSED)
    bench.run()
    assert the_run(bench).state == "done"


@pytest.mark.parametrize(
    ("kind", "limit", "told"),
    [
        (
            ResponseKind.BOUNCED,
            {"bounce_rate": "5%"},
            "6 of 60 messages sent were refused or bounced: 10.00%",
        ),
        (
            ResponseKind.COMPLAINED,
            {"complaint_rate": "0.3%"},
            "6 of 60 messages accepted were reported as spam: 10.00%, more than 0.3%",
        ),
    ],
)
def test_what_comes_back_hours_later_stops_the_run_that_still_sends_where_it_is_collected(
    bench: Bench, kind: ResponseKind, limit: dict[str, str], told: str
) -> None:
    bench.shop.customers(60)
    bench.campaign(guard=stop_if(after=50, **limit), steps=STEPS)
    bench.run()
    assert collect(bench.ws, bench.clock.now).stopped == ()
    answered(bench, kind, 6)
    collected = collect(bench.ws, bench.clock.advance(hours=3))
    [stopped] = collected.stopped
    assert stopped == Stopped("hello", collected.problems[0])
    assert told in stopped.reason
    assert the_run(bench).state == "stopped"  # nothing of it was out
    assert collect(bench.ws, bench.clock.now).stopped == ()


def test_a_run_that_was_resumed_is_judged_by_what_it_sent_since(bench: Bench) -> None:
    bench.shop.customers(120)
    bench.campaign(guard=stop_if(bounce_rate="10%", after=50))
    bench.sms.script = in_turn(*[REFUSED] * 5, Accepted())
    with pytest.raises(RunStopped):
        bench.run()
    resume_runs(bench.ws, "hello", bench.clock.now)
    bench.dispatch()
    assert bench.states() == {("rejected", "bad_address"): 50, ("accepted", None): 70}
    assert the_run(bench).state == "done"


def test_counting_what_came_back_reads_no_more_of_a_run_than_that(bench: Bench) -> None:
    bench.shop.customers(200)
    bench.campaign()
    bench.sms.script = in_turn(*[Accepted()] * 4, REFUSED, Accepted())
    run_id = bench.run()
    answered(bench, ResponseKind.COMPLAINED, 3)
    with bench.ws.database.write() as connection:
        connection.exec_driver_sql("ANALYZE")
    with bench.ws.database.read() as connection:
        assert failures.count_came_back(connection, run_id) == CameBack(10, 3)
        assert failures.count_sent(connection, run_id) == failures.Sent(190, 200)
        if connection.dialect.name == "postgresql":  # which rather reads so few from end to end
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        assert full_scans(connection, failures.came_back(run_id), "messages") == []


# --- what is told -----------------------------------------------------------------------------------


def test_what_came_back_is_told_by_campaign_and_once(bench: Bench) -> None:
    bench.shop.customers(20)
    bench.run(bench.campaign())
    assert newly_came_back(bench.ws, bench.clock.now) == {}
    answered(bench, ResponseKind.BOUNCED, 4)
    answered(bench, ResponseKind.BOUNCED, 4)  # a provider may say so twice
    answered(bench, ResponseKind.COMPLAINED, 1)
    answered(bench, ResponseKind.OPENED, 9)
    assert newly_came_back(bench.ws, bench.clock.now) == {"hello": CameBack(4, 1)}
    assert newly_came_back(bench.ws, bench.clock.now) == {}
    answered(bench, ResponseKind.OPENED, 1)
    assert newly_came_back(bench.ws, bench.clock.now) == {}
