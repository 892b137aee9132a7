from __future__ import annotations

import pytest

from holdfast.metrics.rates import Rate
from holdfast.metrics.revenue import Repurchase, Sales, aov, clv

MONTH = Sales(orders=8, revenue=40_000, median=4_500, buyers=5, repeat_orders=6, returning=3)
WINDOW = Repurchase(buyers=40, repeat_buyers=12, orders=60, revenue=270_000, observed=20, second_orders=4)


def test_the_average_order_is_revenue_over_orders() -> None:
    # Not the mean of customers' means: one with 1 order of 100 and one with 3 of 20 make 40, not 60.
    assert aov(160, 4) == 40
    assert (MONTH.aov, WINDOW.aov) == (5_000, 4_500)


def test_rates_name_their_denominators() -> None:
    assert MONTH.returning_share == Rate(3, 5)
    assert MONTH.repeat_orders_per_order == Rate(6, 8)
    assert WINDOW.rpr == Rate(12, 40)
    assert WINDOW.second_order_rate == Rate(4, 20)
    assert WINDOW.orders_per_buyer == 1.5


def test_lifetime_value_is_the_product_of_value_frequency_time_and_margin() -> None:
    assert clv(5_000, 1.5, 3) == pytest.approx(22_500)
    assert clv(5_000, 1.5, 3, margin=0.2) == pytest.approx(4_500)


def test_of_no_orders_averages_are_undefined() -> None:
    nothing = Sales(orders=0, revenue=0, median=None, buyers=0, repeat_orders=0, returning=0)
    nobody = Repurchase(buyers=0, repeat_buyers=0, orders=0, revenue=0, observed=0, second_orders=0)
    assert (nothing.aov, nothing.returning_share.value, nothing.repeat_orders_per_order.value) == (None,) * 3
    assert (nobody.aov, nobody.orders_per_buyer, nobody.rpr.value, nobody.second_order_rate.value) == (
        None,
    ) * 4
    assert clv(nobody.aov, nobody.orders_per_buyer, 3) is None
