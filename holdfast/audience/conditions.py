"""What stands to the right of a rule's key: values and comparisons, as frozen models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from holdfast.audience.lifecycle import Stage
from holdfast.units import Duration, Share

_INT64 = 2**63 - 1


def names(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """(name in Python, key as written) of each field."""
    return ((name, field.alias or name) for name, field in model.model_fields.items())


def keys(model: type[BaseModel]) -> list[str]:
    """The keys as written."""
    return [key for _, key in names(model)]


def forbid_null(schema: JsonSchemaValue) -> None:
    """Says of a schema's keys that they may be left out, where pydantic says that they may be null."""
    for name, field in schema["properties"].items():
        if "anyOf" in field:
            options = [option for option in field.pop("anyOf") if option != {"type": "null"}]
            field.pop("default", None)
            schema["properties"][name] = {
                **field,
                **(options[0] if len(options) == 1 else {"anyOf": options}),
            }


# --- values ---------------------------------------------------------------------------------------


def _storable(text: str) -> str:
    # PostgreSQL can neither store nor compare it.
    if "\0" in text:
        raise PydanticCustomError("text", "text with a NUL character; expected plain text")
    return text


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", "not a number; expected one like 5 or 2.5")
    if (isinstance(value, int) and abs(value) > _INT64) or not math.isfinite(value):
        raise PydanticCustomError("number", "a number out of range; expected 64 bits at most")
    return int(value) if isinstance(value, int) else float(value)


def _scalar(value: Any) -> str | int | float | bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return _number(value)
    if len(value) > 1000 or (not value.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in value)):
        raise PydanticCustomError("text", "text that is too long or broken; expected at most 1000 characters")
    return _storable(str(value))


def _amount(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticCustomError("amount", "not an amount; expected a number like 100 or 49.90")
    return value


Text = Annotated[str, StringConstraints(strict=True, max_length=1000), AfterValidator(_storable)]
Part = Annotated[Text, StringConstraints(min_length=1)]
Word = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]
Scalar = Annotated[
    str | int | float | bool,
    PlainValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
NpsScore = Annotated[int, Field(strict=True, ge=0, le=10)]
CsatScore = Annotated[int, Field(strict=True, ge=1, le=5)]
Amount = Annotated[
    Decimal,
    BeforeValidator(_amount),
    Field(ge=0, le=10**12, allow_inf_nan=False),
    WithJsonSchema({"type": "number", "minimum": 0}),
]


# --- conditions -----------------------------------------------------------------------------------


class _Condition(BaseModel):
    """What stands to the right of a rule's key. A plain value is short for its most used key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shorthand: ClassVar[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        if isinstance(value, cls | Mapping):
            return value
        if isinstance(value, list | tuple) and "in_" in cls.model_fields:
            raise PydanticCustomError("comparison", "a bare list; expected {in: [...]}")
        if cls.shorthand is None or value is None:
            expected = ", ".join(keys(cls))
            raise PydanticCustomError(
                "comparison",
                "nothing to compare with; expected a mapping of {expected}",
                {"expected": expected},
            )
        return {cls.shorthand: value}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        mapping = handler.resolve_ref_schema(schema)
        forbid_null(mapping)
        if cls.shorthand is None:
            return schema
        return {"anyOf": [mapping["properties"][cls.shorthand], schema]}


class _Comparison(_Condition):
    """Comparisons that must all hold, beside keys that narrow what is compared."""

    narrowing: ClassVar[frozenset[str]] = frozenset({"within"})

    @property
    def comparisons(self) -> tuple[tuple[str, Any], ...]:
        """(name as written, operand) of each comparison, in the order of the model."""
        return tuple(
            (key, getattr(self, name))
            for name, key in names(type(self))
            if name not in self.narrowing and getattr(self, name) is not None
        )

    @model_validator(mode="after")
    def _compares(self) -> Self:
        if not self.comparisons:
            known = ", ".join(key for name, key in names(type(self)) if name not in self.narrowing)
            raise PydanticCustomError(
                "comparison", "nothing to compare with; expected one of {known}", {"known": known}
            )
        return self


class TextComparison(_Comparison):
    """Comparisons of text, exact in case and accents."""

    shorthand: ClassVar[str | None] = "eq"

    eq: Text | None = None
    ne: Text | None = None
    in_: list[Text] | None = Field(None, alias="in", min_length=1, max_length=1000)
    not_in: list[Text] | None = Field(None, min_length=1, max_length=1000)
    starts_with: Part | None = None
    contains: Part | None = None
    exists: bool | None = Field(None, strict=True, description="Whether there is a value at all.")


class AttributeComparison(_Comparison):
    """Comparisons of a custom attribute. A value of another type is never equal, smaller or greater."""

    shorthand: ClassVar[str | None] = "eq"

    eq: Scalar | None = None
    ne: Scalar | None = None
    in_: list[Scalar] | None = Field(None, alias="in", min_length=1, max_length=1000)
    not_in: list[Scalar] | None = Field(None, min_length=1, max_length=1000)
    gt: Number | None = None
    gte: Number | None = None
    lt: Number | None = None
    lte: Number | None = None
    starts_with: Part | None = None
    contains: Part | None = None
    exists: bool | None = Field(None, strict=True, description="Whether there is a value at all.")


class CountComparison(_Comparison):
    """Comparisons of a number of things."""

    shorthand: ClassVar[str | None] = "eq"

    eq: Count | None = None
    ne: Count | None = None
    gt: Count | None = None
    gte: Count | None = None
    lt: Count | None = None
    lte: Count | None = None


class OrderCount(CountComparison):
    """How many qualifying orders."""

    within: Duration | None = Field(None, description="Only orders of this long before the as-of time.")


class OrderValue(_Comparison):
    """The sum of qualifying orders, in major units of the business's currency."""

    eq: Amount | None = None
    ne: Amount | None = None
    gt: Amount | None = None
    gte: Amount | None = None
    lt: Amount | None = None
    lte: Amount | None = None
    within: Duration | None = Field(None, description="Only orders of this long before the as-of time.")


class OrderMoment(_Comparison):
    """How long ago an order was. Nobody without an order matches."""

    narrowing: ClassVar[frozenset[str]] = frozenset()

    within: Duration | None = Field(None, description="Less than this long before the as-of time.")
    before: Duration | None = Field(None, description="This long before the as-of time, or longer.")


class OrderContent(_Comparison):
    """What a line of a qualifying order was of."""

    shorthand: ClassVar[str | None] = "eq"

    eq: Text | None = None
    in_: list[Text] | None = Field(None, alias="in", min_length=1, max_length=1000)
    within: Duration | None = Field(None, description="Only orders of this long before the as-of time.")


class StageComparison(_Comparison):
    """Comparisons of the lifecycle stage."""

    shorthand: ClassVar[str | None] = "eq"

    eq: Stage | None = None
    ne: Stage | None = None
    in_: list[Stage] | None = Field(None, alias="in", min_length=1)
    not_in: list[Stage] | None = Field(None, min_length=1)


class EventCondition(_Condition):
    """An event the customer performed, at least once unless `count` says otherwise."""

    shorthand: ClassVar[str | None] = "name"

    name: Part
    count: CountComparison = CountComparison.model_validate({"gte": 1})
    within: Duration | None = Field(None, description="Only events of this long before the as-of time.")


class SurveyAnswer(_Comparison):
    """Comparisons of the latest answer to a survey. Nobody without one matches, but by `ne`."""

    shorthand: ClassVar[str | None] = "eq"

    within: Duration | None = Field(None, description="Only answers of this long before the as-of time.")


class NpsAnswer(SurveyAnswer):
    """The latest answer from 0 to 10, whether they would recommend the brand."""

    eq: NpsScore | None = None
    ne: NpsScore | None = None
    gt: NpsScore | None = None
    gte: NpsScore | None = None
    lt: NpsScore | None = None
    lte: NpsScore | None = None


class CsatAnswer(SurveyAnswer):
    """The latest answer from 1 to 5, how satisfied they are."""

    eq: CsatScore | None = None
    ne: CsatScore | None = None
    gt: CsatScore | None = None
    gte: CsatScore | None = None
    lt: CsatScore | None = None
    lte: CsatScore | None = None


class ConsentCondition(_Condition):
    """What the customer permits: the latest word on this kind of channel and purpose."""

    shorthand: ClassVar[str | None] = "kind"

    kind: Word
    purpose: Literal["marketing", "transactional"] = "marketing"
    pending: bool = Field(
        False, strict=True, description="A yes to marketing that waits for a letter to confirm it by."
    )

    @model_validator(mode="after")
    def _is_of_marketing(self) -> Self:
        if self.pending and self.purpose != "marketing":
            raise PydanticCustomError(
                "consent",
                "only a yes to marketing waits to be confirmed; expected no `purpose` beside `pending`",
            )
        return self


class Sample(_Condition):
    """The same share of customers at any time. A smaller sample lies inside a larger one of the same salt."""

    shorthand: ClassVar[str | None] = "share"

    share: Share
    salt: Text = Field("", description="Another text draws other customers.")
