"""Compiled SQL selects whom a plain Python evaluation selects: random rules over random populations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from holdfast.audience.rules import Rule
from holdfast.store.database import Database
from holdfast.store.segments import PEOPLE, RuleContext, audience_statement, compile_rule
from holdfast.tables import customers
from tests.integration import rule_oracle as oracle

SEGMENTS: dict[str, Any] = {
    "germans": {"any": [{"country": "DE"}, {"locale": {"starts_with": "de"}}]},
    "valued": {"all": [{"orders.value": {"gte": 10}}, {"not": {"segment": "germans"}}]},
}


def subset(**options: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """One or two of these comparisons."""
    names = st.lists(st.sampled_from(sorted(options)), min_size=1, max_size=2, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: options[name] for name in chosen}))


def windowed(
    comparison: st.SearchStrategy[dict[str, Any]], **more: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(comparison, st.fixed_dictionaries(more, optional={"within": durations})).map(
        lambda pair: pair[0] | pair[1]
    )


durations = st.sampled_from([f"{days}d" for days in oracle.DAYS])
texts = st.sampled_from([*oracle.TEXTS, *oracle.LOCALES])
parts = st.sampled_from([text for text in oracle.TEXTS if text] + ["a", "s", "D", "ـ"])
words = st.lists(texts, min_size=1, max_size=4)
text_comparisons = texts | subset(
    eq=texts, ne=texts, **{"in": words}, not_in=words, starts_with=parts, contains=parts, exists=st.booleans()
)
numbers = st.sampled_from(oracle.NUMBERS)
scalars = texts | numbers | st.booleans()
attribute_comparisons = scalars | subset(
    eq=scalars,
    ne=scalars,
    **{"in": st.lists(scalars, min_size=1, max_size=5)},
    not_in=st.lists(scalars, min_size=1, max_size=5),
    gt=numbers,
    gte=numbers,
    lt=numbers,
    lte=numbers,
    starts_with=parts,
    contains=parts,
    exists=st.booleans(),
)


def bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return subset(**dict.fromkeys(("eq", "ne", "gt", "gte", "lt", "lte"), values))


counts = bounds(st.integers(0, 4))
amounts = st.sampled_from([0, 9.99, 10, 10.01, 10.005, 100, 100.1, 1e12])
contents = [
    windowed(subset(eq=st.sampled_from(pool), **{"in": st.lists(st.sampled_from(pool), min_size=1)}))
    for pool in (oracle.CATEGORIES, oracle.SKUS)
]
stages = st.sampled_from(["never_purchased", "new", "active", "loyal", "at_risk", "lapsed", "reactivated"])
stage_lists = st.lists(stages, min_size=1, max_size=3)
kinds = st.sampled_from(oracle.KINDS)


def keyed(key: str, body: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return body.map(lambda value: {key: value})


leaves = st.one_of(
    *(
        keyed(name, text_comparisons)
        for name in (
            "customer_id",
            "first_name",
            "last_name",
            "locale",
            "language",
            "timezone",
            "country",
            "city",
        )
    ),
    *(keyed(f"attributes.{name}", attribute_comparisons) for name in oracle.ATTRIBUTES),
    keyed("orders.count", st.integers(0, 4) | windowed(counts)),
    keyed("orders.value", windowed(bounds(amounts))),
    keyed("orders.first", subset(within=durations, before=durations)),
    keyed("orders.last", subset(within=durations, before=durations)),
    keyed("orders.category", contents[0]),
    keyed("orders.sku", contents[1]),
    keyed("lifecycle", stages | subset(eq=stages, ne=stages, **{"in": stage_lists}, not_in=stage_lists)),
    keyed(
        "event",
        st.sampled_from(oracle.EVENTS)
        | st.fixed_dictionaries(
            {"name": st.sampled_from(oracle.EVENTS)},
            optional={"count": counts | st.integers(0, 3), "within": durations},
        ),
    ),
    keyed(
        "consent",
        kinds
        | st.fixed_dictionaries(
            {"kind": kinds}, optional={"purpose": st.sampled_from(["marketing", "transactional"])}
        ),
    ),
    *(
        keyed(survey, answers | windowed(bounds(answers)))
        for survey, answers in ((name, st.sampled_from(scores)) for name, scores in oracle.SCORES.items())
    ),
    keyed("reachable", kinds),
    keyed("open_complaint", st.booleans()),
    keyed(
        "sample",
        st.sampled_from(["0%", "10%", "50%", "100%"])
        | st.fixed_dictionaries({"share": st.just("33.3%"), "salt": texts}),
    ),
    keyed("segment", st.sampled_from(sorted(SEGMENTS))),
)
rules = st.recursive(
    leaves,
    lambda inside: st.one_of(
        keyed("all", st.lists(inside, min_size=1, max_size=3)),
        keyed("any", st.lists(inside, min_size=1, max_size=3)),
        keyed("not", inside),
    ),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), written=st.lists(rules, min_size=12, max_size=30))
def test_sql_selects_whom_a_plain_evaluation_selects(
    database: Database, seed: int, written: list[dict[str, Any]]
) -> None:
    population = oracle.populate(seed)
    context = RuleContext(
        oracle.LATE,
        oracle.THRESHOLDS,
        oracle.SECRET,
        {name: Rule.model_validate(rule) for name, rule in SEGMENTS.items()},
    )
    parsed = [Rule.model_validate(rule) for rule in written]
    with database.write() as connection:
        oracle.store(connection, population)
        for moment in (
            context,
            replace(context, rollup=False),
            replace(context, as_of=oracle.EARLY),
            replace(context, rollup=False, as_of=oracle.EARLY),
        ):
            judge = oracle.Oracle(population, moment.as_of, SEGMENTS)
            conditions = [
                compile_rule(rule, moment).label(f"rule_{number}") for number, rule in enumerate(parsed)
            ]
            found = {
                row.id: [bool(matched) for matched in row[1:]]
                for row in connection.execute(select(customers.c.id, *conditions).select_from(PEOPLE))
            }
            for number, rule in enumerate(written):
                selected = {who for who, matched in found.items() if matched[number]}
                expected = {person.id for person in population.people if judge.matches(rule, person)}
                assert selected == expected, (rule, moment.rollup, moment.as_of)
            statement = audience_statement(parsed[0], moment)
            assert set(connection.scalars(statement)) == {who for who, matched in found.items() if matched[0]}
