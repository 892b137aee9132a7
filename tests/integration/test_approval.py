"""Plans that a person approves by their hash, and what an edit makes of the approval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from holdfast import report
from holdfast.audience.rules import Rule
from holdfast.channel import Message, Outcome
from holdfast.delivery import (
    Run,
    approve,
    awaiting,
    decline,
    due,
    enroll,
    open_run,
    plan,
    plan_of,
    posts_due,
    prepare,
    publish_due,
    resume_runs,
    stop_runs,
)
from holdfast.delivery.approval import review
from holdfast.delivery.dispatch import dispatch_chunk
from holdfast.delivery.files import files_of
from holdfast.errors import RunError
from holdfast.store import approvals, decisions, enrolling, ledger, runs
from holdfast.store.approvals import PlanHash
from holdfast.store.ledger import Leased
from holdfast.tables import messages
from tests.fakes.scripted_channel import accept_all
from tests.integration.conftest import NOW, Bench

GUARD = {"approve_above": 10}
STEP = {"id": "first", "channels": ["sms"], "template": "note"}


@pytest.fixture
def started(bench: Bench) -> Callable[..., Run]:
    """A run of `hello`, opened and readied as the flow does."""

    def start(key: str = "k1", **fields: Any) -> Run:
        bench.campaign(**{"guard": GUARD, "holdout": "20%", **fields})
        open_run(bench.ws, "hello", key, bench.clock.now, bench.clock.now)
        return ready(bench, key)

    return start


def ready(bench: Bench, key: str = "k1") -> Run:
    prepare(bench.ws, "hello", bench.clock.now)
    with bench.ws.database.read() as connection:
        run = runs.find_run(connection, "hello", key)
    assert run is not None
    return run


def planned_hash(bench: Bench) -> str:
    return plan(bench.ws, "hello", bench.clock.now, bench.clock.now).hash


def hash_of(bench: Bench, run: Run) -> str:
    return plan_of(bench.ws, run, bench.clock.now).hash


def say_yes(bench: Bench, plan_hash: str, occurrence: str | None = None) -> Run:
    said: dict[str, Any] = {"who": "ada", "why": "looked at it", "occurrence": occurrence}
    return approve(bench.ws, "hello", plan_hash, now=bench.clock.now, **said)


def edit_template(bench: Bench) -> None:
    file = bench.ws.library.files.root / "note.sms.txt"
    bench.edit(file.name, file.read_text() + "{# edited #}")


# --- the hash -------------------------------------------------------------------------------------


def test_a_plans_hash_is_that_of_the_run_that_is_then_made(
    bench: Bench, started: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "SLICE", 7)
    bench.shop.customers(40)
    bench.shop.customers(5, consent=False)
    bench.campaign(guard=GUARD, holdout="20%")
    shown = planned_hash(bench)
    assert hash_of(bench, started()) == shown


def test_an_edit_of_the_campaign_or_a_template_or_one_more_customer_makes_another_hash(bench: Bench) -> None:
    bench.shop.customers(20)
    bench.campaign(guard=GUARD)
    hashes = [planned_hash(bench)]
    bench.campaign(guard=GUARD, description="a few words more")
    hashes.append(planned_hash(bench))
    edit_template(bench)
    hashes.append(planned_hash(bench))
    bench.shop.customers(1)
    hashes.append(planned_hash(bench))
    bench.shop.customers(1, consent=False)
    assert len(set(hashes)) == 4
    assert planned_hash(bench) == hashes[-1]


def test_an_edit_of_a_shared_file_makes_another_hash_where_the_campaign_uses_what_was_edited(
    bench: Bench,
) -> None:
    bench.shop.customers(20)
    later = {"id": "later", "after": "2d", "if": {"segment": "late"}, "channels": ["sms"], "template": "note"}
    everybody, nobody = (Rule.model_validate({"customer_id": {"exists": yes}}) for yes in (True, False))
    bench.ws.segments = {"late": nobody, "other": nobody}
    bench.campaign(guard=GUARD, steps=[STEP, later])
    hashes = [planned_hash(bench)]
    bench.ws.segments = {"late": nobody, "other": everybody}
    assert planned_hash(bench) == hashes[0]
    bench.ws.segments = {"late": everybody, "other": everybody}
    hashes.append(planned_hash(bench))
    project = bench.ws.project
    bench.ws.project = project.model_copy(update={"brand": project.brand.model_copy(update={"name": "Else"})})
    hashes.append(planned_hash(bench))
    bench.ws.project = project.model_copy(update={"dispatch": None})
    assert planned_hash(bench) == hashes[1]
    assert len(set(hashes)) == 3


@given(
    st.lists(st.tuples(st.integers(1, 2**62), st.sampled_from(["treated", "holdout"])), max_size=30),
    st.integers(1, 30),
)
def test_how_an_audience_is_sliced_does_not_change_its_hash(
    audience: list[tuple[int, str]], size: int
) -> None:
    whole, sliced, shorter = (PlanHash("v", 0.1) for _ in range(3))
    whole.add(audience)
    for start in range(0, len(audience), size):
        sliced.add(audience[start : start + size])
    shorter.add(audience[1:])
    assert str(whole) == str(sliced)
    assert not audience or str(whole) != str(shorter)


# --- waiting --------------------------------------------------------------------------------------


def test_over_the_limit_nothing_is_sent_or_published_before_the_plan_is_approved(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(30)
    bench.publisher("wall")
    bench.edit("shout.x.txt", "Back in stock")
    run = started(steps=[STEP, {"id": "shout", "post": ["wall"], "template": "shout"}])
    assert run.state == "awaiting_approval"
    bench.dispatch()
    assert (bench.sms.calls, due(bench.ws, "hello", NOW), posts_due(bench.ws, "hello", NOW)) == ([], {}, 0)
    assert say_yes(bench, hash_of(bench, run)).state == "running"
    assert posts_due(bench.ws, "hello", NOW) == 1
    bench.dispatch()
    assert bench.states() == {("accepted", None): len(bench.enrollments(arm="treated"))}


def test_at_the_limit_a_run_goes_by_itself(bench: Bench, started: Callable[..., Run]) -> None:
    bench.shop.customers(10)
    run = started(holdout="0%")
    assert (run.state, run.approved_hash) == ("running", None)


def test_a_limit_that_is_raised_or_taken_away_lets_the_run_go(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(30)
    assert started().state == "awaiting_approval"
    bench.campaign(guard={"approve_above": 100}, holdout="20%")
    assert ready(bench).state == "running"


def test_an_approval_is_kept_with_who_and_why_and_once(bench: Bench, started: Callable[..., Run]) -> None:
    bench.shop.customers(30)
    plan_hash = hash_of(bench, started())
    for _ in range(2):
        assert say_yes(bench, plan_hash).approved_hash == plan_hash
    with bench.ws.database.read() as connection:
        [kept] = decisions.list_decisions(connection, "hello")
    assert (kept.occurrence, kept.what, kept.detail, kept.who, kept.why) == (
        "k1", "approved", plan_hash, "ada", "looked at it",
    )  # fmt: skip


def test_runs_with_the_same_plan_are_approved_one_by_one(bench: Bench, started: Callable[..., Run]) -> None:
    bench.shop.customers(30)
    plan_hash = hash_of(bench, started(re_entry="always"))
    assert say_yes(bench, plan_hash).occurrence == "k1"
    bench.dispatch()
    for key in ("k2", "k3"):
        waits = started(key, re_entry="always")
        assert (waits.state, hash_of(bench, waits)) == ("awaiting_approval", plan_hash)
    with pytest.raises(RunError, match="several runs wait with this plan: k2, k3"):
        say_yes(bench, plan_hash)
    for _ in range(2):
        assert say_yes(bench, plan_hash, "k3").occurrence == "k3"
    assert [run.occurrence for run in awaiting(bench.ws, "hello")] == ["k2"]
    assert say_yes(bench, plan_hash).occurrence == "k2"


def test_a_wrong_hash_is_refused_with_the_right_one(bench: Bench, started: Callable[..., Run]) -> None:
    bench.campaign()
    with pytest.raises(RunError, match="no run of 'hello' waits for approval"):
        say_yes(bench, "000000000000")
    bench.shop.customers(30)
    run = started()
    with pytest.raises(RunError, match=f"by now, which is {hash_of(bench, run)} of k1") as refused:
        say_yes(bench, "000000000000")
    assert refused.value.hint == "look at it first: holdfast plan hello --key k1"
    assert ready(bench).state == "awaiting_approval"


def test_a_declined_run_is_stopped_and_asks_again_when_it_is_resumed(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(30)
    run = started()
    decline(bench.ws, run, "too many")
    stopped = ready(bench)
    assert (stopped.state, stopped.reason) == ("stopped", "not approved: too many")
    resume_runs(bench.ws, "hello", NOW)
    assert ready(bench).state == "awaiting_approval"
    say_yes(bench, hash_of(bench, run))
    bench.dispatch()
    assert ready(bench).state == "done"


def test_a_run_that_was_approved_and_stopped_needs_no_second_approval(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(30)
    say_yes(bench, hash_of(bench, started()))
    stop_runs(bench.ws, "hello", "lunch", NOW)
    resume_runs(bench.ws, "hello", NOW)
    assert ready(bench).state == "running"


# --- edits ----------------------------------------------------------------------------------------


def test_an_edit_voids_a_plan_that_waits_and_its_audience_is_enrolled_anew(
    bench: Bench, started: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "SLICE", 7)
    bench.shop.customers(20, country="DE")
    bench.shop.customers(20, country="FR")
    run = started()
    old = hash_of(bench, run)
    bench.campaign(guard=GUARD, holdout="50%", audience={"country": {"in": ["FR"]}})
    with pytest.raises(RunError, match="is not the plan of 'hello' by now"):
        say_yes(bench, old)
    again = ready(bench)
    assert (again.id, again.state, again.holdout) == (run.id, "awaiting_approval", 0.5)
    assert {row.customer_id for row in bench.enrollments()} == set(range(21, 41))
    assert len(bench.messages()) == len(bench.enrollments(arm="treated"))
    assert say_yes(bench, hash_of(bench, again)).state == "running"


def test_an_audience_that_was_taken_back_by_half_is_taken_back_to_its_end(
    bench: Bench, started: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "SLICE", 7)
    bench.shop.customers(40)
    started()
    bench.campaign(guard=GUARD)

    class Killed(BaseException):
        pass

    take_back = approvals._take_back_slice

    def killed_after_the_first(*arguments: Any) -> bool:
        take_back(*arguments)
        raise Killed

    monkeypatch.setattr(approvals, "_take_back_slice", killed_after_the_first)
    with pytest.raises(Killed):
        ready(bench)
    monkeypatch.setattr(approvals, "_take_back_slice", take_back)
    assert 0 < len(bench.enrollments()) < 40
    run = ready(bench)
    assert (run.state, len(bench.enrollments()), run.holdout) == ("awaiting_approval", 40, 0.0)
    with bench.ws.database.read() as connection:
        assert len(set(connection.scalars(select(messages.c.customer_id)))) == 40


def test_an_edit_of_an_approved_run_under_way_asks_again_about_the_same_audience(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(60)
    second = {"id": "second", "after": "1d", "channels": ["sms"], "template": "note"}
    run = say_yes(bench, hash_of(bench, started(steps=[STEP, second])))
    dispatch_chunk(bench.ws, "hello", "sms", "test", bench.clock)
    enrolled = bench.enrollments()
    sent = len(bench.messages(state="accepted"))
    edit_template(bench)
    with pytest.raises(RunError, match="was edited after the plan"):
        dispatch_chunk(bench.ws, "hello", "sms", "test", bench.clock)
    waits = ready(bench)
    assert (waits.state, waits.approved_hash) == ("awaiting_approval", None)
    bench.clock.advance(days=2)
    bench.dispatch()
    assert len(bench.messages(state="accepted")) == sent
    assert hash_of(bench, waits) != run.approved_hash
    say_yes(bench, hash_of(bench, waits))
    bench.dispatch()
    assert [row.id for row in bench.enrollments()] == [row.id for row in enrolled]
    assert {row.state for row in bench.messages(step="first")} == {"accepted"}


def test_a_run_that_needed_no_approval_goes_on_after_an_edit_as_ever(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(5)
    started()
    edit_template(bench)
    assert ready(bench).state == "running"
    bench.dispatch()
    assert set(bench.states()) == {("accepted", None)}


def test_a_post_is_not_published_by_files_that_were_not_approved(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(30)
    wall = bench.publisher("wall")
    bench.edit("shout.x.txt", "Back in stock")
    run = started(steps=[STEP, {"id": "shout", "post": ["wall"], "template": "shout"}])
    say_yes(bench, hash_of(bench, run))
    (bench.ws.library.files.root / "shout.x.txt").write_text("Back in stock!")
    with pytest.raises(RunError, match="was edited after the plan"):
        publish_due(bench.ws, "hello", "test", bench.clock)
    assert (wall.calls, posts_due(bench.ws, "hello", NOW)) == ([], 1)
    bench.read_anew()
    say_yes(bench, hash_of(bench, ready(bench)))
    publish_due(bench.ws, "hello", "test", bench.clock)
    assert wall.calls == ["Back in stock!"]


def test_what_was_rendered_before_an_edit_is_not_sent_by_the_approval_after_it(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(30)
    say_yes(bench, hash_of(bench, started(holdout="0%")))

    def edited_meanwhile(batch: Sequence[Message]) -> list[Outcome]:
        bench.sms.script = accept_all
        bench.edit("note.sms.txt", "{% block body %}Goodbye{% endblock %}")
        say_yes(bench, hash_of(bench, ready(bench)))
        return accept_all(batch)

    bench.sms.script = edited_meanwhile
    dispatch_chunk(bench.ws, "hello", "sms", "test", bench.clock)
    assert [message.text for batch in bench.sms.calls for message in batch] == ["Hello you"] * 10
    assert bench.states() == {("accepted", None): 10, ("planned", None): 20}


def test_a_run_that_was_stopped_before_its_first_call_has_not_begun(
    bench: Bench, started: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.shop.customers(20, country="DE")
    bench.shop.customers(20, country="FR")
    say_yes(bench, hash_of(bench, started()))
    lease = ledger.lease

    def stopped_meanwhile(*arguments: Any) -> list[Leased]:
        leased = lease(*arguments)
        stop_runs(bench.ws, "hello", "not so many", NOW)
        return leased

    monkeypatch.setattr(ledger, "lease", stopped_meanwhile)
    dispatch_chunk(bench.ws, "hello", "sms", "test", bench.clock)
    assert bench.sms.calls == []
    bench.campaign(guard=GUARD, audience={"country": {"in": ["FR"]}})
    resume_runs(bench.ws, "hello", NOW)
    assert ready(bench).state == "awaiting_approval"
    assert {row.customer_id for row in bench.enrollments()} == set(range(21, 41))


# --- workers whose files differ ---------------------------------------------------------------------


def test_a_worker_with_the_files_of_before_lets_no_run_go_that_was_planned_anew(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(30)
    bench.campaign(guard={"approve_above": 100})
    open_run(bench.ws, "hello", "k1", NOW, NOW)
    before = replace(bench.ws, sources=dict(bench.sources))
    waits = started()
    assert review(before, waits, NOW).state == "awaiting_approval"


def test_a_worker_with_the_files_of_before_does_not_enroll_what_is_being_taken_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "SLICE", 7)
    bench.shop.customers(40)
    bench.campaign(guard=GUARD)
    run = open_run(bench.ws, "hello", "k1", NOW, NOW)
    before = replace(bench.ws, sources=dict(bench.sources))
    bench.campaign(guard=GUARD, holdout="20%")
    taken_back: list[int] = []
    take_back = approvals._take_back_slice

    def one_after_each(done: int, total: int) -> None:
        # Were it not for this limit, they would go on for ever.
        if done > 7 and len(taken_back) < 20:
            taken_back.append(done)
            take_back(bench.ws.database, run, files_of(bench.ws, "hello"), NOW)

    enroll(before, run, NOW, one_after_each)
    assert taken_back == [14]
    assert ready(bench).state == "awaiting_approval"


def test_a_stop_that_comes_with_an_edit_is_not_overruled(
    bench: Bench, started: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.shop.customers(30)
    say_yes(bench, hash_of(bench, started()))
    edit_template(bench)
    begun, take_back = approvals._has_begun, approvals._take_back_slice
    with ThreadPoolExecutor(1) as other:
        stopping: list[Future[int]] = []

        def stopped_meanwhile(connection: Connection, run_id: int) -> bool:
            stopping.append(other.submit(stop_runs, bench.ws, "hello", "cancelled", NOW))
            # It has to wait, and gets this long to show that it does not.
            wait(stopping, timeout=0.5)
            return begun(connection, run_id)

        def taken_back_then(*arguments: Any) -> bool:
            wait(stopping)
            return take_back(*arguments)

        monkeypatch.setattr(approvals, "_has_begun", stopped_meanwhile)
        monkeypatch.setattr(approvals, "_take_back_slice", taken_back_then)
        ready(bench)
        [stopped] = stopping
        assert stopped.result() == 1
    assert ready(bench).reason == "cancelled"


# --- what is told ---------------------------------------------------------------------------------


def test_a_plan_is_told_beside_the_last_run_with_what_was_edited(
    bench: Bench, started: Callable[..., Run], tmp_path: Path
) -> None:
    bench.shop.customers(30, first_name="Ann")
    bench.shop.customers(2, consent=False)
    say_yes(bench, hash_of(bench, started(re_entry="always")))
    bench.dispatch()
    bench.shop.consent([31, 32], "sms", granted=True)
    bench.clock.advance(days=1)
    edit_template(bench)
    bench.campaign(guard=GUARD, holdout="20%", re_entry="always", send={"rate": "1/min"})
    told = report.plan_report(bench.ws, plan(bench.ws, "hello", bench.clock.now, bench.clock.now))
    rows = {row.words: (row.customers, row.before) for row in told.rows}
    assert rows["matched"] == (32, 32)
    assert rows["no consent"] == (0, -2)
    assert rows["enrolled"] == (32, 30)
    assert told.edited == {"campaigns/hello.yaml": "edited", "templates/note.sms.txt": "edited"}
    assert told.last == "k1"
    assert told.needs_approval
    treated = told.to_write_to
    assert told.time_needed == timedelta(minutes=treated)
    assert told.channels == [
        {"channel": "sms", "treated": treated, "to send": treated, "of these, later in their window": 0}
    ]
    assert [sample["text"] for sample in told.samples] == ["Hello Ann"] * 3
    assert all("…" in sample["to"] for sample in told.samples)
    assert "sms1" not in str(told.samples)


def test_the_plan_of_a_run_that_waits_shows_who_waits_for_a_window(
    bench: Bench, started: Callable[..., Run]
) -> None:
    bench.shop.customers(20, timezone="Europe/Berlin")
    bench.shop.customers(9, timezone="America/Los_Angeles")
    run = started(send={"window": "09:00-20:00"}, holdout="0%")
    found = plan_of(bench.ws, run, NOW)
    rows = dict(found.waterfall.rows())
    assert rows["  waits for its window, by sms"] == 9
    assert rows["  by sms"] == 20
    assert found.to_send == {"sms": 29}
    assert awaiting(bench.ws, "hello") == [run]
