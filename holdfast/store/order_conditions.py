"""What customers bought, as SQL: by the rollup where it knows, else by a look at their orders.

Facts over all orders are columns of the rollup, which also knows whether the last two orders are in a window.
A window is looked at for more than that only where the rollup knows of orders in it, through their index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, case, false, func, literal, or_, select, true

from holdfast.audience.conditions import OrderContent, OrderCount, OrderMoment, OrderValue, StageComparison
from holdfast.audience.lifecycle import Stage
from holdfast.store.comparisons import OPERATORS, at_least, compare, compare_count, negated
from holdfast.store.rule_context import RuleContext
from holdfast.tables import customers, order_lines, orders, profiles


def order_count(comparison: OrderCount, context: RuleContext) -> ColumnElement[bool]:
    """How many orders, in all or in the window."""
    of_none = _holds_for(0, comparison)
    if comparison.within is None:
        return _of_facts(
            lambda facts: compare(facts.order_count, comparison), context, without_orders=of_none
        )
    since = context.ago(comparison.within)
    if of_latest_two := _of_latest_two(comparison):
        found = _of_facts(
            lambda facts: of_latest_two(facts.last_order_at > since, facts.previous_order_at > since), context
        )
    else:
        rows = select(literal(1)).select_from(orders).where(*_qualifying(context, comparison.within))
        found = compare_count(rows, comparison, customers, profiles)
    return _of_window(found, comparison.within, context, without_orders=of_none)


def order_value(comparison: OrderValue, context: RuleContext) -> ColumnElement[bool]:
    """The sum of the orders, in all or in the window."""
    of_none, digits = _holds_for(0, comparison), context.currency_digits
    if comparison.within is None:
        return _of_facts(
            lambda facts: _value(facts.total, comparison, digits), context, without_orders=of_none
        )
    total = func.coalesce(_of_orders(func.sum(orders.c.total), context, within=comparison.within), 0)
    return _of_window(_value(total, comparison, digits), comparison.within, context, without_orders=of_none)


def first_order(moment: OrderMoment, context: RuleContext) -> ColumnElement[bool]:
    """When the first order was."""
    return _of_facts(lambda facts: _moment(facts.first_order_at, moment, context), context)


def last_order(moment: OrderMoment, context: RuleContext) -> ColumnElement[bool]:
    """When the last order was."""
    found = _of_facts(lambda facts: _moment(facts.last_order_at, moment, context), context)
    return found if moment.within is None else _of_window(found, moment.within, context)


def bought(what: ColumnElement[Any], content: OrderContent, context: RuleContext) -> ColumnElement[bool]:
    """A line of an order was of it; `what` is a column of the lines."""
    # Not EXISTS: PostgreSQL would rather read the orders of all customers, and join them.
    found = and_(
        *(
            at_least(
                1,
                select(orders.c.id).where(
                    *_qualifying(context, content.within),
                    order_lines.c.order_id == orders.c.id,
                    what.in_(operand if name == "in" else [operand]),
                ),
                customers,
                profiles,
            )
            for name, operand in content.comparisons
        )
    )
    return found if content.within is None else _of_window(found, content.within, context)


def in_stages(comparison: StageComparison, context: RuleContext) -> ColumnElement[bool]:
    """`lifecycle.stage` in SQL: whether the comparison lets it through."""
    chosen = set(Stage)
    for name, operand in comparison.comparisons:
        named = {Stage(value) for value in ([operand] if name in ("eq", "ne") else operand)}
        chosen = chosen & named if name in ("eq", "in") else chosen - named
    never = Stage.NEVER_PURCHASED in chosen
    return _of_facts(lambda facts: _at_stage(facts, chosen, context), context, without_orders=never)


@dataclass(frozen=True, slots=True)
class _Facts:
    """Facts over all of a customer's qualifying orders up to `as_of`."""

    order_count: ColumnElement[Any]
    total: ColumnElement[Any]
    first_order_at: ColumnElement[Any]
    previous_order_at: ColumnElement[Any]
    last_order_at: ColumnElement[Any]


_ROLLED_UP = _Facts(
    profiles.c.order_count,
    profiles.c.total,
    profiles.c.first_order_at,
    profiles.c.previous_order_at,
    profiles.c.last_order_at,
)


def _of_facts(
    condition: Callable[[_Facts], ColumnElement[bool]], context: RuleContext, *, without_orders: bool = False
) -> ColumnElement[bool]:
    """The condition on a customer's facts; `without_orders`: whether it holds where there are none."""
    latest = orders.c.ordered_at.desc()
    from_orders = condition(
        _Facts(
            _of_orders(func.count(), context),
            func.coalesce(_of_orders(func.sum(orders.c.total), context), 0),
            _of_orders(func.min(orders.c.ordered_at), context),
            _of_orders(orders.c.ordered_at, context, order_by=latest, skip=1),
            _of_orders(func.max(orders.c.ordered_at), context),
        )
    )
    if not context.rollup:
        return from_orders
    # An order may come in while slices of a run are planned: the rollup has seen it, the run must not.
    last = profiles.c.last_order_at
    found = or_(and_(last <= context.now, condition(_ROLLED_UP)), and_(last > context.now, from_orders))
    # Said in so many words: through the OR, SQLite does not see that it can begin with the rollup.
    return or_(last.is_(None), found) if without_orders else and_(last.is_not(None), found)


def _of_window(
    condition: ColumnElement[bool], within: timedelta, context: RuleContext, *, without_orders: bool = False
) -> ColumnElement[bool]:
    """The condition on a customer's orders of the window, looked at only where the rollup knows of any."""
    if not context.rollup:
        return condition
    last, since = profiles.c.last_order_at, context.ago(within)
    if without_orders:
        return or_(last.is_(None), last <= since, condition)
    return and_(last > since, condition)


def _of_orders(
    what: ColumnElement[Any],
    context: RuleContext,
    *,
    within: timedelta | None = None,
    order_by: ColumnElement[Any] | None = None,
    skip: int | None = None,
) -> ColumnElement[Any]:
    query = select(what).where(*_qualifying(context, within))
    if order_by is not None:
        query = query.order_by(order_by).limit(1).offset(skip)
    return query.correlate(customers, profiles).scalar_subquery()


def _qualifying(context: RuleContext, within: timedelta | None) -> list[ColumnElement[bool]]:
    # By the rollup's id PostgreSQL asks the rollup first, then the orders, and joins who is left. Facts are
    # seldom recounted, but it does not know: by the customer's id that does not weigh on reading the rollup.
    customer_id = profiles.c.customer_id if context.rollup and within is not None else customers.c.id
    conditions = [
        orders.c.customer_id == customer_id,
        orders.c.qualifying.is_(True),
        orders.c.ordered_at <= context.now,
    ]
    if within is not None:
        conditions.append(orders.c.ordered_at > context.ago(within))
    return conditions


def _holds_for(number: int, comparison: OrderCount | OrderValue) -> bool:
    return all(OPERATORS[name](number, operand) for name, operand in comparison.comparisons)


def _of_latest_two(comparison: OrderCount) -> _OfLatestTwo | None:
    """How a number of orders in a window follows from whether the last order is in it, and the one before.

    None: it takes more than that.
    """
    none, one, two = (_holds_for(number, comparison) for number in range(3))
    beyond = {operand + more for _, operand in comparison.comparisons for more in (-1, 0, 1)}
    if any(_holds_for(number, comparison) is not two for number in beyond if number > 2):
        return None
    return _BY_LATEST_TWO.get((none, one, two))


_OfLatestTwo = Callable[[ColumnElement[bool], ColumnElement[bool]], ColumnElement[bool]]

# Keys: whether no order will do, one, more.
_BY_LATEST_TWO: dict[tuple[bool, bool, bool], _OfLatestTwo] = {
    (False, True, True): lambda last, previous: last,
    (False, False, True): lambda last, previous: previous,
    (False, True, False): lambda last, previous: and_(last, negated(previous)),
    (True, False, False): lambda last, previous: negated(last),
    (True, True, False): lambda last, previous: negated(previous),
}


def _value(total: ColumnElement[Any], comparison: OrderValue, digits: int) -> ColumnElement[bool]:
    return and_(*(_value_one(total, name, operand, digits) for name, operand in comparison.comparisons))


def _value_one(total: ColumnElement[Any], name: str, major: Decimal, digits: int) -> ColumnElement[bool]:
    # Totals are whole minor units, so an amount finer than those lies between two of them.
    minor = major.scaleb(digits)
    below, above = (int(minor.to_integral_value(rounding)) for rounding in (ROUND_FLOOR, ROUND_CEILING))
    if name in ("eq", "ne") and below != above:
        return false() if name == "eq" else true()
    bound = above if name in ("gte", "lt") else below
    condition: ColumnElement[bool] = OPERATORS[name](total, literal(bound, BigInteger))
    return condition


def _moment(at: ColumnElement[Any], moment: OrderMoment, context: RuleContext) -> ColumnElement[bool]:
    conditions = []
    if moment.within is not None:
        conditions.append(at > context.ago(moment.within))
    if moment.before is not None:
        conditions.append(at <= context.ago(moment.before))
    return and_(*conditions)


def _at_stage(facts: _Facts, chosen: set[Stage], context: RuleContext) -> ColumnElement[bool]:
    thresholds, last = context.lifecycle, facts.last_order_at
    lapsed, at_risk = context.ago(thresholds.lapsed), context.ago(thresholds.active)
    gap = literal(thresholds.lapsed // timedelta(microseconds=1), BigInteger)
    # Later stages are told apart only for customers who are in one of them.
    lively = case(
        (facts.previous_order_at + gap < last, literal(Stage.REACTIVATED.value)),
        (facts.first_order_at > context.ago(thresholds.new), literal(Stage.NEW.value)),
        (facts.order_count >= thresholds.loyal, literal(Stage.LOYAL.value)),
        else_=literal(Stage.ACTIVE.value),
    )
    ranges: dict[Stage, ColumnElement[bool]] = {
        Stage.NEVER_PURCHASED: last.is_(None),
        Stage.LAPSED: last < lapsed,
        Stage.AT_RISK: last < at_risk if Stage.LAPSED in chosen else and_(last >= lapsed, last < at_risk),
    }
    found = [condition for stage, condition in ranges.items() if stage in chosen]
    if others := sorted(chosen - set(ranges)):
        found.append(and_(last >= at_risk, lively.in_(others)))
    return or_(false(), *found)
