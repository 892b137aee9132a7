"""Segments: whom a rule selects, in one statement, and why it does or does not."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Select, case, func, select

from holdfast.audience.explain import headline
from holdfast.audience.rules import Rule, walk
from holdfast.store.conditions import PEOPLE, compile_filter, compile_rule, draw_expression
from holdfast.store.rule_context import RuleContext
from holdfast.tables import customers

__all__ = [
    "PEOPLE",
    "Counted",
    "Explained",
    "RuleContext",
    "audience_statement",
    "compile_filter",
    "compile_rule",
    "count_each",
    "draw_expression",
    "explain_customer",
]


@dataclass(frozen=True, slots=True)
class Explained:
    """One rule inside a rule: how deep, in words, and whether the customer matches it."""

    depth: int
    words: str
    matched: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """One rule inside a rule: how deep, in words, and how many customers match it."""

    depth: int
    words: str
    customers: int


def audience_statement(rule: Rule, context: RuleContext) -> Select[tuple[int]]:
    """The ids of the customers who match. Raises like `compile_rule`."""
    return select(customers.c.id).select_from(PEOPLE).where(compile_filter(rule, context))


def explain_customer(
    connection: Connection, rule: Rule, context: RuleContext, external_id: str
) -> list[Explained]:
    """The rule and every rule inside it, against one customer; empty when there is no such customer."""
    rules = list(walk(rule, context.segments))
    columns = [compile_rule(part, context).label(f"rule_{number}") for number, (_, part) in enumerate(rules)]
    row = connection.execute(
        select(*columns).select_from(PEOPLE).where(customers.c.external_id == external_id)
    ).one_or_none()
    if row is None:
        return []
    return [
        Explained(depth, headline(part), bool(hit)) for (depth, part), hit in zip(rules, row, strict=True)
    ]


def count_each(connection: Connection, rule: Rule, context: RuleContext) -> list[Counted]:
    """How many customers match the rule and each rule inside it: which of them selects nobody."""
    rules = list(walk(rule, context.segments))
    columns = [
        func.count(case((compile_rule(part, context), 1))).label(f"rule_{number}")
        for number, (_, part) in enumerate(rules)
    ]
    row = connection.execute(select(*columns).select_from(PEOPLE)).one()
    return [Counted(depth, headline(part), hits) for (depth, part), hits in zip(rules, row, strict=True)]
