from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from holdfast.metrics.effects import Interval
from holdfast.metrics.rates import Rate
from holdfast.report import formats


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(0.1234, "12.3%"), (0.0012, "0.12%"), (0.0, "0.0%"), (1.0, "100.0%"), (-0.005, "−0.50%"), (None, "–")],
)
def test_small_rates_have_a_digit_more_and_undefined_ones_a_dash(fraction: float | None, shown: str) -> None:
    assert formats.percent(fraction) == shown


@pytest.mark.parametrize(
    ("difference", "shown"),
    [(0.0123, "+1.2"), (-0.0123, "−1.2"), (0.0004, "0.0"), (-0.0004, "0.0"), (None, "–")],
)
def test_points_have_a_sign_unless_they_are_zero(difference: float | None, shown: str) -> None:
    assert formats.points(difference) == shown


def test_intervals_are_ranges() -> None:
    assert formats.rate_range(Rate(81, 263)) == "25.5 to 36.6%"
    assert formats.rate_range(Rate(0, 0)) == "–"
    assert formats.points_range(Interval(0.0, -0.031, 0.052)) == "−3.1 to +5.2"


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [(123_450, "EUR", "€1,234.50"), (1500, "JPY", "¥1,500"), (-5, "USD", "−$0.05"), (None, "EUR", "–")],
)
def test_money_has_the_digits_of_its_currency(minor: int | None, currency: str, shown: str) -> None:
    assert formats.money(minor, currency) == shown


def test_times_are_in_the_zone_that_they_have() -> None:
    at = datetime(2026, 10, 5, 9, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert formats.moment(at) == "5 October 2026, 09:00"
    assert formats.month_name(2026 * 12 + 9) == "October 2026"


@pytest.mark.parametrize(("p", "shown"), [(0.00002, "< 0.001"), (0.0421, "= 0.042"), (1.0, "= 1")])
def test_tiny_p_values_are_only_called_tiny(p: float, shown: str) -> None:
    assert formats.p_value(p) == shown
