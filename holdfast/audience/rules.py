"""The rule language of segments and audiences, as a frozen model.

A rule is a mapping with exactly one key: a combination (`all`, `any`, `not`, `segment`), a profile field or
`attributes.<name>` with a comparison, or a condition on what the customer did or permitted. Rules are
two-valued: a missing value matches `exists: false`, `ne` and `not_in` alone, and `not` always turns round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from holdfast.audience.conditions import (
    AttributeComparison,
    ConsentCondition,
    CsatAnswer,
    EventCondition,
    NpsAnswer,
    OrderContent,
    OrderCount,
    OrderMoment,
    OrderValue,
    Sample,
    StageComparison,
    TextComparison,
    Word,
    forbid_null,
    keys,
    names,
)
from holdfast.errors import HoldfastError

MAX_DEPTH = 20
MAX_RULES = 300
_EMPTY = PydanticCustomError("empty", "not given a value; expected one")
ATTRIBUTE_KEY = re.compile(r"attributes\.([^\W\d][\w -]{0,62})")


class Rule(BaseModel):
    """One condition on a customer, by its one key."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, AttributeComparison] = Field(init=False)

    all_: list[Rule] | None = Field(None, alias="all", min_length=1, max_length=100)
    any_: list[Rule] | None = Field(None, alias="any", min_length=1, max_length=100)
    not_: Rule | None = Field(None, alias="not")
    segment: Word | None = Field(None, description="A rule of segments.yaml, by its name.")
    sample: Sample | None = None
    customer_id: TextComparison | None = None
    first_name: TextComparison | None = None
    last_name: TextComparison | None = None
    locale: TextComparison | None = None
    language: TextComparison | None = Field(None, description="The locale's first part: `ar` of `ar-EG`.")
    timezone: TextComparison | None = None
    country: TextComparison | None = None
    city: TextComparison | None = None
    orders_count: OrderCount | None = Field(None, alias="orders.count")
    orders_value: OrderValue | None = Field(None, alias="orders.value")
    orders_first: OrderMoment | None = Field(None, alias="orders.first")
    orders_last: OrderMoment | None = Field(None, alias="orders.last")
    orders_category: OrderContent | None = Field(None, alias="orders.category")
    orders_sku: OrderContent | None = Field(None, alias="orders.sku")
    lifecycle: StageComparison | None = None
    event: EventCondition | None = None
    nps: NpsAnswer | None = None
    csat: CsatAnswer | None = None
    consent: ConsentCondition | None = None
    reachable: Word | None = Field(None, description="A kind of channel: has an address, not suppressed.")
    open_complaint: bool | None = Field(None, strict=True, description="Whether they have an open case.")

    @property
    def key(self) -> str:
        """The one key, as written: `all`, `orders.count`, `attributes.plan`."""
        return next(iter(self._conditions))

    @property
    def condition(self) -> Any:
        """What stands to the right of the key."""
        return next(iter(self._conditions.values()))

    @property
    def parts(self) -> list[Rule]:
        """The rules directly inside this one; a segment's rule is not."""
        if self.not_ is not None:
            return [self.not_]
        return self.all_ or self.any_ or []

    @property
    def _conditions(self) -> dict[str, Any]:
        known = {key: getattr(self, name) for name, key in names(Rule) if getattr(self, name) is not None}
        return {**known, **(self.__pydantic_extra__ or {})}

    @model_validator(mode="before")
    @classmethod
    def _one_known_key(cls, value: Any) -> Any:
        if isinstance(value, Rule):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "rule", "not a rule; expected a mapping with one key, like {country: DE}"
            )
        known = set(keys(cls))
        wrong = [
            InitErrorDetails(type="extra_forbidden", loc=(str(key),), input=value[key])
            for key in value
            if key not in known and not ATTRIBUTE_KEY.fullmatch(str(key))
        ] or [InitErrorDetails(type=_EMPTY, loc=(key,), input=None) for key in value if value[key] is None]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        if len(value) != 1:
            what = "several conditions in one rule" if value else "an empty rule"
            raise PydanticCustomError(
                "rule", "{what}; expected one key; put several rules in a list under `all`", {"what": what}
            )
        return value

    @model_validator(mode="after")
    def _not_too_deep(self) -> Self:
        if _depth(self) > MAX_DEPTH:
            raise PydanticCustomError(
                "rule", "rules nested too deeply; expected {limit} levels at most", {"limit": MAX_DEPTH}
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        mapping = handler.resolve_ref_schema(schema)
        forbid_null(mapping)
        attribute = mapping.pop("additionalProperties")
        mapping["patternProperties"] = {r"^attributes\.[^\W\d][\w -]{0,62}$": attribute}
        mapping |= {"additionalProperties": False, "minProperties": 1, "maxProperties": 1}
        return schema


def inner(rule: Rule, segments: Mapping[str, Rule], within: tuple[str, ...] = ()) -> list[Rule]:
    """The rules directly inside this one, a named segment's rule among them.

    `within` names the segments that lead here. Raises HoldfastError for an unknown segment or a circle.
    """
    if rule.segment is None:
        return rule.parts
    if rule.segment not in segments:
        raise HoldfastError(f"there is no segment {rule.segment!r}", hint="define it in segments.yaml")
    if rule.segment in within:
        raise HoldfastError(
            f"segment {rule.segment!r} refers to itself: {' -> '.join((*within, rule.segment))}",
            hint="break the circle in segments.yaml",
        )
    return [segments[rule.segment]]


def walk(rule: Rule, segments: Mapping[str, Rule]) -> Iterator[tuple[int, Rule]]:
    """(depth, rule) of the rule and everything inside it, segments' rules too, in the order of writing.

    Raises HoldfastError for an unknown segment, a circle of them, or more than MAX_RULES rules in all.
    """
    stack: list[tuple[int, Rule, tuple[str, ...]]] = [(0, rule, ())]
    count = 0
    while stack:
        depth, current, within = stack.pop()
        count += 1
        if count > MAX_RULES:
            raise HoldfastError(
                f"a rule of more than {MAX_RULES} rules", hint="its segments repeat one another"
            )
        yield depth, current
        inside = inner(current, segments, within)
        if current.segment is not None:
            within = (*within, current.segment)
        stack.extend((depth + 1, part, within) for part in reversed(inside))


def _depth(rule: Rule) -> int:
    return 1 + max((_depth(part) for part in rule.parts), default=0)
