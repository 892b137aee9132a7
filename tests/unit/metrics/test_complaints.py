from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.metrics.complaints import Care, Lasting, kaplan_meier, lasting
from holdfast.metrics.rates import Rate

# By time, how many ended and how many were censored: the data of Stan Walton's lab that lifelines ships as
# `waltons`.
WALTONS = {
    6: (1, 0), 7: (1, 1), 9: (3, 0), 13: (3, 0), 15: (2, 0), 17: (1, 0), 19: (3, 0), 22: (4, 0), 26: (5, 0),
    29: (5, 0), 32: (1, 0), 33: (3, 0), 36: (2, 0), 38: (2, 0), 41: (7, 0), 43: (1, 0), 45: (9, 1),
    47: (1, 0), 48: (8, 0), 51: (3, 0), 53: (7, 0), 54: (2, 0), 56: (18, 0), 58: (4, 0), 60: (15, 1),
    61: (9, 2), 62: (2, 0), 63: (9, 0), 66: (3, 0), 68: (9, 1), 69: (12, 1), 75: (1, 0),
}  # fmt: skip
durations = [time for time, (ended, censored) in WALTONS.items() for _ in range(ended + censored)]
over = [number < ended for ended, censored in WALTONS.values() for number in range(ended + censored)]


def test_the_curve_and_its_median_are_those_of_lifelines() -> None:
    # lifelines 0.30.3: median_survival_time_, median_survival_times of confidence_interval_.
    assert lasting(durations, over) == Lasting(n=163, ended=156, median=56, low=53, high=58)
    steps = {step.time: step for step in kaplan_meier(durations, over)}
    for time, share, low, high in (
        (33, 0.8025306748, 0.7324961089, 0.8560234676),
        (61, 0.2543050281, 0.1897472708, 0.3236878606),
    ):
        step = steps[time]
        assert (step.share, step.low, step.high) == pytest.approx((share, low, high), abs=1e-9)
    assert (steps[75].share, steps[75].low, steps[75].high) == (0, 0, 0)


def test_what_less_than_half_have_reached_has_no_median() -> None:
    assert lasting([5, 9, 9], [True, False, False]) == Lasting(3, 1, None, 5, None)
    assert lasting([5.0, 7.0], [False, False]) == Lasting(2, 0, None, None, None)
    assert lasting([], []) == Lasting(0, 0, None, None, None)


def test_a_half_is_a_half_however_it_is_multiplied_together() -> None:
    # (1 - 1/4) · (1 - 1/3) is a hair more than a half in floating point.
    assert lasting([1, 2, 3, 4], [True] * 4).median == 2


def test_leaving_the_open_ones_out_would_make_the_slow_look_fast() -> None:
    assert lasting([1, 2, 3, 50, 60, 70], [True, True, True, False, False, False]).median == 3
    assert lasting([1, 2, 50, 60, 70], [True, True, False, False, False]).median is None
    assert lasting([1, 2], [True, True]).median == 1


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=40), st.randoms())
def test_shares_fall_within_their_intervals_whatever_the_order(
    cases: list[tuple[int, bool]], dice: object
) -> None:
    curve = kaplan_meier([time for time, _ in cases], [ended for _, ended in cases])
    shares = [1.0, *(step.share for step in curve)]
    assert all(later < earlier for earlier, later in pairwise(shares))
    assert all(0 <= step.low <= step.share <= step.high <= 1 for step in curve)
    dice.shuffle(cases)  # type: ignore[attr-defined]
    assert kaplan_meier([time for time, _ in cases], [ended for _, ended in cases]) == curve


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40))
def test_where_all_are_over_it_is_the_share_that_lasted_longer(times: list[int]) -> None:
    for step in kaplan_meier(times, [True] * len(times)):
        assert step.share == pytest.approx(sum(time > step.time for time in times) / len(times))


def test_cases_that_come_back_are_of_those_that_were_closed() -> None:
    none = lasting([], [])
    care = Care(opened=9, still_open=4, first_answer=none, resolution=none, closed=6, reopened=2)
    assert care.reopened_per_closed == Rate(2, 6)
