from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.metrics.rates import Rate
from holdfast.metrics.retention import Retention

customers = st.frozensets(st.integers(0, 40))


def retention(start: frozenset[int], end: frozenset[int], before: frozenset[int]) -> Retention:
    """Of sets of customers: active at the start, active at the end, and who ever ordered before the start."""
    return Retention(
        active_at_start=len(start),
        kept=len(start & end),
        new=len(end - start - before),
        reactivated=len((end & before) - start),
    )


@given(customers, customers, customers)
def test_retention_and_churn_are_the_whole(
    start: frozenset[int], end: frozenset[int], before: frozenset[int]
) -> None:
    crr, churn = retention(start, end, before).crr, retention(start, end, before).churn
    assert crr.denominator == churn.denominator == len(start)
    assert crr.numerator + churn.numerator == len(start)
    if crr.value is not None and churn.value is not None:
        assert crr.value + churn.value == pytest.approx(1)


@given(customers, customers, customers)
def test_our_reading_is_the_textbook_one_without_the_reactivated(
    start: frozenset[int], end: frozenset[int], before: frozenset[int]
) -> None:
    found = retention(start, end, before)
    assert found.active_at_end == len(end)
    assert found.crr.numerator == found.active_at_end - found.new - found.reactivated
    if found.textbook_crr is not None and found.crr.value is not None:
        assert found.textbook_crr - found.crr.value == pytest.approx(found.reactivated / len(start))


def test_reactivated_customers_can_take_the_textbook_reading_past_all() -> None:
    found = Retention(active_at_start=10, kept=9, new=4, reactivated=3)
    assert found.textbook_crr == pytest.approx(1.2)
    assert (found.crr, found.churn) == (Rate(9, 10), Rate(1, 10))


def test_without_customers_at_the_start_retention_is_undefined() -> None:
    found = Retention(active_at_start=0, kept=0, new=5, reactivated=1)
    assert (found.crr.value, found.churn.value, found.textbook_crr) == (None, None, None)
