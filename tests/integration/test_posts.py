"""Public posts: one of a step and channel and run, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from channels.webhook import WebhookChannel, WebhookSettings
from holdfast.channel import DUPLICATE, Accepted, InDoubt, Outcome, Rejected, RejectReason, Retry
from holdfast.delivery import (
    PublishResult,
    enroll,
    next_due,
    open_run,
    posts_due,
    publish_due,
    resume_runs,
    settle,
    stop_runs,
)
from holdfast.errors import ChannelUnavailable, RunError
from holdfast.store import runs
from holdfast.store.posts import reclaim_posts
from holdfast.tables import campaign_versions, from_microseconds, posts
from tests.fakes.scripted_publisher import ScriptedPublisher
from tests.integration.conftest import NOW, Bench
from tests.servers.stand_in import Act
from tests.servers.webhook_server import WebhookServer

SEND = {"id": "first", "channels": ["sms"], "template": "note"}
SHOUT = {"id": "shout", "post": ["wall"], "template": "shout", "coupon": "BACK"}
LEASE = timedelta(minutes=5)


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def wall(bench: Bench, tmp_path: Path) -> ScriptedPublisher:
    """The network `wall` of the bench, and the template `shout` for it."""
    publisher = bench.publisher("wall")
    shout = (
        "{{ brand.name }} & {{ step.id }} of {{ campaign.name }}{% if coupon %}: {{ coupon }}{% endif %}\n"
    )
    (tmp_path / "templates" / "shout.x.txt").write_text(shout)
    return publisher


def start(bench: Bench, *steps: dict[str, Any], key: str = "k1") -> int:
    bench.campaign(steps=list(steps) or [SHOUT, SEND])
    return bench.start(key=key)


def publish(bench: Bench, owner: str = "worker") -> PublishResult:
    return publish_due(bench.ws, "hello", owner, bench.clock)


def rows(bench: Bench) -> list[Any]:
    with bench.ws.database.read() as connection:
        return list(connection.execute(select(posts).order_by(posts.c.id)))


def states(bench: Bench) -> list[tuple[str, str | None]]:
    return [(row.state, row.reason) for row in rows(bench)]


def run_state(bench: Bench) -> str:
    with bench.ws.database.read() as connection:
        return runs.list_runs(connection, "hello")[-1].state


def lose_leases(bench: Bench) -> None:
    with bench.ws.database.write() as connection:
        leased = posts.c.lease_owner.is_not(None)
        connection.execute(update(posts).where(leased).values(lease_expires_at=from_microseconds(1)))


def crash(bench: Bench, wall: ScriptedPublisher, *, after_it_was_taken: bool) -> None:
    """A worker ends during its call, and its lease runs out."""

    def killed(text: str) -> Outcome:
        if after_it_was_taken:
            wall.taken.append(text)
        raise Killed

    answers, wall.script = wall.script, killed
    with pytest.raises(Killed):
        publish(bench)
    wall.script = answers
    lose_leases(bench)


# --- the way of a post --------------------------------------------------------------------------------


def test_a_post_is_published_once_a_run_with_what_the_campaign_says(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    start(bench)
    assert posts_due(bench.ws, "hello", NOW) == 1
    assert publish(bench) == PublishResult(accepted=1)
    assert publish(bench) == PublishResult()
    assert wall.taken == ["Acme & shout of hello: BACK"]
    (row,) = rows(bench)
    assert (row.state, row.provider_id, row.text, row.kind) == ("accepted", "post0", wall.taken[0], "x")
    assert (row.sent_at, row.settled_at) == (NOW, NOW)


def test_posts_are_planned_once_and_not_after_the_audience_was_frozen(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    start(bench)
    publish(bench)
    bench.campaign(steps=[SHOUT, {**SHOUT, "id": "again"}, SEND])
    bench.start()
    assert [row.step for row in rows(bench)] == ["shout"]
    bench.start(key="k2")
    assert [row.step for row in rows(bench)] == ["shout", "shout", "again"]


def test_each_channel_of_a_post_has_its_own(bench: Bench, wall: ScriptedPublisher) -> None:
    bench.publisher("other")
    wall.script = lambda text: Rejected(RejectReason.CONTENT)
    start(bench, {**SHOUT, "post": ["wall", "other"]}, SEND)
    assert publish(bench) == PublishResult(accepted=1, rejected=1)
    assert [(row.channel, row.state) for row in rows(bench)] == [("wall", "rejected"), ("other", "accepted")]


def test_a_posts_time_counts_from_the_runs_start_through_the_steps_before_it(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    bench.shop.customers(1)
    later: dict[str, Any] = {**SHOUT, "id": "later", "after": "1d"}
    start(bench, SEND, {**SHOUT, "after": "2d"}, {**SEND, "id": "second", "after": "3d"}, later)
    assert [row.due_at - NOW for row in rows(bench)] == [timedelta(days=2), timedelta(days=6)]
    bench.dispatch()
    assert publish(bench) == PublishResult()
    assert next_due(bench.ws, "hello", NOW) == NOW + timedelta(days=2)
    bench.clock.advance(days=2)
    assert publish(bench) == PublishResult(accepted=1)
    # The send's three days count from the post between it and the first.
    assert next_due(bench.ws, "hello", bench.clock.now) == NOW + timedelta(days=5)
    bench.clock.advance(days=3)
    bench.dispatch()
    assert [row.step for row in bench.messages()] == ["first", "second"]


def test_a_run_is_done_only_when_its_posts_are(bench: Bench, wall: ScriptedPublisher) -> None:
    bench.shop.customers(1)
    start(bench)
    bench.dispatch()
    assert run_state(bench) == "running"
    publish(bench)
    assert settle(bench.ws, "hello", NOW).done == ("k1",)


def test_a_stopped_run_publishes_nothing_until_it_is_resumed(bench: Bench, wall: ScriptedPublisher) -> None:
    start(bench)

    def stopped_meanwhile() -> datetime:
        stop_runs(bench.ws, "hello", "test", NOW)
        return NOW

    assert publish_due(bench.ws, "hello", "worker", at_second_look(stopped_meanwhile)) == PublishResult()
    settle(bench.ws, "hello", NOW)
    assert (run_state(bench), wall.calls) == ("stopped", [])
    resume_runs(bench.ws, "hello", NOW)
    assert publish(bench) == PublishResult(accepted=1)


def at_second_look(clock: Callable[[], datetime]) -> Callable[[], datetime]:
    """A clock that says NOW when the due posts are looked up, and is the given one from then on."""
    looks = iter([lambda: NOW])
    return lambda: next(looks, clock)()


# --- refusals -----------------------------------------------------------------------------------------


def test_a_post_that_was_not_taken_is_tried_again_later_and_given_up_at_last(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    wall.script = lambda text: Retry(timedelta(hours=2))
    start(bench)
    assert publish(bench) == PublishResult(retried=1)
    (row,) = rows(bench)
    assert (row.state, row.due_at, row.text, row.sent_at) == ("planned", NOW + timedelta(hours=2), None, None)
    for _ in range(4):
        bench.clock.advance(hours=2)
        assert publish(bench) == PublishResult(retried=1)
    bench.clock.advance(hours=2)
    assert publish(bench) == PublishResult(rejected=1)
    assert states(bench) == [("rejected", "retries_exhausted")]


def test_a_channel_that_needs_an_operator_keeps_no_other_from_publishing(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    def closed(text: str) -> Outcome:
        raise ChannelUnavailable("channel 'wall': X does not take the tokens (401)")

    bench.publisher("other")
    wall.script = closed
    start(bench, {**SHOUT, "post": ["wall", "other"]}, SEND)
    with pytest.raises(ChannelUnavailable, match="does not take the tokens"):
        publish(bench)
    assert states(bench) == [("planned", None), ("accepted", None)]


def test_a_channel_of_messages_publishes_nothing(bench: Bench, wall: ScriptedPublisher) -> None:
    start(bench, {**SHOUT, "post": ["telegram"]}, SEND)
    with pytest.raises(ChannelUnavailable, match="channel 'telegram' publishes no posts"):
        publish(bench)
    assert states(bench) == [("planned", None)]


def test_an_adapter_that_breaks_leaves_doubt(bench: Bench, wall: ScriptedPublisher) -> None:
    def broken(text: str) -> Outcome:
        raise KeyError("id")

    wall.script = broken
    start(bench)
    with pytest.raises(KeyError):
        publish(bench)
    assert states(bench) == [("in_doubt", "channel_failed")]


def test_a_post_whose_step_or_template_is_gone_is_given_up(
    bench: Bench, wall: ScriptedPublisher, tmp_path: Path
) -> None:
    start(bench, SHOUT, {**SHOUT, "id": "other", "template": "none"}, SEND)
    bench.campaign(steps=[{**SHOUT, "id": "other", "template": "none"}, SEND])
    assert publish(bench) == PublishResult(rejected=2)
    assert states(bench) == [("rejected", "step_removed"), ("rejected", "render_failed")]
    assert wall.calls == []


def test_a_repeat_of_an_earlier_text_is_refused_where_there_was_no_doubt(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    wall.script = lambda text: Rejected(RejectReason.CONTENT, DUPLICATE)
    start(bench)
    assert publish(bench) == PublishResult(rejected=1)
    assert states(bench) == [("rejected", "content")]


# --- doubt --------------------------------------------------------------------------------------------


def test_a_post_in_doubt_is_not_published_again_by_itself(bench: Bench, wall: ScriptedPublisher) -> None:
    wall.script = lambda text: InDoubt()
    start(bench)
    assert publish(bench) == PublishResult(in_doubt=1)
    assert publish(bench) == PublishResult()
    result = settle(bench.ws, "hello", NOW)
    assert (result.settled, result.in_doubt, result.done) == (0, 1, ())
    assert states(bench) == [("in_doubt", "no_answer")]
    assert next_due(bench.ws, "hello", NOW) == NOW + LEASE


@pytest.mark.parametrize("was_taken", [True, False])
def test_a_crash_during_the_call_publishes_once(
    bench: Bench, wall: ScriptedPublisher, was_taken: bool
) -> None:
    start(bench)
    crash(bench, wall, after_it_was_taken=was_taken)
    assert publish(bench) == PublishResult()
    settle(bench.ws, "hello", NOW)
    assert states(bench) == [("in_doubt", "sender_lost")]
    bench.clock.advance(minutes=5)
    assert settle(bench.ws, "hello", bench.clock.now).settled == 1
    assert publish(bench) == (PublishResult() if was_taken else PublishResult(accepted=1))
    assert wall.taken == ["Acme & shout of hello: BACK"]
    assert [(row.state, row.provider_id) for row in rows(bench)] == [("accepted", "post0")]
    settle(bench.ws, "hello", bench.clock.now)
    assert run_state(bench) == "done"


def test_a_crash_before_the_call_leaves_the_post_to_the_next_worker(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    start(bench)

    def killed() -> datetime:
        raise Killed

    with pytest.raises(Killed):
        publish_due(bench.ws, "hello", "lost", at_second_look(killed))
    assert publish(bench) == PublishResult(accepted=1)


def test_a_doubt_whose_network_cannot_be_asked_stays_and_stops_nothing_else(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    wall.script = lambda text: InDoubt()
    start(bench)
    publish(bench)
    wall.can_be_asked = False
    bench.clock.advance(minutes=5)
    result = settle(bench.ws, "hello", bench.clock.now)
    assert (result.settled, result.in_doubt, result.done) == (0, 1, ("k1",))
    wall.can_be_asked = True
    assert settle(bench.ws, "hello", bench.clock.now).settled == 1
    assert (run_state(bench), states(bench)) == ("running", [("planned", None)])


@pytest.mark.parametrize("can_be_asked", [True, False])
def test_refused_as_a_repeat_after_a_doubt_it_was_published_then(
    bench: Bench, wall: ScriptedPublisher, can_be_asked: bool
) -> None:
    """The first call was taken, but is not in the timeline yet when the network is asked."""
    start(bench)
    crash(bench, wall, after_it_was_taken=False)
    bench.clock.advance(minutes=5)
    settle(bench.ws, "hello", bench.clock.now)
    wall.script = lambda text: Retry()
    assert publish(bench) == PublishResult(retried=1)
    wall.taken.append("Acme & shout of hello: BACK")
    wall.can_be_asked = can_be_asked
    wall.script = lambda text: Rejected(RejectReason.CONTENT, DUPLICATE)
    bench.clock.advance(hours=1)
    assert publish(bench) == PublishResult(accepted=1)
    (row,) = rows(bench)
    assert (row.state, row.provider_id) == ("accepted", "post0" if can_be_asked else None)


@pytest.mark.parametrize("dedupes", [True, False])
def test_a_post_by_webhook_in_doubt_is_tried_again_under_its_key_only_where_a_key_is_taken_once(
    bench: Bench, wall: ScriptedPublisher, dedupes: bool
) -> None:
    with WebhookServer([Act.TAKE_AND_DROP], key=b"s3cret") as server:
        channel = WebhookChannel(
            "wall",
            WebhookSettings(
                base_url=server.url,
                kind="x",
                post=True,
                secret=SecretStr("s3cret"),
                allow_private=True,
                dedupes=dedupes,
            ),
        )
        bench.channels["wall"] = cast(Any, channel)
        start(bench)
        assert publish(bench) == PublishResult(in_doubt=1)
        bench.clock.advance(minutes=5)
        assert settle(bench.ws, "hello", bench.clock.now).settled == dedupes
        assert publish(bench) == PublishResult(accepted=int(dedupes))
        channel.close()
    assert states(bench) == [("accepted", None) if dedupes else ("in_doubt", "no_answer")]
    assert len({request.headers["webhook-id"] for request in server.requests}) == len(server.messages) == 1


# --- several workers ----------------------------------------------------------------------------------


def test_workers_at_once_publish_each_post_once(bench: Bench, wall: ScriptedPublisher) -> None:
    start(bench, *({**SHOUT, "id": f"shout{number}"} for number in range(6)), SEND)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda owner: publish(bench, owner), ["a", "b", "c", "d"]))
    assert sum(result.accepted for result in results) == 6
    assert sorted(wall.calls) == [f"Acme & shout{number} of hello: BACK" for number in range(6)]


def test_a_worker_that_comes_during_the_call_leaves_the_post_alone(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    start(bench)
    others: list[PublishResult] = []

    def slow(text: str) -> Outcome:
        others.append(publish(bench, "second"))
        return Accepted("post0")

    wall.script = slow
    assert publish(bench) == PublishResult(accepted=1)
    assert others == [PublishResult()]


def test_an_acceptance_that_comes_late_is_the_truth_all_the_same(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    start(bench)

    def slow(text: str) -> Outcome:
        lose_leases(bench)
        reclaim_posts(bench.ws.database)
        settle(bench.ws, "hello", bench.clock.advance(minutes=5))  # not found: planned again
        return Accepted("late")

    wall.script = slow
    publish(bench)
    assert publish(bench) == PublishResult()
    assert [(row.state, row.provider_id) for row in rows(bench)] == [("accepted", "late")]


def test_a_refusal_that_comes_late_says_nothing_about_a_later_call(
    bench: Bench, wall: ScriptedPublisher
) -> None:
    start(bench)

    def slow(text: str) -> Outcome:
        lose_leases(bench)
        settle(bench.ws, "hello", bench.clock.advance(minutes=5))
        wall.script = lambda text: Accepted("second")
        publish(bench, "second")
        return Rejected(RejectReason.CONTENT)

    wall.script = slow
    publish(bench)
    assert [(row.state, row.provider_id) for row in rows(bench)] == [("accepted", "second")]


# --- messages that need a yes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "state"), [(True, "accepted"), (False, "no message"), (None, "no message")]
)
def test_a_channel_that_asks_for_opt_in_sends_nothing_without_a_recorded_yes(
    bench: Bench, granted: bool | None, state: str
) -> None:
    """Transactional messages of other channels go to everybody who did not refuse."""
    telegram = bench.channels["telegram"]
    telegram.capabilities = replace(telegram.capabilities, opt_in=True)
    bench.shop.customers(1, kinds=("telegram",), consent=granted, purpose="transactional")
    bench.campaign(purpose="transactional", steps=[{**SEND, "channels": ["telegram"]}])
    bench.run()
    assert ([row.state for row in bench.messages()] or ["no message"]) == [state]
    if granted is not True:
        assert [row.reason for row in bench.enrollments()] == ["no_consent"]


def test_a_yes_that_is_taken_back_before_sending_counts(bench: Bench) -> None:
    telegram = bench.channels["telegram"]
    telegram.capabilities = replace(telegram.capabilities, opt_in=True)
    (id_,) = bench.shop.customers(1, kinds=("telegram",), purpose="transactional")
    bench.campaign(purpose="transactional", steps=[{**SEND, "channels": ["telegram"]}])
    bench.start()
    bench.shop.consent([id_], "telegram", granted=False, purpose="transactional")
    bench.dispatch()
    assert bench.states() == {("skipped", "no_consent"): 1}


def test_an_unknown_campaign_publishes_nothing(bench: Bench) -> None:
    with pytest.raises(RunError, match="there is no campaign 'hello'"):
        publish(bench)


def test_the_runs_version_names_the_files_of_its_posts(bench: Bench, wall: ScriptedPublisher) -> None:
    bench.campaign(steps=[SHOUT, SEND])
    run = open_run(bench.ws, "hello", "k1", NOW, NOW)
    enroll(bench.ws, run, NOW)
    with bench.ws.database.read() as connection:
        digests = connection.execute(select(campaign_versions.c.digests)).scalar_one()
    assert sorted(digests) == ["holdfast.yaml", "templates/note.sms.txt", "templates/shout.x.txt"]
