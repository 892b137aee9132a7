"""Lifecycle stages: exhaustive, exclusive, and exact at their edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audience.lifecycle import Stage, stage
from holdfast.settings import Lifecycle

AS_OF = datetime(2025, 6, 1, 12, tzinfo=UTC)
THRESHOLDS = Lifecycle()
INSTANT = timedelta(microseconds=1)


def days(number: float) -> timedelta:
    return timedelta(days=number)


def stage_of(*ages: timedelta) -> Stage:
    """The stage of a customer whose orders are this old."""
    moments = sorted(AS_OF - age for age in ages)
    first, last = (moments[0], moments[-1]) if moments else (None, None)
    previous = moments[-2] if len(moments) > 1 else None
    return stage(len(moments), first, previous, last, AS_OF, THRESHOLDS)


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ([], Stage.NEVER_PURCHASED),
        ([days(0)], Stage.NEW),
        ([days(30) - INSTANT], Stage.NEW),
        ([days(30)], Stage.ACTIVE),
        ([days(90)], Stage.ACTIVE),
        ([days(90) + INSTANT], Stage.AT_RISK),
        ([days(180)], Stage.AT_RISK),
        ([days(180) + INSTANT], Stage.LAPSED),
        ([days(5), days(185)], Stage.ACTIVE),
        ([days(5), days(185) + INSTANT], Stage.REACTIVATED),
        ([days(5), days(5), days(300)], Stage.ACTIVE),
        ([days(100), days(400)], Stage.AT_RISK),
        ([days(200), days(400)], Stage.LAPSED),
        ([days(1), days(40), days(50), days(60)], Stage.ACTIVE),
        ([days(1), days(40), days(50), days(60), days(70)], Stage.LOYAL),
        ([days(1), days(2), days(3), days(4), days(5)], Stage.NEW),
        ([days(1), days(300), days(310), days(320), days(330)], Stage.REACTIVATED),
        ([days(91), days(100), days(110), days(120), days(130)], Stage.AT_RISK),
    ],
)
def test_the_first_stage_that_fits_is_the_stage(ages: list[timedelta], expected: Stage) -> None:
    assert stage_of(*ages) is expected


@given(st.lists(st.integers(0, 800).map(days), max_size=8))
def test_a_customer_with_orders_leaves_never_purchased_for_good(ages: list[timedelta]) -> None:
    assert (stage_of(*ages) is Stage.NEVER_PURCHASED) is (not ages)


@given(st.lists(st.integers(0, 800).map(days), min_size=1, max_size=8), st.integers(0, 2000))
def test_recency_alone_decides_who_is_at_risk_or_lapsed(ages: list[timedelta], later: int) -> None:
    aged = [age + days(later) for age in ages]
    recency = min(aged)
    expected = (
        {Stage.LAPSED}
        if recency > days(180)
        else {Stage.AT_RISK}
        if recency > days(90)
        else {Stage.NEW, Stage.ACTIVE, Stage.LOYAL, Stage.REACTIVATED}
    )
    assert stage_of(*aged) in expected


def test_a_moment_without_a_zone_is_an_error() -> None:
    with pytest.raises(TypeError):
        stage(1, AS_OF, None, AS_OF, AS_OF.replace(tzinfo=None), THRESHOLDS)
