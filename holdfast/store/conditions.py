"""A segment rule as SQL: one condition on customers and their rollup, equal on SQLite and PostgreSQL.

Every look at another table is an index search for the one customer, so that a statement over a slice of
customers costs what the slice costs. Expressions are never NULL: rules are two-valued.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from holdfast.audience.arms import P, coefficients, threshold
from holdfast.audience.conditions import (
    AttributeComparison,
    ConsentCondition,
    CountComparison,
    EventCondition,
    OrderContent,
    OrderCount,
    OrderMoment,
    OrderValue,
    Sample,
    StageComparison,
    TextComparison,
)
from holdfast.audience.lifecycle import Stage
from holdfast.audience.rules import Rule, inner, walk
from holdfast.settings import Lifecycle
from holdfast.store.attributes import (
    attribute_number,
    attribute_text,
    attribute_truth,
    attribute_type,
    position_of,
)
from holdfast.store.contact import consents_to
from holdfast.tables import (
    addresses,
    customers,
    events,
    order_lines,
    orders,
    profiles,
    suppressions,
    to_microseconds,
)

PEOPLE: FromClause = customers.outerjoin(profiles, profiles.c.customer_id == customers.c.id)
"""What a compiled rule is over."""

_OPERATORS: dict[str, Any] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_PROFILE_FIELDS: dict[str, ColumnElement[Any]] = {
    "customer_id": customers.c.external_id,
    **{
        name: customers.c[name]
        for name in ("first_name", "last_name", "locale", "timezone", "country", "city")
    },
}


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule means at a moment: facts after `as_of` are not seen.

    `rollup`: read order facts from the rollup, but for customers who ordered after `as_of`; right at any
    moment, and fast where most of them did not. Else they are read from the orders.
    """

    as_of: datetime
    lifecycle: Lifecycle
    secret: bytes
    segments: Mapping[str, Rule]
    currency_digits: int = 2
    rollup: bool = True

    @property
    def now(self) -> int:
        """`as_of` in microseconds."""
        return to_microseconds(self.as_of)

    def ago(self, duration: timedelta) -> int:
        """The moment so long before `as_of`, in microseconds; it may lie before the first year."""
        return self.now - duration // timedelta(microseconds=1)


def compile_rule(rule: Rule, context: RuleContext) -> ColumnElement[bool]:
    """The rule as a condition on PEOPLE: true or false, never NULL. Values are bound parameters.

    Raises HoldfastError where a named segment is unknown, circular or unfolds to too much.
    """
    for _ in walk(rule, context.segments):
        pass
    return _condition(rule, context)


def draw_expression(column: ColumnElement[int], a: int, b: int) -> ColumnElement[int]:
    """`arms.position` in SQL; below 2**62 all the way, so that 64 bits hold it."""
    return (column * literal(a, BigInteger) + literal(b, BigInteger)) % literal(P, BigInteger)


# --- one rule -------------------------------------------------------------------------------------


def _condition(rule: Rule, context: RuleContext) -> ColumnElement[bool]:
    inside = [_condition(part, context) for part in inner(rule, context.segments)]
    match rule.key, rule.condition:
        case "all" | "segment", _:
            return and_(*inside)
        case "any", _:
            return or_(*inside)
        case "not", _:
            return not_(inside[0])
        case "sample", Sample(share=share, salt=salt):
            drawn = draw_expression(customers.c.draw, *coefficients(context.secret, "sample", salt))
            return drawn < threshold(share)
        case "language", TextComparison() as comparison:
            return _text(_language(), comparison)
        case field, TextComparison() as comparison:
            return _text(_PROFILE_FIELDS[field], comparison)
        case key, AttributeComparison() as comparison:
            return _attribute(key.removeprefix("attributes."), comparison)
        case _, OrderCount() as comparison:
            return _compare(_order_count(context, comparison.within), comparison)
        case _, OrderValue() as comparison:
            return _value(_order_total(context, comparison.within), comparison, context.currency_digits)
        case "orders.first", OrderMoment() as moment:
            return _moment(_facts(context).first_order_at, moment, context)
        case "orders.last", OrderMoment() as moment:
            return _moment(_facts(context).last_order_at, moment, context)
        case "orders.category", OrderContent() as content:
            return _bought(order_lines.c.category, content, context)
        case "orders.sku", OrderContent() as content:
            return _bought(order_lines.c.sku, content, context)
        case _, StageComparison() as comparison:
            return _text(_stage(context), comparison)
        case _, EventCondition() as event:
            return _event(event, context)
        case _, ConsentCondition(kind=kind, purpose=purpose):
            return consents_to(customers.c.id, kind, purpose, context.as_of)
        case "reachable", kind:
            return _reachable(kind, context)
    raise AssertionError(f"no SQL for the rule {rule.key}")


def _known(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """False instead of NULL."""
    return func.coalesce(condition, false())


def _compare(value: ColumnElement[Any], comparison: CountComparison) -> ColumnElement[bool]:
    return and_(*(_OPERATORS[name](value, operand) for name, operand in comparison.comparisons))


def _text(value: ColumnElement[Any], comparison: TextComparison | StageComparison) -> ColumnElement[bool]:
    return and_(*(_text_one(value, name, operand) for name, operand in comparison.comparisons))


def _text_one(value: ColumnElement[Any], name: str, operand: Any) -> ColumnElement[bool]:
    match name:
        case "exists":
            return value.is_not(None) if operand else value.is_(None)
        case "starts_with":
            return _known(func.substr(value, 1, len(operand)) == operand)
        case "contains":
            return _known(position_of(operand, value) > 0)
        case "in":
            return _known(value.in_(operand))
        case "not_in":
            return not_(_known(value.in_(operand)))
        case "ne":
            return not_(_known(value == operand))
    return _known(value == operand)


def _language() -> ColumnElement[str]:
    tag = func.replace(customers.c.locale, "_", "-") + "-"
    return func.substr(tag, 1, position_of("-", tag) - 1)


def _attribute(name: str, comparison: AttributeComparison) -> ColumnElement[bool]:
    return and_(*(_attribute_one(name, *one) for one in comparison.comparisons))


def _attribute_one(name: str, comparison: str, operand: Any) -> ColumnElement[bool]:
    match comparison:
        case "exists":
            present = func.coalesce(attribute_type(name), "null") != "null"
            return present if operand else not_(present)
        case "eq":
            return _attribute_among(name, [operand])
        case "ne":
            return not_(_attribute_among(name, [operand]))
        case "in":
            return _attribute_among(name, operand)
        case "not_in":
            return not_(_attribute_among(name, operand))
        case "starts_with" | "contains":
            return _text_one(attribute_text(name), comparison, operand)
    return _known(_OPERATORS[comparison](attribute_number(name), operand))


def _attribute_among(name: str, operands: list[Any]) -> ColumnElement[bool]:
    """Equal to one of them, each compared as its own type."""
    texts = [operand for operand in operands if isinstance(operand, str)]
    truths = [int(operand) for operand in operands if isinstance(operand, bool)]
    numbers = [operand for operand in operands if not isinstance(operand, str | bool)]
    found = []
    if texts:
        found.append(attribute_text(name).in_(texts))
    if truths:
        found.append(attribute_truth(name).in_(truths))
    if numbers:
        found.append(attribute_number(name).in_(numbers))
    return _known(or_(*found))


# --- orders ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Facts:
    """Facts over all of a customer's qualifying orders up to `as_of`; NULL without any."""

    order_count: ColumnElement[Any]
    total: ColumnElement[Any]
    first_order_at: ColumnElement[Any]
    previous_order_at: ColumnElement[Any]
    last_order_at: ColumnElement[Any]


def _facts(context: RuleContext) -> _Facts:
    latest = orders.c.ordered_at.desc()
    counted = _Facts(
        _of_orders(func.count(), context),
        _of_orders(func.sum(orders.c.total), context),
        _of_orders(func.min(orders.c.ordered_at), context),
        _of_orders(orders.c.ordered_at, context, order_by=latest, skip=1),
        _of_orders(func.max(orders.c.ordered_at), context),
    )
    if not context.rollup:
        return counted

    def bounded(rolled_up: ColumnElement[Any], recounted: ColumnElement[Any]) -> ColumnElement[Any]:
        # An order may come in while slices of a run are planned: the rollup has seen it, the run must not.
        return case((profiles.c.last_order_at > context.now, recounted), else_=rolled_up)

    return _Facts(
        bounded(profiles.c.order_count, counted.order_count),
        bounded(profiles.c.total, counted.total),
        bounded(profiles.c.first_order_at, counted.first_order_at),
        bounded(profiles.c.previous_order_at, counted.previous_order_at),
        bounded(profiles.c.last_order_at, counted.last_order_at),
    )


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
    return query.correlate(customers).scalar_subquery()


def _qualifying(context: RuleContext, within: timedelta | None) -> list[ColumnElement[bool]]:
    conditions = [
        orders.c.customer_id == customers.c.id,
        orders.c.qualifying.is_(True),
        orders.c.ordered_at <= context.now,
    ]
    if within is not None:
        conditions.append(orders.c.ordered_at > context.ago(within))
    return conditions


def _order_count(context: RuleContext, within: timedelta | None) -> ColumnElement[Any]:
    if within is None:
        return func.coalesce(_facts(context).order_count, 0)
    return _of_orders(func.count(), context, within=within)


def _order_total(context: RuleContext, within: timedelta | None) -> ColumnElement[Any]:
    if within is None:
        return func.coalesce(_facts(context).total, 0)
    return func.coalesce(_of_orders(func.sum(orders.c.total), context, within=within), 0)


def _value(total: ColumnElement[Any], comparison: OrderValue, digits: int) -> ColumnElement[bool]:
    return and_(*(_value_one(total, name, operand, digits) for name, operand in comparison.comparisons))


def _value_one(total: ColumnElement[Any], name: str, major: Decimal, digits: int) -> ColumnElement[bool]:
    # Totals are whole minor units, so an amount finer than those lies between two of them.
    minor = major.scaleb(digits)
    below, above = (int(minor.to_integral_value(rounding)) for rounding in (ROUND_FLOOR, ROUND_CEILING))
    if name in ("eq", "ne") and below != above:
        return false() if name == "eq" else true()
    bound = above if name in ("gte", "lt") else below
    condition: ColumnElement[bool] = _OPERATORS[name](total, literal(bound, BigInteger))
    return condition


def _moment(at: ColumnElement[Any], moment: OrderMoment, context: RuleContext) -> ColumnElement[bool]:
    conditions = []
    if moment.within is not None:
        conditions.append(at > context.ago(moment.within))
    if moment.before is not None:
        conditions.append(at <= context.ago(moment.before))
    return _known(and_(*conditions))


def _bought(what: ColumnElement[Any], content: OrderContent, context: RuleContext) -> ColumnElement[bool]:
    return and_(
        *(
            exists()
            .where(
                *_qualifying(context, content.within),
                order_lines.c.order_id == orders.c.id,
                what.in_(operand if name == "in" else [operand]),
            )
            .correlate(customers)
            for name, operand in content.comparisons
        )
    )


def _stage(context: RuleContext) -> ColumnElement[str]:
    """`lifecycle.stage` in SQL."""
    facts, thresholds = _facts(context), context.lifecycle
    last, previous = facts.last_order_at, facts.previous_order_at
    gap = literal(thresholds.lapsed // timedelta(microseconds=1), BigInteger)
    stages: list[tuple[ColumnElement[bool], Stage]] = [
        (last.is_(None), Stage.NEVER_PURCHASED),
        (last < context.ago(thresholds.lapsed), Stage.LAPSED),
        (last < context.ago(thresholds.active), Stage.AT_RISK),
        (previous + gap < last, Stage.REACTIVATED),
        (facts.first_order_at > context.ago(thresholds.new), Stage.NEW),
        (facts.order_count >= thresholds.loyal, Stage.LOYAL),
    ]
    return case(*((when, literal(stage.value)) for when, stage in stages), else_=literal(Stage.ACTIVE.value))


# --- what they did otherwise, and permit ------------------------------------------------------------


def _event(event: EventCondition, context: RuleContext) -> ColumnElement[bool]:
    conditions = [
        events.c.customer_id == customers.c.id,
        events.c.event == event.name,
        events.c.occurred_at <= context.now,
    ]
    if event.within is not None:
        conditions.append(events.c.occurred_at > context.ago(event.within))
    count = select(func.count()).select_from(events).where(*conditions).correlate(customers).scalar_subquery()
    return _compare(count, event.count)


def _reachable(kind: str, context: RuleContext) -> ColumnElement[bool]:
    suppressed = (
        exists()
        .where(
            suppressions.c.kind == addresses.c.kind,
            suppressions.c.address_key == addresses.c.address_key,
            suppressions.c.created_at <= context.now,
        )
        .correlate(addresses)
    )
    return (
        exists()
        .where(addresses.c.customer_id == customers.c.id, addresses.c.kind == kind, not_(suppressed))
        .correlate(customers)
    )
