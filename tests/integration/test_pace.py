"""Pace over a real database: turns that workers share, budgets, rests, fairness."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from holdfast.delivery.pace import Line, Pace, pace_of, time_needed
from holdfast.errors import ChannelResting
from holdfast.store import paces as store
from holdfast.store.database import Database
from holdfast.store.paces import Limits
from holdfast.tables import paces
from tests.integration.conftest import Bench, Clock, Shop, make_bench

EMAIL = "channel email"


class Waits:
    """A sleep that only notes how long it would have been, in seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def worker(database: Database, *names: str, sleep: Callable[[float], None], **limits: Any) -> Pace:
    """What one process has of a channel, and of a campaign before it."""
    return Pace(database, [Line(name, lambda: Limits(**limits)) for name in names or (EMAIL,)], sleep)


def given_away(database: Database, name: str = EMAIL) -> timedelta:
    """How much time has been given, without a gap, since sending began."""
    with database.read() as connection:
        given, _ = store.read(connection, name)
    return given.free_at - given.started_at


def until_midnight(moment: datetime, zone: str) -> tuple[int, int]:
    local = moment.astimezone(ZoneInfo(zone))
    return local.hour, local.minute


# --- rates ----------------------------------------------------------------------------------------


def test_two_workers_share_one_rate(database: Database) -> None:
    waits = Waits()
    workers = [worker(database, sleep=waits, rate=1.0) for _ in range(2)]
    for _ in range(3):
        for each in workers:
            each.take(1)
    assert given_away(database) == timedelta(seconds=6)
    assert waits.seconds == pytest.approx([1, 2, 3, 4, 5], abs=0.9)


def test_at_the_same_moment_no_stretch_is_given_twice(database: Database) -> None:
    barrier = Barrier(4)

    def take(_: int) -> None:
        own = worker(database, sleep=Waits(), rate=20.0)
        barrier.wait()
        for _ in range(10):
            own.take(2)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(4)))
    assert given_away(database) == timedelta(seconds=4)


def test_threads_that_wait_are_served_by_one_transaction_and_none_is_passed_over(database: Database) -> None:
    pace = worker(database, sleep=Waits(), rate=500.0, per_day=100)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(pace.take, [1] * 100))
    with pytest.raises(ChannelResting, match="the day's 100 are given out"):
        pace.take(1)


def test_a_campaigns_own_rate_holds_beside_the_channels_and_takes_no_time_from_others(
    database: Database,
) -> None:
    slow = Pace(
        database,
        [Line("campaign slow", lambda: Limits(rate=1.0)), Line(EMAIL, lambda: Limits(rate=50.0))],
        waits := Waits(),
    )
    for _ in range(5):
        slow.take(1)
    assert given_away(database, "campaign slow") == timedelta(seconds=5)
    assert max(waits.seconds) == pytest.approx(4, abs=0.9)
    with database.read() as connection:
        given, now = store.read(connection, EMAIL)
    assert given.free_at < now + timedelta(seconds=1)


def test_who_waits_for_the_campaigns_turn_is_given_none_of_the_channels_day(database: Database) -> None:
    pace = Pace(
        database,
        [Line("campaign slow", lambda: Limits(rate=0.1)), Line(EMAIL, lambda: Limits(rate=50.0, per_day=9))],
        Waits(),
    )
    barrier = Barrier(4)

    def take(_: int) -> bool:
        barrier.wait()
        try:
            pace.take(1)
        except ChannelResting:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        went = sum(pool.map(take, range(4)))
    with database.read() as connection:
        given, _ = store.read(connection, EMAIL)
    assert given.today == went < 4


def test_a_slow_start_begins_at_a_tenth(database: Database) -> None:
    slow = worker(database, sleep=Waits(), rate=10.0, slow_start=timedelta(hours=10))
    for _ in range(3):
        slow.take(1)
    assert given_away(database).total_seconds() == pytest.approx(3, abs=0.01)


def test_a_channel_shared_by_a_big_run_and_a_small_one_is_shared_equally(database: Database) -> None:
    turns: list[str] = []
    big, small = (Pace(database, [Line(EMAIL, lambda: Limits(rate=400.0))]) for _ in range(2))
    barrier = Barrier(5)

    def send(name: str, pace: Pace) -> None:
        barrier.wait()
        while len(turns) < 12:
            pace.take(40)
            turns.append(name)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(send, ["big"] * 4 + ["small"], [big] * 4 + [small]))
    assert turns[:10].count("small") in (4, 5, 6)


# --- how much at once -----------------------------------------------------------------------------


def test_what_goes_in_a_minute_is_less_in_a_slow_start(database: Database) -> None:
    slow = worker(database, sleep=Waits(), rate=100.0, slow_start=timedelta(hours=10))
    assert slow.room(timedelta(minutes=1)) == 600


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({}, None),
        ({"rate": 3000.0}, 300),
        ({"rate": 1 / 60}, 1),
        ({"per_day": 7}, 7),
        ({"rate": 3000.0, "per_day": 7}, 7),
        ({"rate": 3000.0, "slow_start": timedelta(hours=1)}, 30),
    ],
)
def test_a_call_holds_what_goes_in_a_tenth_of_a_second_and_what_is_left_of_the_day(
    database: Database, limits: dict[str, Any], most: int | None
) -> None:
    assert worker(database, sleep=Waits(), **limits).most == most


def test_the_smaller_of_two_rates_says_how_much_goes_at_once(bench: Bench) -> None:
    name = bench.campaign(send={"rate": "50/s"})
    bench.ws.rates = lambda channel, rate: {"sms": 600.0, "telegram": 20.0}[channel]
    campaign = bench.ws.campaign(name)
    assert [pace_of(bench.ws, campaign, channel).most for channel in ("sms", "telegram")] == [5, 2]


def test_threads_of_a_workspace_share_their_turns(bench: Bench) -> None:
    campaign = bench.ws.campaign(bench.campaign())
    assert pace_of(bench.ws, campaign, "sms") is pace_of(bench.ws, campaign, "sms")


# --- budgets --------------------------------------------------------------------------------------


def test_a_full_day_rests_until_the_business_midnight_and_takes_nothing(database: Database) -> None:
    zone = ZoneInfo("Asia/Kathmandu")
    one, other = (worker(database, sleep=Waits(), per_day=10, zone=zone) for _ in range(2))
    one.take(8)
    assert other.most == 2
    with pytest.raises(ChannelResting) as resting:
        other.take(3)
    assert until_midnight(resting.value.until, "Asia/Kathmandu") == (0, 0)
    other.take(2)
    with pytest.raises(ChannelResting):
        one.check()


def test_a_new_day_has_its_whole_budget(database: Database) -> None:
    pace = worker(database, sleep=Waits(), per_day=10)
    pace.take(10)
    with database.write() as connection:
        yesterday = store.read(connection, EMAIL)[1].date() - timedelta(days=1)
        connection.execute(update(paces).values(day=yesterday))
    assert pace.most == 10
    pace.take(10)


# --- rests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"rate": 100.0}])
def test_when_the_provider_asks_for_a_pause_all_workers_make_it(
    database: Database, limits: dict[str, Any]
) -> None:
    asked, other = (worker(database, sleep=Waits(), **limits) for _ in range(2))
    asked.take(1)
    asked.rest(timedelta(hours=1))
    for act in (asked.check, other.check, lambda: asked.take(1), lambda: other.take(1)):
        with pytest.raises(ChannelResting) as resting:
            act()
        with database.read() as connection:
            _, now = store.read(connection, EMAIL)
        assert resting.value.until - now == pytest.approx(timedelta(hours=1), abs=timedelta(seconds=30))


def test_a_short_pause_is_waited_for(database: Database) -> None:
    pace = worker(database, sleep=(waits := Waits()))
    pace.rest(timedelta(seconds=5))
    pace.take(1)
    assert waits.seconds == pytest.approx([5], abs=0.9)


def test_a_pause_is_at_most_a_day_and_none_is_made_shorter(database: Database) -> None:
    pace = worker(database, sleep=Waits())
    pace.rest(timedelta(days=400))
    pace.rest(timedelta(seconds=1))
    with pytest.raises(ChannelResting) as resting:
        pace.check()
    with database.read() as connection:
        _, now = store.read(connection, EMAIL)
    assert timedelta(hours=23) < resting.value.until - now <= timedelta(days=1)


def test_looking_takes_nothing(database: Database) -> None:
    pace = worker(database, sleep=Waits(), rate=1.0, per_day=1)
    for _ in range(5):
        pace.check()
        assert pace.most == 1
    pace.take(1)


# --- planning -------------------------------------------------------------------------------------


def test_the_time_needed_is_that_of_the_slowest_channel_or_the_campaign(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    channels = {
        "sms": {"adapter": "scripted", "rate": "10/s"},
        "telegram": {"adapter": "scripted", "per_day": 100},
        "checked": {"adapter": "scripted"},
    }
    bench = make_bench(database, shop, clock, tmp_path, channels=channels)
    plain = bench.ws.campaign(bench.campaign("plain"))
    paced = bench.ws.campaign(bench.campaign("paced", send={"rate": "60/min"}))
    assert time_needed(bench.ws, plain, {"checked": 1_000_000}) is None
    assert time_needed(bench.ws, plain, {"sms": 600, "checked": 5}) == timedelta(minutes=1)
    assert time_needed(bench.ws, plain, {"sms": 600, "telegram": 250}) == timedelta(days=2)
    assert time_needed(bench.ws, paced, {"sms": 600, "checked": 3000}) == timedelta(hours=1)
    # Stopped in Prefect by an operator: nobody can know for how long.
    bench.ws.rates = lambda channel, rate: 0.0 if channel == "sms" else rate
    assert time_needed(bench.ws, plain, {"sms": 600, "telegram": 250}) == timedelta(days=2)
    assert time_needed(bench.ws, plain, {"sms": 600}) is None
