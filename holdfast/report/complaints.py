"""How complaints were dealt with, in lines for a KPI sheet."""

from __future__ import annotations

from datetime import timedelta

from holdfast.metrics.complaints import Care, Lasting
from holdfast.report.formats import UNDEFINED, count, duration, percent, rate_range


def lines(care: Care) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each line; none where there is no case."""
    if not care.opened and not care.still_open:
        return []
    again = care.reopened_per_closed
    return [
        ("Cases opened", count(care.opened), f"in the month; {count(care.still_open)} were open at its end"),
        ("First answer", _shown(care.first_answer), _meant(care.first_answer, "answered")),
        ("Resolution", _shown(care.resolution), _meant(care.resolution, "closed")),
        (
            "Opened again",
            percent(again.value) + (f" ({rate_range(again)})" if again.denominator else ""),
            f"{count(again.numerator)} of {count(again.denominator)} that were closed",
        ),
    ]


def _shown(time: Lasting) -> str:
    if time.median is None:
        return UNDEFINED
    low, high = _span(time.low), _span(time.high)
    return f"{_span(time.median)} ({low} to {high})"


def _meant(time: Lasting, what: str) -> str:
    return f"half were {what} by then; {count(time.ended)} of {count(time.n)} are so far"


def _span(seconds: float | None) -> str:
    return UNDEFINED if seconds is None else duration(timedelta(seconds=seconds))
