"""What customers bought. Money is integer minor units of one currency; averages of it are floats."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.metrics.rates import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Sales:
    """Qualifying orders of a period, net of what was refunded, and who placed them.

    `repeat_orders` are not their customer's first ever; `returning` are the buyers who had bought before the
    period; `median` is the median order's value, None without orders.
    """

    orders: int
    revenue: int
    median: float | None
    buyers: int
    repeat_orders: int
    returning: int

    @property
    def aov(self) -> float | None:
        """Average order value, in minor units."""
        return aov(self.revenue, self.orders)

    @property
    def returning_share(self) -> Rate:
        """Of the period's buyers, those who had bought before: the second reading of retention."""
        return Rate(self.returning, self.buyers)

    @property
    def repeat_orders_per_order(self) -> Rate:
        """Of the period's orders, those that were not their customer's first."""
        return Rate(self.repeat_orders, self.orders)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repurchase:
    """Who bought in a window, usually a year, and who of them again.

    `observed` first ordered in the window, and long enough before its end to have had the whole time for a
    second order; `second_orders` of them placed one in that time.
    """

    buyers: int
    repeat_buyers: int
    orders: int
    revenue: int
    observed: int
    second_orders: int

    @property
    def rpr(self) -> Rate:
        """Repeat purchase rate: customers with two orders or more in the window / with one or more."""
        return Rate(self.repeat_buyers, self.buyers)

    @property
    def second_order_rate(self) -> Rate:
        """A second order soon after the first / customers observed for so long."""
        return Rate(self.second_orders, self.observed)

    @property
    def aov(self) -> float | None:
        """Average order value in the window, in minor units."""
        return aov(self.revenue, self.orders)

    @property
    def orders_per_buyer(self) -> float | None:
        """How often a customer who bought in the window did."""
        return self.orders / self.buyers if self.buyers else None


def aov(revenue: int, orders: int) -> float | None:
    """Average order value: net revenue / orders, never a mean of customers' means."""
    return revenue / orders if orders else None


def clv(
    order_value: float | None, orders_a_year: float | None, years: float, margin: float = 1.0
) -> float | None:
    """Historical customer lifetime value: AOV × orders a year × years × margin, in the unit of `order_value`.

    What customers were worth, carried on for so many years as if nothing changed: no prediction.
    """
    if order_value is None or orders_a_year is None:
        return None
    return order_value * orders_a_year * years * margin
