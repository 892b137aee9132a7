"""A segment rule as SQL: one condition on customers and their rollup, equal on SQLite and PostgreSQL.

Every look at another table is an index search for the one customer, no further than the row that decides, so
that a statement over a slice of customers costs what the slice costs; it is spared where the rollup knows.
NULL may stand for false inside, but not under a `not`: bare comparisons let a database come to the customers
by way of their rollup.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    TextClause,
    and_,
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
    EventCondition,
    OrderContent,
    OrderCount,
    OrderMoment,
    OrderValue,
    Sample,
    StageComparison,
    SurveyAnswer,
    TextComparison,
)
from holdfast.audience.rules import Rule, inner, walk
from holdfast.store.attributes import (
    attribute_number,
    attribute_text,
    attribute_truth,
    attribute_type,
    position_of,
)
from holdfast.store.comparisons import (
    OPERATORS,
    at_least,
    compare,
    compare_count,
    compare_text,
    compare_text_by,
    known,
    negated,
)
from holdfast.store.contact import consents_to, waits_for_letter
from holdfast.store.order_conditions import (
    bought,
    first_order,
    in_stages,
    last_order,
    order_count,
    order_value,
)
from holdfast.store.rule_context import RuleContext
from holdfast.tables import (
    SAID,
    addresses,
    cases,
    customers,
    events,
    order_lines,
    profiles,
    responses,
    suppressions,
)

PEOPLE: FromClause = customers.outerjoin(profiles, profiles.c.customer_id == customers.c.id)
"""What a compiled rule is over."""

_PROFILE_FIELDS: dict[str, ColumnElement[Any]] = {
    "customer_id": customers.c.external_id,
    **{
        name: customers.c[name]
        for name in ("first_name", "last_name", "locale", "timezone", "country", "city")
    },
}


def compile_rule(rule: Rule, context: RuleContext) -> ColumnElement[bool]:
    """The rule as a condition on PEOPLE: true or false, never NULL. Values are bound parameters.

    Raises HoldfastError where a named segment is unknown, circular or unfolds to too much.
    """
    return known(compile_filter(rule, context))


def compile_filter(rule: Rule, context: RuleContext) -> ColumnElement[bool]:
    """`compile_rule` for a WHERE clause, to which NULL is false: what a database can plan with."""
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
            return negated(inside[0])
        case "sample", Sample(share=share, salt=salt):
            drawn = draw_expression(customers.c.draw, *coefficients(context.secret, "sample", salt))
            return drawn < threshold(share)
        case "language", TextComparison() as comparison:
            return compare_text(_language(), comparison)
        case field, TextComparison() as comparison:
            return compare_text(_PROFILE_FIELDS[field], comparison)
        case key, AttributeComparison() as comparison:
            return _attribute(key.removeprefix("attributes."), comparison)
        case _, OrderCount() as comparison:
            return order_count(comparison, context)
        case _, OrderValue() as comparison:
            return order_value(comparison, context)
        case "orders.first", OrderMoment() as moment:
            return first_order(moment, context)
        case "orders.last", OrderMoment() as moment:
            return last_order(moment, context)
        case "orders.category", OrderContent() as content:
            return bought(order_lines.c.category, content, context)
        case "orders.sku", OrderContent() as content:
            return bought(order_lines.c.sku, content, context)
        case _, StageComparison() as comparison:
            return in_stages(comparison, context)
        case _, EventCondition() as event:
            return _event(event, context)
        case survey, SurveyAnswer() as answer:
            return _answered(survey, answer, context)
        case _, ConsentCondition(kind=kind, pending=True):
            return waits_for_letter(customers.c.id, kind, context.as_of)
        case _, ConsentCondition(kind=kind, purpose=purpose):
            return consents_to(customers.c.id, kind, purpose, context.as_of)
        case "reachable", kind:
            return _reachable(kind, context)
        case "open_complaint", wanted:
            complains = _complains(context)
            return complains if wanted else not_(complains)
    raise AssertionError(f"no SQL for the rule {rule.key}")


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
            return negated(_attribute_among(name, [operand]))
        case "in":
            return _attribute_among(name, operand)
        case "not_in":
            return negated(_attribute_among(name, operand))
        case "starts_with" | "contains":
            return compare_text_by(attribute_text(name), comparison, operand)
    condition: ColumnElement[bool] = OPERATORS[comparison](attribute_number(name), operand)
    return condition


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
    return or_(*found)


# --- what they did otherwise, and permit ------------------------------------------------------------


def _event(event: EventCondition, context: RuleContext) -> ColumnElement[bool]:
    conditions = [
        events.c.customer_id == customers.c.id,
        events.c.event == event.name,
        events.c.occurred_at <= context.now,
    ]
    if event.within is not None:
        conditions.append(events.c.occurred_at > context.ago(event.within))
    if event.count.comparisons == (("gte", 1),):
        return exists().where(*conditions).correlate(customers)
    return compare_count(select(literal(1)).select_from(events).where(*conditions), event.count, customers)


def _complains(context: RuleContext) -> ColumnElement[bool]:
    then_open = or_(cases.c.closed_at.is_(None), cases.c.closed_at > context.now)
    return (
        exists()
        .where(cases.c.customer_id == customers.c.id, cases.c.opened_at <= context.now, then_open)
        .correlate(customers)
    )


def _answered(survey: str, answer: SurveyAnswer, context: RuleContext) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool] | TextClause] = [
        responses.c.customer_id == customers.c.id,
        responses.c.kind == "answered",
        SAID,  # which is how SQLite knows its index
        responses.c.survey == survey,
        responses.c.occurred_at <= context.now,
    ]
    if answer.within is not None:
        conditions.append(responses.c.occurred_at > context.ago(answer.within))
    latest = (
        select(compare(responses.c.score, answer))
        .where(*conditions)
        .order_by(responses.c.occurred_at.desc(), responses.c.event_id.desc())
        .limit(1)
        .correlate(customers)
        .scalar_subquery()
    )
    of_none = all(name == "ne" for name, _ in answer.comparisons)
    return func.coalesce(latest, true() if of_none else false())


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
    # Not EXISTS: PostgreSQL would group everybody's addresses, and look customers up in no order.
    usable = select(literal(1)).where(
        addresses.c.customer_id == customers.c.id, addresses.c.kind == kind, not_(suppressed)
    )
    return at_least(1, usable, customers)
