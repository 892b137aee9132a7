"""The rule language: what it takes and refuses, where it says so, its schema, its words, its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError

from holdfast.audience.conditions import AttributeComparison, keys
from holdfast.audience.explain import describe
from holdfast.audience.rules import MAX_DEPTH, MAX_RULES, Rule, walk
from holdfast.documents import Document
from holdfast.errors import HoldfastError

DOCS = Path(__file__).parents[2] / "docs" / "segments.md"

EXAMPLES: list[tuple[dict[str, Any], str]] = [
    ({"country": "DE"}, "country is DE"),
    ({"first_name": {"exists": False}}, "first name is not known"),
    ({"customer_id": {"starts_with": "vip-"}}, "customer id starts with vip-"),
    ({"last_name": {"contains": "son"}}, "last name contains son"),
    ({"locale": {"ne": "ar-EG"}}, "locale is not ar-EG"),
    ({"language": {"in": ["ar", "fa"]}}, "language is one of ar, fa"),
    ({"timezone": {"exists": True}}, "time zone is known"),
    ({"city": {"not_in": ["Berlin", "Köln"]}}, "city is none of Berlin, Köln"),
    ({"attributes.plan": "pro"}, "attribute plan is pro"),
    (
        {"attributes.Größe": {"gt": 170, "lte": 180.5}},
        "attribute Größe is more than 170 and is at most 180.5",
    ),
    ({"attributes.vip": True}, "attribute vip is true"),
    ({"orders.count": 0}, "number of orders is 0"),
    ({"orders.count": {"gte": 2, "within": "90d"}}, "number of orders is at least 2 within 90d"),
    ({"orders.value": {"lt": 49.9}}, "value of orders is less than 49.9"),
    ({"orders.last": {"before": "9d", "within": "18d"}}, "last order less than 18d ago and at least 9d ago"),
    ({"orders.first": {"within": "30d"}}, "first order less than 30d ago"),
    ({"orders.category": {"in": ["tea", "coffee"]}}, "bought from category one of tea, coffee"),
    ({"orders.sku": "A-1"}, "bought product A-1"),
    ({"lifecycle": {"in": ["at_risk", "lapsed"]}}, "lifecycle stage is one of at_risk, lapsed"),
    ({"event": "viewed"}, "number of events 'viewed' is at least 1"),
    (
        {"event": {"name": "viewed", "count": {"gte": 3}, "within": "30d"}},
        "number of events 'viewed' is at least 3 within 30d",
    ),
    ({"nps": 10}, "latest NPS answer is 10"),
    ({"nps": {"lte": 6, "within": "90d"}}, "latest NPS answer is at most 6 within 90d"),
    ({"csat": {"gt": 3, "ne": 5}}, "latest CSAT answer is not 5 and is more than 3"),
    ({"consent": "email"}, "permits marketing by email"),
    ({"consent": {"kind": "sms", "purpose": "transactional"}}, "permits transactional by sms"),
    ({"consent": {"kind": "email", "pending": True}}, "is yet to be asked to confirm marketing by email"),
    ({"reachable": "telegram"}, "reachable by telegram"),
    ({"open_complaint": True}, "has an open complaint"),
    ({"open_complaint": False}, "has no open complaint"),
    ({"sample": "10%"}, "in the 10% sample"),
    ({"sample": {"share": "2.5%", "salt": "spring"}}, "in the 2.5% sample 'spring'"),
    ({"segment": "vip"}, "in segment vip"),
    ({"not": {"country": "DE"}}, "not (country is DE)"),
    (
        {
            "all": [
                {"country": "DE"},
                {"any": [{"city": "Bonn"}, {"not": {"all": [{"locale": "de"}, {"sample": "1%"}]}}]},
            ]
        },
        "country is DE and (city is Bonn or not (locale is de and in the 1% sample))",
    ),
]


class Holder(BaseModel):
    audience: Rule


@pytest.mark.parametrize(("written", "words"), EXAMPLES, ids=[words for _, words in EXAMPLES])
def test_a_rule_reads_as_plain_words(written: dict[str, Any], words: str) -> None:
    assert describe(Rule.model_validate(written)) == words


@pytest.mark.parametrize("written", [written for written, _ in EXAMPLES])
def test_the_schema_takes_what_the_model_takes(written: dict[str, Any]) -> None:
    jsonschema.validate({"audience": written}, Holder.model_json_schema())


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"country": "DE", "city": "Bonn"},
        {"countri": "DE"},
        {"country": None},
        {"country": {"is": "DE"}},
        {"all": []},
    ],
)
def test_the_schema_refuses_what_the_model_refuses(written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate(written)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, Rule.model_json_schema())


REFUSED = [
    ("{countri: DE}", "1:12: unknown key `countri`; did you mean 'country'?"),
    ("{country: {equals: DE}}", "1:22: unknown key `equals`"),
    ("{country: 5}", "1:21: `country` is 5; expected text"),
    ("{country: }", "1:12: `country` is empty"),
    ("{country: {eq: , in: [DE]}}", "1:22: `eq` is empty"),
    ("{country: [DE, AT]}", "1:21: `country`: a bare list; expected {in: [...]}"),
    ("{country: {in: []}}", "1:26: `in` is an empty list"),
    ("{country: {in: [DE, 5]}}", "1:31: item 2 of `in` is 5; expected text"),
    (
        "{country: {}}",
        "1:21: `country`: nothing to compare with"
        "; expected one of eq, ne, in, not_in, starts_with, contains, exists",
    ),
    ('{country: "D\\0"}', "1:21: `country`: text with a NUL character; expected plain text"),
    (
        "{country: DE, city: Bonn}",
        "1:11: `audience`: several conditions in one rule"
        "; expected one key; put several rules in a list under `all`",
    ),
    ("{}", "1:11: `audience`: an empty rule; expected one key; put several rules in a list under `all`"),
    ("everybody", "1:11: `audience` is not a rule; expected a mapping with one key, like {country: DE}"),
    ("{all: []}", "1:17: `all` is an empty list"),
    (
        "{all: [{country: DE}, {orders.last: 30d}]}",
        "1:47: `orders.last`: nothing to compare with; expected a mapping of within, before",
    ),
    (
        "{orders.count: {within: 30d}}",
        "1:26: `orders.count`: nothing to compare with; expected one of eq, ne, gt, gte, lt, lte",
    ),
    ("{orders.count: {gte: two}}", "1:32: `gte` is"),
    ("{orders.count: {gte: true}}", "1:32: `gte` is true; expected a whole number"),
    (
        "{orders.count: {gte: 99999999999999999999}}",
        "1:32: `gte` is 99999999999999999999; expected at most 1000000000",
    ),
    ("{orders.value: {gte: lots}}", "1:32: `gte` is not an amount; expected a number like 100 or 49.90"),
    (
        "{orders.count: {gte: 2, within: 90}}",
        "1:43: `within` is not a duration; expected a number and s, min, h, d or w, like 14d",
    ),
    (
        "{lifecycle: {in: [at_risk, lapset]}}",
        "1:38: item 2 of `in` cannot be 'lapset'"
        "; expected never_purchased, new, active, loyal, at_risk, lapsed or reactivated; did you "
        "mean 'lapsed'?",
    ),
    ("{attributes.plan: {gt: a}}", "1:34: `gt` is not a number; expected one like 5 or 2.5"),
    (
        "{attributes.plan: 99999999999999999999}",
        "1:29: `attributes.plan`: a number out of range; expected 64 bits at most",
    ),
    ('{"attributes.a\'b": 1}', "1:12: unknown key `attributes.a'b`"),
    ("{consent: {purpose: marketing}}", "1:21: `kind` is missing in `consent`"),
    (
        "{consent: {kind: email, purpose: transactional, pending: true}}",
        "1:21: `consent`: only a yes to marketing waits to be confirmed;"
        " expected no `purpose` beside `pending`",
    ),
    ("{nps: {lte: 11}}", "1:23: `lte` is 11; expected at most 10"),
    (
        "{nps: {within: 90d}}",
        "1:17: `nps`: nothing to compare with; expected one of eq, ne, gt, gte, lt, lte",
    ),
    ("{csat: 0}", "1:18: `csat` is 0; expected at least 1"),
    ("{csat: {eq: true}}", "1:23: `eq` is true; expected a whole number"),
    ("{sample: 10}", "1:20: `sample` is not a share; expected a percentage from 0% to 100%, like 10%"),
]


@pytest.mark.parametrize(("written", "problem"), REFUSED, ids=[written for written, _ in REFUSED])
def test_a_mistake_is_one_problem_at_its_place(written: str, problem: str) -> None:
    document = Document("c.yaml", f"audience: {written}\n")
    document.into(Holder)
    [found] = [str(one).splitlines()[0].removeprefix("c.yaml:") for one in document.problems]
    assert found.startswith(problem)


def test_every_mistake_of_a_list_is_reported_at_once() -> None:
    document = Document("c.yaml", "audience: {all: [{country: 5}, {citty: x}, {not: {orders.count: {}}}]}\n")
    document.into(Holder)
    assert [problem.column for problem in sorted(document.problems)] == [28, 33, 65]


def nested(levels: int) -> dict[str, Any]:
    rule: dict[str, Any] = {"country": "DE"}
    for _ in range(levels - 1):
        rule = {"not": rule}
    return rule


def test_rules_nest_so_deep_and_no_deeper() -> None:
    Rule.model_validate(nested(MAX_DEPTH))
    with pytest.raises(ValidationError, match="nested too deeply; expected 20 levels at most"):
        Rule.model_validate(nested(MAX_DEPTH + 1))


def test_a_walk_goes_through_named_segments_in_the_order_of_writing() -> None:
    vip = Rule.model_validate({"any": [{"orders.value": {"gte": 1000}}, {"attributes.vip": True}]})
    rule = Rule.model_validate({"all": [{"segment": "vip"}, {"country": "DE"}]})
    assert [(depth, part.key) for depth, part in walk(rule, {"vip": vip})] == [
        (0, "all"),
        (1, "segment"),
        (2, "any"),
        (3, "orders.value"),
        (3, "attributes.vip"),
        (1, "country"),
    ]


def test_unknown_segments_and_circles_are_named() -> None:
    one = Rule.model_validate({"not": {"segment": "two"}})
    two = Rule.model_validate({"all": [{"segment": "one"}]})
    with pytest.raises(HoldfastError, match="there is no segment 'two'"):
        list(walk(one, {}))
    with pytest.raises(HoldfastError, match="segment 'two' refers to itself: two -> one -> two"):
        list(walk(one, {"one": one, "two": two}))


def test_a_segment_may_be_used_twice_but_not_unfold_without_end() -> None:
    segments = {"s0": Rule.model_validate({"country": "DE"})}
    for level in range(1, 11):
        twice = [{"segment": f"s{level - 1}"}] * 2
        segments[f"s{level}"] = Rule.model_validate({"all": twice})
    assert len(list(walk(segments["s2"], segments))) == 13
    with pytest.raises(HoldfastError, match=f"more than {MAX_RULES} rules"):
        list(walk(segments["s10"], segments))


def test_rules_cannot_be_changed() -> None:
    rule = Rule.model_validate({"country": "DE"})
    with pytest.raises(ValidationError, match="frozen"):
        rule.segment = "vip"  # type: ignore[misc]


def test_every_rule_key_and_comparison_is_documented() -> None:
    text = DOCS.read_text("utf-8")
    schema = Rule.model_json_schema()
    comparisons = {key for model in schema["$defs"].values() for key in model.get("properties", ())}
    documented = {*keys(Rule), "attributes.<name>", *comparisons, *keys(AttributeComparison)}
    assert sorted(key for key in documented if f"`{key}" not in text) == []


def test_every_example_of_the_documentation_is_a_rule() -> None:
    blocks = DOCS.read_text("utf-8").split("```yaml\n")[1:]
    assert len(blocks) > 8
    for block in blocks:
        document = Document("docs/segments.md", block.partition("```")[0])
        rules = document.data if isinstance(document.data, list) else document.data.values()
        for rule in rules:
            Rule.model_validate(rule)
