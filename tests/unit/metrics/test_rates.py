from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.metrics.rates import Rate, wilson


@st.composite
def rates(draw: st.DrawFn, least: int = 0) -> Rate:
    denominator = draw(st.integers(least, 10_000_000))
    return Rate(draw(st.integers(0, denominator)), denominator)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@given(rates(least=1))
def test_the_interval_contains_the_rate_and_lies_between_0_and_1(rate: Rate) -> None:
    assert rate.low is not None
    assert rate.value is not None
    assert rate.high is not None
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.low < rate.high


@given(rates(least=1))
def test_the_rest_of_the_whole_has_the_mirrored_interval(rate: Rate) -> None:
    rest = Rate(rate.denominator - rate.numerator, rate.denominator)
    assert (rest.low, rest.high) == pytest.approx((1 - rate.high, 1 - rate.low), abs=1e-12)  # type: ignore[operator]


def test_of_nothing_a_rate_is_undefined_and_not_0() -> None:
    nothing = Rate(0, 0)
    assert (nothing.value, nothing.low, nothing.high, nothing.denominator) == (None, None, None, 0)


@pytest.mark.parametrize(("numerator", "denominator"), [(1, 0), (3, 2), (-1, 5)])
def test_what_is_no_part_of_a_whole_is_no_rate(numerator: int, denominator: int) -> None:
    with pytest.raises(ValueError, match=f"^{numerator} of {denominator} is not a part of a whole$"):
        Rate(numerator, denominator)
