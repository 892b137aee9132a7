"""What a campaign brought in all: Welch's interval, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from holdfast.metrics.incremental import Extra, Moments, incremental


def moments(values: np.ndarray) -> Moments:
    return Moments(len(values), float(values.sum()), float((values**2).sum()))


def spend(n: int, buyers: float, seed: int) -> np.ndarray:
    """Most buy nothing, some a lot."""
    random = np.random.default_rng(seed)
    return np.where(random.random(n) < buyers, random.gamma(2, 2_500, n).round(), 0)


def test_it_is_welchs_interval_times_the_treated() -> None:
    treated, holdout = spend(900, 0.12, 1), spend(100, 0.08, 2)
    welch = stats.ttest_ind(treated, holdout, equal_var=False).confidence_interval(0.95)
    found = incremental([(moments(treated), moments(holdout))])
    assert found is not None
    assert found.amount == pytest.approx(900 * (treated.mean() - holdout.mean()))
    assert (found.low, found.high) == pytest.approx((900 * welch.low, 900 * welch.high))


def test_groups_are_compared_in_themselves_and_added_up() -> None:
    groups = [(spend(400, 0.1, 1), spend(100, 0.1, 2)), (spend(500, 0.3, 3), spend(50, 0.2, 4))]
    alone = [incremental([(moments(a), moments(b))]) for a, b in groups]
    together = incremental([(moments(a), moments(b)) for a, b in groups])
    assert together is not None
    assert together.amount == pytest.approx(sum(each.amount for each in alone if each))
    widths = [each.high - each.low for each in (*alone, together) if each]
    assert max(widths[:2]) < widths[2] < sum(widths[:2])


def test_the_interval_holds_the_truth_19_times_in_20() -> None:
    held = 0
    for seed in range(400):
        treated, holdout = spend(300, 0.3, 2 * seed), spend(200, 0.2, 2 * seed + 1)
        found = incremental([(moments(treated), moments(holdout))])
        assert found is not None
        held += found.low <= 300 * (0.3 - 0.2) * 5_000 <= found.high
    assert 366 <= held <= 394  # 95 % of 400, give or take what chance does three times in a thousand


def test_with_nobody_to_compare_nothing_is_said() -> None:
    some, nobody, one = Moments(10, 5, 5), Moments(0, 0, 0), Moments(1, 1, 1)
    assert incremental([]) is None
    assert incremental([(some, nobody), (one, some)]) is None
    assert incremental([(some, nobody), (some, some)]) == incremental([(some, some)])


def test_where_nobody_differs_the_interval_has_no_width() -> None:
    assert incremental([(Moments(10, 10, 10), Moments(5, 0, 0))]) == Extra(10, 10, 10)
