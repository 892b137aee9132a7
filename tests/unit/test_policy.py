"""When a message that was not taken is tried again, and when it is given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audience.policy import MAX_ATTEMPTS, next_try, pause_after

NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
attempts = st.integers(1, MAX_ATTEMPTS - 1)
asked = st.none() | st.timedeltas(timedelta(), timedelta.max)


@pytest.mark.parametrize(
    ("tried", "after", "pause"),
    [
        (1, None, timedelta(seconds=30)),
        (2, None, timedelta(minutes=1)),
        (5, None, timedelta(minutes=8)),
        (1, timedelta(seconds=5), timedelta(seconds=30)),  # our own is longer
        (1, timedelta(minutes=10), timedelta(minutes=10)),
        (5, timedelta(minutes=10), timedelta(minutes=10)),
        (1, timedelta(days=400), DAY),
    ],
)
def test_pauses_double_and_a_provider_may_ask_for_longer_ones(
    tried: int, after: timedelta | None, pause: timedelta
) -> None:
    assert next_try(tried, after, NOW) == NOW + pause


@given(attempts, asked)
def test_nothing_is_tried_earlier_than_the_provider_asked_nor_later_than_in_a_day(
    tried: int, after: timedelta | None
) -> None:
    again = next_try(tried, after, NOW)
    assert again is not None
    assert NOW + min(after or timedelta(), DAY) <= again <= NOW + DAY
    assert again > NOW


@given(attempts, attempts, asked, asked)
def test_more_attempts_or_a_longer_wish_never_make_the_pause_shorter(
    first: int, second: int, shorter: timedelta | None, longer: timedelta | None
) -> None:
    few, many = sorted((first, second))
    low, high = sorted((shorter or timedelta(), longer or timedelta()))
    earlier, later = next_try(few, low, NOW), next_try(many, high, NOW)
    assert earlier is not None
    assert later is not None
    assert earlier <= later


@given(st.integers(MAX_ATTEMPTS, 10**6), asked)
def test_a_message_is_given_up_at_last_whatever_is_asked_for(tried: int, after: timedelta | None) -> None:
    assert next_try(tried, after, NOW) is None


@pytest.mark.parametrize(
    ("failed", "seconds"), [(1, 0.25), (2, 0.5), (7, 16), (12, 512), (13, 600), (10**9, 600)]
)
def test_a_channel_is_left_alone_for_longer_and_longer(failed: int, seconds: float) -> None:
    assert pause_after(failed) == timedelta(seconds=seconds)
