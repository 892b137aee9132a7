"""Lifecycle stages: where a customer stands, from their qualifying orders up to a moment."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from holdfast.settings import Lifecycle


class Stage(StrEnum):
    """Every customer is in exactly one stage at any moment."""

    NEVER_PURCHASED = "never_purchased"
    NEW = "new"
    ACTIVE = "active"
    LOYAL = "loyal"
    AT_RISK = "at_risk"
    LAPSED = "lapsed"
    REACTIVATED = "reactivated"


def stage(
    order_count: int,
    first_order_at: datetime | None,
    previous_order_at: datetime | None,
    last_order_at: datetime | None,
    as_of: datetime,
    thresholds: Lifecycle,
) -> Stage:
    """The stage at `as_of`, from facts bounded by it; the first that fits.

    `previous_order_at` is the order before the last one. Without orders the three times are None.
    """
    if last_order_at is None or first_order_at is None:
        return Stage.NEVER_PURCHASED
    recency = as_of - last_order_at
    if recency > thresholds.lapsed:
        return Stage.LAPSED
    if recency > thresholds.active:
        return Stage.AT_RISK
    if previous_order_at is not None and last_order_at - previous_order_at > thresholds.lapsed:
        return Stage.REACTIVATED
    if as_of - first_order_at < thresholds.new:
        return Stage.NEW
    if order_count >= thresholds.loyal:
        return Stage.LOYAL
    return Stage.ACTIVE
