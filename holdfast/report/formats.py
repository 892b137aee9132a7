"""How numbers are written in reports: rates in percent, differences in points, money; `–` is undefined."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from babel.numbers import format_currency, get_currency_precision

if TYPE_CHECKING:
    from holdfast.metrics.effects import Interval
    from holdfast.metrics.rates import Rate

UNDEFINED = "–"


def count(n: float | None) -> str:
    """`12,345`."""
    return UNDEFINED if n is None else f"{n:,.0f}".replace("-", "−")


def percent(fraction: float | None) -> str:
    """`12.3%`; under one percent with a digit more, since complaints are counted in tenths of a percent."""
    if fraction is None:
        return UNDEFINED
    digits = 2 if 0 < abs(fraction) < 0.01 else 1
    return f"{100 * fraction:.{digits}f}%".replace("-", "−")


def points(difference: float | None) -> str:
    """Percentage points with their sign: `+1.2`."""
    if difference is None:
        return UNDEFINED
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def score(points: float | None) -> str:
    """A score in points, with its sign: `+34`."""
    if points is None:
        return UNDEFINED
    text = f"{points:+.0f}"
    return "0" if int(text) == 0 else text.replace("-", "−")


def mean(value: float | None) -> str:
    """`4.2`."""
    return UNDEFINED if value is None else f"{value:.1f}"


def rate_range(rate: Rate) -> str:
    """The rate's 95% interval: `11.0 to 13.7%`."""
    if rate.value is None:
        return UNDEFINED
    low, high = percent(rate.low), percent(rate.high)
    return f"{low.removesuffix('%')} to {high}"


def points_range(interval: Interval) -> str:
    """A difference's interval: `+0.5 to +0.9`."""
    return f"{points(interval.low)} to {points(interval.high)}"


def money(minor: float | None, currency: str) -> str:
    """An amount of minor units as English text writes it: `€1,234.50`."""
    if minor is None:
        return UNDEFINED
    amount = minor / 10 ** get_currency_precision(currency)
    return format_currency(amount, currency, locale="en").replace("-", "−")


def moment(at: datetime | None) -> str:
    """`5 October 2026, 09:00`, in the zone that the datetime has."""
    return UNDEFINED if at is None else f"{at.day} {at:%B %Y, %H:%M}"


def duration(length: timedelta) -> str:
    """`3 days 4 h`, `2 h 10 min`, `under a minute`: the two largest units."""
    minutes = round(length.total_seconds() / 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    parts = [(days, "day" if days == 1 else "days"), (hours, "h"), (0 if days else minutes % 60, "min")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n) or "under a minute"


def month_name(month: int) -> str:
    """`October 2026`, of a month counted as the tables do: year * 12 + month - 1."""
    return f"{datetime(month // 12, month % 12 + 1, 1):%B %Y}"  # noqa: DTZ001 - a name, not a moment


def p_value(p: float) -> str:
    """`= 0.42`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def signed_percent(fraction: float) -> str:
    """`+12%`, of a relative difference."""
    return f"{100 * fraction:+.0f}%".replace("-", "−")
