"""The arithmetic of pace: stretches of time, given one after the other."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.delivery.pace import time_at, time_under
from holdfast.errors import ChannelResting
from holdfast.store.paces import Given, Limits, advance

NOON = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
PATIENCE = timedelta(seconds=20)
SLOW = Limits(rate=100.0, slow_start=timedelta(minutes=10))


def turns(
    limits: Limits, calls: list[tuple[timedelta, int]], now: datetime = NOON
) -> list[tuple[datetime, int]]:
    """When each of the calls may go, and with how many messages: each asks so long after the one before."""
    so_far, gone = Given(), []
    for later, n in calls:
        now += later
        stretch, so_far = advance("channel email", so_far, limits, n, 1, now, timedelta(days=2))
        gone.append((now + stretch.wait, stretch.n))
    return gone


def kept_busy(limits: Limits, n: int, count: int) -> list[tuple[datetime, int]]:
    """The turns of one who asks again as soon as it may go."""
    so_far, now, gone = Given(), NOON, []
    for _ in range(count):
        stretch, so_far = advance("channel email", so_far, limits, n, 1, now, timedelta(days=2))
        now += stretch.wait
        gone.append((now, stretch.n))
    return gone


pauses = st.integers(0, 3_000_000).map(lambda value: timedelta(microseconds=value))
rates = st.floats(0.5, 5000.0)


@given(rates, st.lists(st.tuples(pauses, st.integers(1, 1000)), min_size=1, max_size=40))
def test_no_stretch_of_time_sees_more_than_the_rate_and_one_call(
    rate: float, calls: list[tuple[timedelta, int]]
) -> None:
    gone = turns(Limits(rate=rate), calls)
    for first in range(len(gone)):
        messages = 0
        for moment, n in gone[first:]:
            seconds = (moment - gone[first][0]).total_seconds()
            assert messages <= rate * seconds * 1.001 + 0.01
            messages += n


@given(rates, st.lists(st.tuples(pauses, st.integers(1, 1000)), min_size=1, max_size=40))
def test_a_call_holds_at_most_the_messages_of_a_tenth_of_a_second(
    rate: float, calls: list[tuple[timedelta, int]]
) -> None:
    assert all(n <= max(rate / 10, 1) for _, n in turns(Limits(rate=rate), calls))


@given(rates, st.integers(1, 1000))
def test_who_always_waits_gets_the_whole_rate(rate: float, n: int) -> None:
    gone = kept_busy(Limits(rate=rate), n, 50)
    seconds = (gone[-1][0] - gone[0][0]).total_seconds()
    assert sum(n for _, n in gone[:-1]) == pytest.approx(rate * seconds, rel=0.005)


@given(rates, st.lists(pauses, min_size=1, max_size=30))
def test_nothing_is_given_for_the_past(rate: float, asked: list[timedelta]) -> None:
    now = NOON
    for later, (moment, _) in zip(asked, turns(Limits(rate=rate), [(one, 1) for one in asked]), strict=True):
        now += later
        assert moment >= now


@settings(max_examples=50)
@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 300).map(lambda value: timedelta(minutes=value)), st.integers(1, 20))),
)
def test_no_day_of_the_business_has_more_than_its_budget(
    per_day: int, calls: list[tuple[timedelta, int]]
) -> None:
    zone = ZoneInfo("America/New_York")
    limits, so_far, now = Limits(per_day=per_day, zone=zone), Given(), NOON
    days: dict[date, int] = {}
    asked: list[tuple[datetime, datetime]] = []
    for later, n in calls:
        now += later
        try:
            stretch, so_far = advance("channel email", so_far, limits, n, n, now, PATIENCE)
        except ChannelResting as resting:
            asked.append((now, resting.until))
        else:
            day = (now + stretch.wait).astimezone(zone).date()
            days[day] = days.get(day, 0) + stretch.n
    assert all(count <= per_day for count in days.values())
    for now, until in asked:
        assert now < until <= now + timedelta(days=1)
        assert until.astimezone(zone).hour == 0


def test_a_call_may_be_cut_down_to_what_is_left_of_the_day() -> None:
    limits = Limits(per_day=10)
    _, so_far = advance("channel email", Given(), limits, 8, 8, NOON, PATIENCE)
    assert so_far.at(NOON, limits).most(limits) == 2
    stretch, _ = advance("channel email", so_far, limits, 5, 1, NOON, PATIENCE)
    assert stretch.n == 2


def test_a_slow_start_climbs_from_a_tenth_to_the_whole_and_begins_again_after_a_pause() -> None:
    _, so_far = advance("channel email", Given(), SLOW, 1, 1, NOON, PATIENCE)

    def rate_after(minutes: float) -> float | None:
        later = NOON + timedelta(minutes=minutes)
        steady = Given(free_at=later - timedelta(seconds=59), started_at=so_far.started_at)
        return steady.at(later, SLOW).rate(SLOW)

    assert [rate_after(minutes) for minutes in (0, 5, 10, 60)] == pytest.approx([10, 55, 100, 100])
    rested = Given(free_at=NOON, started_at=NOON - timedelta(hours=1)).at(NOON + timedelta(minutes=1), SLOW)
    assert rested.rate(SLOW) == pytest.approx(10)


def test_a_clock_that_was_set_back_leaves_nobody_waiting_for_years() -> None:
    ahead = Given(free_at=NOON + timedelta(days=900), started_at=NOON + timedelta(days=800))
    stretch, after = advance("channel email", ahead, SLOW, 1, 1, NOON, PATIENCE)
    assert stretch.wait == timedelta()
    assert after.free_at < NOON + timedelta(seconds=1)


def test_what_is_further_away_than_the_patience_is_refused_with_its_time() -> None:
    so_far = Given(free_at=NOON + timedelta(seconds=21), started_at=NOON)
    with pytest.raises(ChannelResting) as resting:
        advance("channel email", so_far, Limits(rate=1.0), 1, 1, NOON, PATIENCE)
    assert resting.value.until == so_far.free_at
    assert str(resting.value) == (
        "channel email takes nothing before 2026-06-03 12:00:21 UTC:"
        " others go first, or its provider asked for a pause"
    )


def test_a_rate_of_0_stops_a_channel() -> None:
    with pytest.raises(ChannelResting, match="its rate is 0"):
        advance("channel email", Given(), Limits(rate=0.0), 1, 1, NOON, PATIENCE)


@pytest.mark.parametrize(
    ("limits", "n", "needed"),
    [
        (Limits(rate=10.0), 36_000, timedelta(hours=1)),
        (Limits(rate=10.0, per_day=10_000), 25_000, timedelta(days=2, seconds=500)),
        (Limits(per_day=10_000), 10_000, timedelta()),
        (Limits(per_day=10_000), 10_001, timedelta(days=1)),
        # The rise of ten minutes takes 5.5 minutes' messages.
        (SLOW, 33_000, timedelta(minutes=10)),
        (SLOW, 93_000, timedelta(minutes=20)),
    ],
)
def test_the_time_needed_counts_rate_days_and_slow_start(limits: Limits, n: int, needed: timedelta) -> None:
    assert time_under(limits, n).total_seconds() == pytest.approx(needed.total_seconds(), abs=0.001)


@settings(max_examples=20)
@given(st.integers(300, 8000))
def test_the_time_needed_is_what_sending_takes(n: int) -> None:
    limits = Limits(rate=100.0, slow_start=timedelta(minutes=1))
    so_far, now, left = Given(), NOON, n
    while left > 0:
        stretch, so_far = advance("channel email", so_far, limits, left, 1, now, PATIENCE)
        now, left = now + stretch.wait, left - stretch.n
    simulated = (so_far.free_at - NOON).total_seconds()
    assert time_at(n, 100.0, limits.slow_start).total_seconds() == pytest.approx(simulated, rel=0.02)
