"""Comparisons as SQL. With a missing value one may be NULL, which is no match until it is negated."""

from __future__ import annotations

import operator
from typing import Any

from sqlalchemy import ColumnElement, Exists, FromClause, Select, and_, case, false, func, not_, true

from holdfast.audience.conditions import CountComparison, SurveyAnswer, TextComparison
from holdfast.store.attributes import position_of

OPERATORS: dict[str, Any] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}

# CASE, for COALESCE would have SQLite work out both sides of an AND whose first is false.


def known(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """False instead of NULL."""
    return case((condition, true()), else_=false())


def negated(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """True where the condition is false or NULL. An EXISTS is never NULL, and bare it can be an anti-join."""
    if isinstance(condition, Exists):
        return not_(condition)
    return case((condition, false()), else_=true())


def compare(value: ColumnElement[Any], comparison: CountComparison | SurveyAnswer) -> ColumnElement[bool]:
    """The number compares so; all comparisons hold."""
    return and_(*(OPERATORS[name](value, operand) for name, operand in comparison.comparisons))


def at_least(number: int, rows: Select[Any], *outer: FromClause) -> ColumnElement[bool]:
    """There are so many rows, or more, for one row of `outer`; true or false. Looks no further than that."""
    nth = rows.with_only_columns(true()).limit(1).offset(number - 1 or None).correlate(*outer)
    return func.coalesce(nth.scalar_subquery(), false())


def compare_count(rows: Select[Any], comparison: CountComparison, *outer: FromClause) -> ColumnElement[bool]:
    """The number of these rows for one row of `outer` compares so; counted no further than it takes."""
    match comparison.comparisons:
        case (("gte" | "gt" as name, operand),) if (least := operand + (name == "gt")) > 0:
            return at_least(least, rows, *outer)
        case (("lt" | "lte" as name, operand),) if (least := operand + (name == "lte")) > 0:
            return not_(at_least(least, rows, *outer))
    count = rows.with_only_columns(func.count()).correlate(*outer)
    return compare(count.scalar_subquery(), comparison)


def compare_text(value: ColumnElement[Any], comparison: TextComparison) -> ColumnElement[bool]:
    """The text compares so; all comparisons hold."""
    return and_(*(compare_text_by(value, name, operand) for name, operand in comparison.comparisons))


def compare_text_by(value: ColumnElement[Any], name: str, operand: Any) -> ColumnElement[bool]:
    """The text compares so by one comparison, as it is named in rules."""
    match name:
        case "exists":
            return value.is_not(None) if operand else value.is_(None)
        case "starts_with":
            found: ColumnElement[bool] = func.substr(value, 1, len(operand)) == operand
            return found
        case "contains":
            return and_(position_of(operand, value) > 0)
        case "in":
            return value.in_(operand)
        case "not_in":
            return negated(value.in_(operand))
        case "ne":
            return negated(value == operand)
    equal: ColumnElement[bool] = value == operand
    return equal
