"""Rules in plain English."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from holdfast.audience.conditions import (
    ConsentCondition,
    EventCondition,
    OrderMoment,
    Sample,
)
from holdfast.audience.rules import Rule
from holdfast.units import format_duration

_COMBINATIONS = {"all": "all of these", "any": "at least one of these", "not": "not this"}
_SUBJECTS = {
    "orders.count": "number of orders",
    "orders.value": "value of orders",
    "orders.first": "first order",
    "orders.last": "last order",
    "orders.category": "bought from category",
    "orders.sku": "bought product",
    "lifecycle": "lifecycle stage",
    "nps": "latest NPS answer",
    "csat": "latest CSAT answer",
    "customer_id": "customer id",
    "first_name": "first name",
    "last_name": "last name",
    "timezone": "time zone",
}
_VERBS = {
    "eq": "is",
    "ne": "is not",
    "in": "is one of",
    "not_in": "is none of",
    "gt": "is more than",
    "gte": "is at least",
    "lt": "is less than",
    "lte": "is at most",
    "starts_with": "starts with",
    "contains": "contains",
}


def describe(rule: Rule) -> str:
    """The whole rule in one sentence, combinations inside others in brackets."""
    match rule.key:
        case "all":
            return " and ".join(_bracketed(part) for part in rule.parts)
        case "any":
            return " or ".join(_bracketed(part) for part in rule.parts)
        case "not":
            return f"not ({describe(rule.parts[0])})"
    return headline(rule)


def headline(rule: Rule) -> str:
    """The rule alone, in a few words; of a combination only how it combines."""
    match rule.key, rule.condition:
        case ("all" | "any" | "not") as key, _:
            return _COMBINATIONS[key]
        case "segment", name:
            return f"in segment {name}"
        case "reachable", kind:
            return f"reachable by {kind}"
        case "open_complaint", has_one:
            return "has an open complaint" if has_one else "has no open complaint"
        case _, Sample(share=share, salt=salt):
            return f"in the {share * 100:g}% sample" + (f" {salt!r}" if salt else "")
        case _, ConsentCondition(kind=kind, pending=True):
            return f"is yet to be asked to confirm marketing by {kind}"
        case _, ConsentCondition(kind=kind, purpose=purpose):
            return f"permits {purpose} by {kind}"
        case _, EventCondition(name=name, count=count, within=within):
            return f"number of events {name!r} {_comparisons(count)}{_window(within)}"
        case key, OrderMoment() as moment:
            bounds = [f"{word} {_ago(value)}" for word, value in _bounds(moment)]
            return f"{_SUBJECTS[key]} {' and '.join(bounds)}"
        case key, comparison:
            subject = _SUBJECTS.get(key, key.replace("attributes.", "attribute "))
            words = _comparisons(comparison)
            if key in ("orders.category", "orders.sku"):
                words = words.removeprefix("is ")
            return f"{subject} {words}{_window(getattr(comparison, 'within', None))}"
    raise AssertionError(f"no words for the rule {rule.key}")


def _bracketed(rule: Rule) -> str:
    return f"({describe(rule)})" if len(rule.parts) > 1 else describe(rule)


def _comparisons(comparison: Any) -> str:
    return " and ".join(_comparison(name, operand) for name, operand in comparison.comparisons)


def _comparison(name: str, operand: Any) -> str:
    if name == "exists":
        return "is known" if operand else "is not known"
    return f"{_VERBS[name]} {_operand(operand)}"


def _operand(operand: Any) -> str:
    if isinstance(operand, list):
        return ", ".join(_operand(one) for one in operand)
    if isinstance(operand, bool):
        return "true" if operand else "false"
    return str(operand)


def _bounds(moment: OrderMoment) -> list[tuple[str, timedelta]]:
    bounds = [("less than", moment.within), ("at least", moment.before)]
    return [(word, value) for word, value in bounds if value is not None]


def _ago(duration: timedelta) -> str:
    return f"{format_duration(duration)} ago"


def _window(within: timedelta | None) -> str:
    return "" if within is None else f" within {format_duration(within)}"
