from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from holdfast.channel import Accepted, InDoubt, Message, Outcome, Rejected, RejectReason, Retry
from holdfast.delivery import dispatch_chunk, next_due, open_run, plan, resume_runs, settle, stop_runs
from holdfast.errors import BatchRefused, ChannelUnavailable, RunError
from holdfast.store import doubt, ledger, runs
from holdfast.store.calls import Terms, write_calls
from holdfast.store.contact import Route
from holdfast.store.counting import run_waterfall
from holdfast.store.database import Database
from holdfast.tables import from_microseconds, messages
from tests.integration.conftest import NOW, Bench, Clock, Shop, make_bench


def run_states(bench: Bench, name: str = "hello") -> list[str]:
    with bench.ws.database.read() as connection:
        return [run.state for run in runs.list_runs(connection, name)]


def expire_leases(bench: Bench) -> None:
    with bench.ws.database.write() as connection:
        connection.execute(
            update(messages)
            .where(messages.c.lease_owner.is_not(None))
            .values(lease_expires_at=from_microseconds(1))
        )


def test_everyone_gets_one_message_and_the_run_is_done(bench: Bench) -> None:
    ids = bench.shop.customers(73)
    bench.campaign()
    bench.run()
    assert sorted(bench.sms.addresses) == sorted(f"sms{id_}" for id_ in ids)
    assert bench.states() == {("accepted", None): 73}
    assert run_states(bench) == ["done"]


def test_a_second_run_of_the_same_occurrence_sends_nothing(bench: Bench) -> None:
    bench.shop.customers(5)
    bench.campaign()
    first = bench.run()
    bench.shop.customers(5)
    assert bench.run() == first
    assert len(bench.sms.addresses) == 5


def test_the_holdout_is_enrolled_and_sent_nothing(bench: Bench) -> None:
    bench.shop.customers(400)
    bench.campaign(holdout="25%")
    bench.run()
    arms = Counter(row.arm for row in bench.enrollments())
    assert arms.total() == 400
    assert 70 < arms["holdout"] < 130
    assert len(bench.sms.addresses) == arms["treated"]
    held_out = {row.customer_id for row in bench.enrollments(arm="holdout")}
    assert held_out.isdisjoint(row.customer_id for row in bench.messages())


def test_arms_persist_over_entries_even_when_the_share_changes(bench: Bench) -> None:
    bench.shop.customers(100)
    bench.campaign(holdout="30%", re_entry="always")
    bench.run(key="k1")
    bench.campaign(holdout="60%", re_entry="always")
    bench.run(key="k2")
    arms = {(row.customer_id, row.entry): row.arm for row in bench.enrollments()}
    assert len(arms) == 200
    assert all(arms[id_, 1] == arms[id_, 2] for id_, entry in arms if entry == 1)


def test_the_global_holdout_is_turned_away_before_enrollment(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    bench = make_bench(database, shop, clock, tmp_path, global_holdout="20%")
    shop.customers(300)
    bench.campaign()
    bench.campaign("invoice", purpose="transactional")
    bench.run()
    reasons = Counter(row.reason for row in bench.enrollments())
    assert 35 < reasons["global_holdout"] < 90
    assert reasons.total() == 300
    bench.run("invoice")
    assert len(bench.enrollments(campaign="invoice", arm="treated")) == 300


def test_who_cannot_be_written_to_is_turned_away_with_the_reason(bench: Bench) -> None:
    writable, silent = bench.shop.customers(2), bench.shop.customers(1, consent=None)
    refused, nowhere = bench.shop.customers(1, consent=False), bench.shop.customers(1, kinds=())
    bounced = bench.shop.customers(1)
    bench.shop.suppress(bounced[0])
    bench.campaign()
    bench.run()
    assert {row.customer_id: row.reason for row in bench.enrollments()} == {
        **dict.fromkeys(writable),
        silent[0]: "no_consent",
        refused[0]: "no_consent",
        nowhere[0]: "unreachable",
        bounced[0]: "suppressed",
    }


def test_the_latest_consent_counts(bench: Bench) -> None:
    (id_,) = bench.shop.customers(1, consent=False)
    bench.shop.consent([id_], "sms", granted=True)
    bench.shop.consent([id_], "sms", granted=False, at=NOW + timedelta(hours=1))
    bench.campaign()
    bench.run()
    assert bench.sms.addresses == [f"sms{id_}"]


def test_a_transactional_message_needs_no_yes_but_respects_a_no(bench: Bench) -> None:
    silent = bench.shop.customers(1, consent=None)
    bench.shop.customers(1, consent=False, purpose="transactional")
    bench.campaign(purpose="transactional", holdout=None)
    bench.run()
    assert bench.sms.addresses == [f"sms{silent[0]}"]


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda shop, id_: shop.consent([id_], "sms", granted=False), "no_consent"),
        (lambda shop, id_: shop.suppress(id_), "suppressed"),
    ],
)
def test_what_changes_between_planning_and_sending_is_respected(bench: Bench, happens, reason: str) -> None:  # type: ignore[no-untyped-def]
    ids = bench.shop.customers(3)
    bench.campaign()
    bench.start()
    happens(bench.shop, ids[1])
    bench.dispatch()
    assert bench.sms.addresses == [f"sms{ids[0]}", f"sms{ids[2]}"]
    assert bench.states() == {("accepted", None): 2, ("skipped", reason): 1}


def test_a_cap_counts_over_campaigns_and_at_the_moment_of_sending(bench: Bench) -> None:
    bench.shop.customers(3)
    cap = {"cap": {"messages": 1, "per": "7d"}}
    bench.campaign("one", send=cap)
    bench.campaign("two", send=cap)
    # Both are planned before either is sent.
    bench.start("one")
    bench.start("two")
    bench.dispatch("one")
    bench.dispatch("two")
    assert len(bench.sms.addresses) == 3
    assert bench.states() == {("accepted", None): 3, ("skipped", "capped"): 3}
    bench.campaign("three", send=cap)
    bench.run("three")
    assert len(bench.sms.addresses) == 3
    bench.clock.advance(days=7, seconds=1)
    bench.campaign("four", send=cap)
    bench.run("four")
    assert len(bench.sms.addresses) == 6


def test_transactional_messages_neither_are_capped_nor_count(bench: Bench) -> None:
    bench.shop.customers(2)
    cap = {"cap": {"messages": 1, "per": "7d"}}
    bench.campaign("invoice", purpose="transactional", re_entry="always")
    bench.run("invoice", "k1")
    bench.campaign(send=cap)
    bench.run()
    bench.run("invoice", "k2")
    assert bench.states() == {("accepted", None): 6}


def test_messages_wait_for_the_window_of_the_customers_own_zone(bench: Bench) -> None:
    here = bench.shop.customers(1, timezone="Europe/Berlin")  # 14:00 there
    there = bench.shop.customers(1, timezone="America/Los_Angeles")  # 05:00 there
    lost = bench.shop.customers(1, timezone="Mars/Olympus", country="JP")  # 21:00 there
    bench.campaign(send={"window": "09:00-20:00"})
    bench.run()
    assert bench.sms.addresses == [f"sms{here[0]}"]
    due = {row.customer_id: row.due_at for row in bench.messages(state="planned")}
    assert due == {
        there[0]: datetime(2026, 6, 3, 16, 0, tzinfo=UTC),
        lost[0]: datetime(2026, 6, 4, 0, 0, tzinfo=UTC),
    }
    assert next_due(bench.ws, "hello", bench.clock.now) == datetime(2026, 6, 3, 16, 0, tzinfo=UTC)
    bench.clock.now = datetime(2026, 6, 3, 16, 0, tzinfo=UTC)
    bench.dispatch()
    assert bench.sms.addresses[1:] == [f"sms{there[0]}"]
    bench.clock.now = datetime(2026, 6, 4, 0, 0, tzinfo=UTC)
    bench.dispatch()
    assert run_states(bench) == ["done"]


def test_a_window_that_closes_before_the_message_goes_out_defers_it_to_the_next_day(bench: Bench) -> None:
    bench.shop.customers(2, timezone="Europe/Berlin")
    bench.campaign(send={"window": "09:00-20:00"})
    bench.start()
    bench.clock.now = datetime(2026, 6, 3, 18, 0, tzinfo=UTC)  # 20:00 there: closed
    bench.dispatch()
    assert bench.sms.calls == []
    assert {row.due_at for row in bench.messages()} == {datetime(2026, 6, 4, 7, 0, tzinfo=UTC)}


def test_a_window_that_closes_within_a_chunk_stops_the_rest_of_it(bench: Bench) -> None:
    bench.shop.customers(20, timezone="Europe/Berlin")
    bench.campaign(send={"window": "09:00-20:00"})
    bench.start()
    bench.clock.now = datetime(2026, 6, 3, 17, 59, 59, tzinfo=UTC)

    def slow(batch: Sequence[Message]) -> list[Outcome]:
        bench.clock.advance(seconds=1)
        return [Accepted() for _ in batch]

    bench.sms.script = slow
    bench.dispatch()
    assert len(bench.sms.addresses) == 10
    assert Counter(row.state for row in bench.messages()) == {"accepted": 10, "planned": 10}


def test_what_the_provider_did_not_take_is_tried_again_later_and_not_for_ever(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign()
    bench.sms.script = lambda batch: [Retry(timedelta(minutes=10)) for _ in batch]
    bench.run()
    (row,) = bench.messages()
    assert (row.state, row.due_at, row.sent_at) == ("planned", NOW + timedelta(minutes=10), None)
    bench.dispatch()
    assert len(bench.sms.calls) == 1
    for _ in range(5):
        bench.clock.advance(hours=2)
        bench.dispatch()
    assert bench.states() == {("rejected", "retries_exhausted"): 1}
    assert len(bench.sms.calls) == 6
    assert run_states(bench) == ["done"]


def test_a_provider_that_asks_to_wait_for_ages_is_tried_again_in_a_day(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign()
    bench.sms.script = lambda batch: [Retry(timedelta.max) for _ in batch]
    bench.run()
    (row,) = bench.messages()
    assert (row.state, row.due_at) == ("planned", NOW + timedelta(days=1))


def test_a_rejected_message_falls_back_to_the_next_channel_that_can_be_used(bench: Bench) -> None:
    both = bench.shop.customers(2, kinds=("sms", "telegram"))
    only_sms = bench.shop.customers(1)
    bench.campaign(steps=[{"id": "first", "channels": ["sms", "telegram"], "template": "note"}])
    bench.sms.script = lambda batch: [Rejected(RejectReason.BAD_ADDRESS, "21211") for _ in batch]
    bench.run()
    assert bench.channels["telegram"].addresses == [f"telegram{id_}" for id_ in both]
    assert [(row.customer_id, row.rank, row.state) for row in bench.messages(channel="telegram")] == [
        (id_, 2, "accepted") for id_ in both
    ]
    assert [row.reason for row in bench.messages(customer_id=only_sms[0])] == ["bad_address"]


def test_a_message_in_doubt_is_not_sent_again_by_itself(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign()
    bench.sms.script = lambda batch: [InDoubt() for _ in batch]
    bench.run()
    bench.clock.advance(days=30)
    bench.dispatch()
    assert bench.states() == {("in_doubt", "no_answer"): 1}
    assert len(bench.sms.calls) == 1


def test_policy_resend_plans_a_message_in_doubt_again_after_a_while(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign(in_doubt="resend", in_doubt_after="1h")
    bench.sms.script = lambda batch: [InDoubt() for _ in batch]
    bench.run()
    assert run_states(bench) == ["running"]
    assert next_due(bench.ws, "hello", bench.clock.now) == NOW + timedelta(hours=1)
    bench.dispatch()
    assert len(bench.sms.calls) == 1
    bench.sms.script = lambda batch: [Accepted() for _ in batch]
    bench.clock.advance(hours=1, seconds=1)
    settle(bench.ws, "hello", bench.clock.now)
    bench.dispatch()
    assert bench.states() == {("accepted", None): 1}
    assert run_states(bench) == ["done"]


def test_a_channel_that_can_be_asked_ends_the_doubt(bench: Bench) -> None:
    bench.shop.customers(2)
    bench.campaign(steps=[{"id": "first", "channels": ["checked"], "template": "note"}])
    checked = bench.channels["checked"]

    def takes_the_first_and_drops_the_line(batch: Sequence[Message]) -> list[Outcome]:
        checked.taken.append(batch[0].key)
        return [InDoubt() for _ in batch]

    checked.script = takes_the_first_and_drops_the_line
    bench.start()
    dispatch_chunk(bench.ws, "hello", "checked", "test", bench.clock)
    assert bench.states() == {("in_doubt", "no_answer"): 2}
    settle(bench.ws, "hello", bench.clock.now)
    # That it was not taken is believed only when the call must be over.
    assert bench.states() == {("accepted", None): 1, ("in_doubt", "no_answer"): 1}
    assert run_states(bench) == ["running"]
    assert next_due(bench.ws, "hello", NOW) == NOW + timedelta(minutes=5)
    settle(bench.ws, "hello", bench.clock.advance(minutes=5))
    assert bench.states() == {("accepted", None): 1, ("planned", None): 1}


def test_leases_that_ran_out_go_back_and_what_was_being_sent_is_in_doubt(bench: Bench) -> None:
    bench.shop.customers(4)
    bench.campaign()
    run_id = bench.start()
    minute = timedelta(minutes=1)
    leased = ledger.lease(bench.ws.database, run_id, "sms", "lost", 3, minute, NOW)
    terms = Terms(bench.run_of(run_id), "lost", Route("sms", "sms"), "marketing")
    write_calls(bench.ws.database, terms, [], [[leased[0].id]], bench.clock)
    assert doubt.reclaim(bench.ws.database) == (0, 0)
    expire_leases(bench)
    assert doubt.reclaim(bench.ws.database) == (2, 1)
    assert bench.states() == {("planned", None): 3, ("in_doubt", "sender_lost"): 1}


def test_a_late_outcome_settles_what_was_taken_for_lost(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign()
    bench.start()

    def overtaken(batch: Sequence[Message]) -> list[Outcome]:
        expire_leases(bench)
        doubt.reclaim(bench.ws.database)
        assert bench.states() == {("in_doubt", "sender_lost"): 1}
        return [Accepted("late") for _ in batch]

    bench.sms.script = overtaken
    bench.dispatch()
    assert [(row.state, row.provider_id) for row in bench.messages()] == [("accepted", "late")]


def test_a_worker_that_lost_its_lease_sends_nothing(bench: Bench) -> None:
    bench.shop.customers(2)
    bench.campaign()
    run_id = bench.start()
    minute = timedelta(minutes=1)
    leased = ledger.lease(bench.ws.database, run_id, "sms", "slow", 10, minute, NOW)
    expire_leases(bench)
    doubt.reclaim(bench.ws.database)
    terms = Terms(bench.run_of(run_id), "slow", Route("sms", "sms"), "marketing")
    [(_, states)] = write_calls(bench.ws.database, terms, [], [[row.id for row in leased]], bench.clock)
    assert states == {}


def test_one_bad_message_in_a_batch_costs_the_others_nothing(bench: Bench) -> None:
    ids = bench.shop.customers(10)
    bench.campaign()
    bad = f"sms{ids[6]}"

    def refuses_the_whole_batch(batch: Sequence[Message]) -> list[Outcome]:
        if any(message.to == bad for message in batch):
            raise BatchRefused("400")
        return [Accepted() for _ in batch]

    bench.sms.script = refuses_the_whole_batch
    bench.run()
    assert bench.states() == {("accepted", None): 9, ("rejected", "content"): 1}
    assert bench.messages(state="rejected")[0].customer_id == ids[6]
    assert len(set(bench.sms.taken)) == len(bench.sms.taken) == 9
    assert {row.attempts for row in bench.messages()} == {1}


def test_a_channel_that_needs_an_operator_leaves_everything_planned(bench: Bench) -> None:
    bench.shop.customers(25)
    bench.campaign()
    bench.start()

    def bad_credentials(batch: Sequence[Message]) -> list[Outcome]:
        raise ChannelUnavailable("channel 'sms': 401", hint="check the key")

    bench.sms.script = bad_credentials
    with pytest.raises(ChannelUnavailable):
        bench.dispatch()
    assert bench.states() == {("planned", None): 25}
    assert len(bench.sms.calls) == 1


def test_a_channel_of_several_calls_at_once_stops_when_one_fails(bench: Bench) -> None:
    bench.shop.customers(50)
    bench.campaign(steps=[{"id": "first", "channels": ["parallel"], "template": "note"}])
    parallel = bench.channels["parallel"]

    def bad_credentials(batch: Sequence[Message]) -> list[Outcome]:
        raise ChannelUnavailable("channel 'parallel': 401")

    parallel.script = bad_credentials
    bench.start()
    with pytest.raises(ChannelUnavailable):
        bench.dispatch()
    assert len(parallel.calls) < 50
    assert bench.states() == {("planned", None): 50}
    parallel.script = lambda batch: [Accepted() for _ in batch]
    bench.dispatch()
    assert bench.states() == {("accepted", None): 50}


def test_an_adapter_that_breaks_leaves_its_batch_in_doubt_and_the_rest_planned(bench: Bench) -> None:
    bench.shop.customers(25)
    bench.campaign()
    bench.start()

    def broken(batch: Sequence[Message]) -> list[Outcome]:
        raise ZeroDivisionError

    bench.sms.script = broken
    with pytest.raises(ZeroDivisionError):
        bench.dispatch()
    assert bench.states() == {("planned", None): 15, ("in_doubt", "channel_failed"): 10}


def test_a_stopped_run_stops_at_the_next_batch_and_goes_on_when_resumed(bench: Bench) -> None:
    bench.shop.customers(40)
    bench.campaign()
    bench.start()

    def stopped_meanwhile(batch: Sequence[Message]) -> list[Outcome]:
        stop_runs(bench.ws, "hello", "cancelled in the UI", bench.clock.now)
        return [Accepted() for _ in batch]

    bench.sms.script = stopped_meanwhile
    bench.dispatch()
    assert bench.states() == {("accepted", None): 10, ("planned", None): 30}
    assert run_states(bench) == ["stopped"]
    bench.dispatch()
    assert len(bench.sms.calls) == 1
    bench.sms.script = lambda batch: [Accepted() for _ in batch]
    assert resume_runs(bench.ws, "hello", bench.clock.now) == 1
    bench.dispatch()
    assert bench.states() == {("accepted", None): 40}
    assert len(set(bench.sms.taken)) == 40
    assert run_states(bench) == ["done"]


def test_two_workers_at_once_send_nothing_twice(bench: Bench) -> None:
    bench.shop.customers(300)
    bench.campaign(send={"cap": {"messages": 1, "per": "7d"}})
    bench.start()

    def work(_: int) -> int:
        sent = 0
        while (result := dispatch_chunk(bench.ws, "hello", "sms", "worker", bench.clock)).leased:
            sent += result.accepted
        return sent

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 300
    assert len(set(bench.sms.addresses)) == len(bench.sms.addresses) == 300


def test_steps_follow_one_another_by_their_delay_and_rule(bench: Bench) -> None:
    ids = bench.shop.customers(4)
    bench.campaign(
        steps=[
            {"id": "first", "channels": ["sms"], "template": "note"},
            {
                "id": "second",
                "after": "4d",
                "if": {"not": {"orders.last": {"within": "4d"}}},
                "channels": ["sms"],
                "template": "note",
            },
            {"id": "third", "after": "1d", "channels": ["sms"], "template": "note"},
        ]
    )
    bench.run()
    assert next_due(bench.ws, "hello", bench.clock.now) == NOW + timedelta(days=4)
    bench.clock.advance(days=3)
    bench.shop.order(ids[0], bench.clock.now)
    bench.dispatch()
    assert len(bench.messages()) == 4
    bench.clock.advance(days=1)
    bench.dispatch()
    assert bench.states(step="second") == {("accepted", None): 3, ("skipped", "condition"): 1}
    assert run_states(bench) == ["running"]
    bench.clock.advance(days=1)
    bench.dispatch()
    assert bench.states(step="third") == {("accepted", None): 4}
    assert run_states(bench) == ["done"]
    assert next_due(bench.ws, "hello", bench.clock.now) is None


def test_the_delay_of_a_step_counts_from_when_the_one_before_went_out(bench: Bench) -> None:
    bench.shop.customers(1, timezone="Asia/Tokyo")  # 21:00 there: waits until 00:00 UTC
    bench.campaign(
        send={"window": "09:00-20:00"},
        steps=[
            {"id": "first", "channels": ["sms"], "template": "note"},
            {"id": "second", "after": "1d", "channels": ["sms"], "template": "note"},
        ],
    )
    bench.run()
    bench.clock.now = datetime(2026, 6, 4, 1, 0, tzinfo=UTC)
    bench.dispatch()
    bench.clock.now = NOW + timedelta(days=1)
    bench.dispatch()
    assert bench.messages(step="second") == []
    assert next_due(bench.ws, "hello", bench.clock.now) == datetime(2026, 6, 5, 1, 0, tzinfo=UTC)
    bench.clock.now = datetime(2026, 6, 5, 1, 0, tzinfo=UTC)
    bench.dispatch()
    assert bench.states(step="second") == {("accepted", None): 1}


def test_nobody_gets_a_step_while_the_one_before_is_on_its_way(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign(
        steps=[
            {"id": "first", "channels": ["sms"], "template": "note"},
            {"id": "second", "after": "1h", "channels": ["sms"], "template": "note"},
        ]
    )
    bench.sms.script = lambda batch: [Retry(timedelta(days=1)) for _ in batch]
    bench.run()
    bench.clock.advance(hours=2)
    bench.dispatch()
    assert len(bench.messages()) == 1
    assert next_due(bench.ws, "hello", bench.clock.now) == NOW + timedelta(days=1)


def test_who_converts_or_unsubscribes_gets_no_further_step(bench: Bench) -> None:
    ids = bench.shop.customers(3)
    bench.campaign(
        goal={"event": "order", "within": "14d"},
        exit_when=["converted", "unsubscribed"],
        steps=[
            {"id": "first", "channels": ["sms"], "template": "note"},
            {"id": "second", "after": "2d", "channels": ["sms"], "template": "note"},
            {"id": "third", "after": "2d", "channels": ["sms"], "template": "note"},
        ],
    )
    bench.run()
    bench.clock.advance(days=1)
    bench.shop.order(ids[0], bench.clock.now)
    bench.shop.consent([ids[1]], "sms", granted=False)
    bench.shop.consent([ids[2]], "telegram", granted=False)  # of no matter to this campaign
    bench.clock.advance(days=1)
    bench.dispatch()
    reasons = {row.customer_id: (row.state, row.reason) for row in bench.messages(step="second")}
    assert reasons == {
        ids[0]: ("skipped", "converted"),
        ids[1]: ("skipped", "unsubscribed"),
        ids[2]: ("accepted", None),
    }
    bench.clock.advance(days=2)
    bench.dispatch()
    assert [row.customer_id for row in bench.messages(step="third")] == [ids[2]]


@pytest.mark.parametrize(
    ("re_entry", "after_days", "reason"),
    [
        ("never", 100, "enrolled_before"),
        ("always", 1, None),
        ({"after": "7d"}, 6, "too_soon"),
        ({"after": "7d"}, 7, None),
    ],
)
def test_re_entry(bench: Bench, re_entry: object, after_days: int, reason: str | None) -> None:
    bench.shop.customers(1)
    bench.campaign(re_entry=re_entry)
    bench.run(key="k1")
    bench.clock.advance(days=after_days)
    run_id = bench.run(key="k2")
    (second,) = bench.enrollments(run_id=run_id)
    assert (second.reason, second.entry) == (reason, None if reason else 2)


def test_nobody_is_enrolled_again_while_on_the_way(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign(
        re_entry="always",
        steps=[
            {"id": "first", "channels": ["sms"], "template": "note"},
            {"id": "second", "after": "30d", "channels": ["sms"], "template": "note"},
        ],
    )
    bench.run(key="k1")
    bench.clock.advance(days=1)
    bench.run(key="k2")
    assert [row.reason for row in bench.enrollments()] == [None, "in_progress"]


def test_variants_are_drawn_by_weight_and_keep_to_the_customer(bench: Bench) -> None:
    bench.shop.customers(400)
    steps = [
        {
            "id": "first",
            "channels": ["sms"],
            "template": "note",
            "variants": {"plain": {"weight": 3}, "coupon": {"weight": 1, "coupon": "X"}},
        }
    ]
    bench.campaign(steps=steps, re_entry="always")
    bench.run(key="k1")
    bench.run(key="k2")
    drawn = Counter(row.variant for row in bench.messages())
    assert drawn.keys() == {"plain", "coupon"}
    assert 140 < drawn["coupon"] < 260
    by_customer = {(row.customer_id, row.variant) for row in bench.messages()}
    assert len(by_customer) == 400


def test_a_step_that_was_removed_from_the_file_is_not_sent(bench: Bench) -> None:
    bench.shop.customers(2)
    second = {"id": "second", "after": "1d", "channels": ["sms"], "template": "note"}
    bench.campaign(steps=[{"id": "first", "channels": ["sms"], "template": "note"}, second])
    bench.start()
    bench.campaign(steps=[{"id": "other", "channels": ["sms"], "template": "note"}])
    bench.dispatch()
    assert bench.sms.calls == []
    assert bench.states() == {("skipped", "step_removed"): 2}
    assert run_states(bench) == ["done"]


def test_a_plan_counts_what_the_run_will_do_and_writes_nothing(bench: Bench) -> None:
    bench.shop.customers(80, timezone="Europe/Berlin")
    bench.shop.customers(7, timezone="America/Los_Angeles")
    bench.shop.customers(5, consent=False)
    bench.shop.customers(3, kinds=())
    bench.campaign(holdout="20%", send={"window": "09:00-20:00", "cap": {"messages": 3, "per": "7d"}})
    planned = plan(bench.ws, "hello", NOW, NOW)
    assert bench.enrollments() == []
    rows = dict(planned.waterfall.rows())
    assert (rows["matched"], rows["enrolled"]) == (95, 87)
    assert (rows["no consent"], rows["cannot be reached"]) == (-5, -3)
    assert rows["to send"] == 87 + rows["held out"]
    assert planned.to_send == {"sms": rows["to send"]}
    run_id = bench.run()
    with bench.ws.database.read() as connection:
        happened = dict(run_waterfall(connection, run_id, "first").rows())
    assert happened["to send"] == rows["to send"]
    assert {key: n for key, n in happened.items() if not key.startswith("  ")} == {
        key: n for key, n in rows.items() if not key.startswith("  ")
    }


def test_enrolling_goes_on_where_it_was_broken_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.store import enrolling

    monkeypatch.setattr(enrolling, "SLICE", 10)
    bench.shop.customers(35)
    bench.campaign()
    run = open_run(bench.ws, "hello", "k1", NOW, NOW)

    class Killed(BaseException):
        pass

    def killed_after_two_slices(done: int, total: int) -> None:
        if done >= 20:
            raise Killed

    from holdfast.delivery import enroll

    with pytest.raises(Killed):
        enroll(bench.ws, run, NOW, killed_after_two_slices)
    assert len(bench.enrollments()) == 20
    enroll(bench.ws, run, NOW)
    assert len(bench.enrollments()) == len(bench.messages()) == 35


def test_an_unknown_campaign_is_an_error_that_names_the_known_ones(bench: Bench) -> None:
    bench.campaign("hello")
    with pytest.raises(RunError, match="there is no campaign 'helo'; did you mean 'hello'") as raised:
        open_run(bench.ws, "helo", "k1", NOW, NOW)
    assert raised.value.hint == "known are: hello"


def test_a_back_dated_run_sees_only_what_had_happened(bench: Bench) -> None:
    early, late = bench.shop.customers(2)
    then = NOW - timedelta(days=100)
    bench.shop.consent([early, late], "sms", granted=True, at=then - timedelta(days=1))
    bench.shop.order(early, then - timedelta(days=1))
    bench.shop.order(late, then + timedelta(days=1))
    bench.campaign(audience={"orders.count": {"gte": 1}})
    planned = plan(bench.ws, "hello", then, NOW)
    assert planned.waterfall.matched == 1


def test_quiet_hours_may_span_midnight(bench: Bench) -> None:
    bench.shop.customers(1, timezone="UTC")
    bench.campaign(send={"window": "22:00-06:00"})
    bench.run()
    assert next_due(bench.ws, "hello", bench.clock.now) == datetime.combine(NOW.date(), time(22), UTC)
