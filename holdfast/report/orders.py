"""A campaign's orders in two readings: what came after its messages, and what came because of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from holdfast.metrics.attribution import Attributed
from holdfast.metrics.incremental import Extra, Moments, incremental
from holdfast.report.formats import UNDEFINED, count, money
from holdfast.store.aggregates import Spend
from holdfast.store.runs import Run

MEANING = (
    "Attributed orders came after: the last message that their customer opened or clicked before them, "
    "within the channel’s window, was one of this campaign. Some would have come anyway. Incremental orders "
    "came because of it: what the treated ordered in their windows beyond what they would have, judging by "
    "the held out. The two answer different questions and are never added."
)

_NONE = Spend(Moments(0, 0, 0), Moments(0, 0, 0))


class Line(NamedTuple):
    """A reading in words: orders and revenue, each with what is said of it."""

    name: str
    orders: str
    of_orders: str
    revenue: str
    of_revenue: str


@dataclass(frozen=True, slots=True)
class OrderResults:
    """`attributed` to the campaign's messages; `orders` and `revenue` that it brought more, in minor units.

    These are of customers whose window is over, and None where arms cannot be compared.
    """

    attributed: Attributed
    orders: Extra | None = None
    revenue: Extra | None = None

    @property
    def any(self) -> bool:
        """There is something to tell."""
        return bool(self.attributed.orders or self.orders)

    def lines(self, currency: str) -> list[Line]:
        """Both readings, beside each other."""
        given, in_money = self.attributed, partial(money, currency=currency)
        clicked = f"{count(given.after_click)} after a click"
        return [
            Line("Attributed", count(given.orders), clicked, in_money(given.revenue), ""),
            Line("Incremental", *_shown(self.orders, count), *_shown(self.revenue, in_money)),
        ]


def order_results(
    attributed: Attributed, found: Sequence[Run], by_run: Mapping[int, Mapping[str, Spend]]
) -> OrderResults:
    """With `by_run`, what arms are compared by: those of runs that held out the same share."""
    groups: dict[float, tuple[Spend, Spend]] = {}
    for run in found:
        arms = by_run.get(run.id, {})
        treated, holdout = groups.get(run.holdout or 0.0, (_NONE, _NONE))
        groups[run.holdout or 0.0] = (
            treated + arms.get("treated", _NONE),
            holdout + arms.get("holdout", _NONE),
        )
    pairs = groups.values()
    return OrderResults(
        attributed,
        orders=incremental([(treated.orders, holdout.orders) for treated, holdout in pairs]),
        revenue=incremental([(treated.revenue, holdout.revenue) for treated, holdout in pairs]),
    )


def _shown(extra: Extra | None, form: Callable[[float], str]) -> tuple[str, str]:
    if extra is None:
        return UNDEFINED, ""
    sign = "+" if extra.amount > 0 else ""
    return sign + form(extra.amount), f"{form(extra.low)} to {form(extra.high)}"
