"""A customer's custom attributes in SQL: JSON that SQLite and PostgreSQL read with the same result.

A value is read as the type it is compared as, and is NULL where it cannot be: text is text alone; a number is
a number or text written as one, like files bring it; true and false likewise. JSON's null is no value.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Integer, Numeric, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator

from holdfast.tables import customers


class Exact(TypeDecorator[Any]):
    """A number compared as it is written: 0.1 is 0.1, also where the database has decimals."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(Numeric() if dialect.name == "postgresql" else NullType())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return Decimal(repr(value)) if dialect.name == "postgresql" and value is not None else value

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self


class _AttributeText(FunctionElement[str]):
    type = Text()
    inherit_cache = True


class _AttributeNumber(FunctionElement[Any]):
    type = Exact()
    inherit_cache = True


class _AttributeTruth(FunctionElement[int]):
    type = Integer()
    inherit_cache = True


class _AttributeType(FunctionElement[str]):
    type = Text()
    inherit_cache = True


class _PositionOf(FunctionElement[int]):
    type = Integer()
    inherit_cache = True


def attribute_text(name: str) -> ColumnElement[str]:
    """The attribute as text."""
    return _AttributeText(customers.c.attributes, literal(name, Text))


def attribute_number(name: str) -> ColumnElement[Any]:
    """The attribute as a number."""
    return _AttributeNumber(customers.c.attributes, literal(name, Text))


def attribute_truth(name: str) -> ColumnElement[int]:
    """The attribute as 1 for true, 0 for false."""
    return _AttributeTruth(customers.c.attributes, literal(name, Text))


def attribute_type(name: str) -> ColumnElement[str]:
    """The attribute's type in JSON's words, which differ by database but for `null`."""
    return _AttributeType(customers.c.attributes, literal(name, Text))


def position_of(part: str, text: ColumnElement[str]) -> ColumnElement[int]:
    """Where the part begins in the text, from 1; 0 where it is not. Exact in case, unlike LIKE on SQLite."""
    return _PositionOf(text, literal(part, Text))


def _arguments(element: FunctionElement[Any], compiler: Any, kwargs: Any) -> list[str]:
    return [compiler.process(clause, **kwargs) for clause in element.clauses]


def _sqlite(element: FunctionElement[Any], compiler: Any, kwargs: Any, what: str) -> str:
    attributes, name = _arguments(element, compiler, kwargs)
    # Not json_extract: before 3.45 it does not find a name that the JSON text writes with escapes.
    return f"(SELECT {what} FROM json_each({attributes}) WHERE key = {name})"  # noqa: S608 - compiled parts


def _postgresql(element: FunctionElement[Any], compiler: Any, kwargs: Any) -> tuple[str, str]:
    attributes, name = _arguments(element, compiler, kwargs)
    return f"jsonb_typeof({attributes} -> CAST({name} AS text))", f"({attributes} ->> CAST({name} AS text))"


@compiles(_AttributeText, "sqlite")
def _text_sqlite(element: Any, compiler: Any, **kwargs: Any) -> str:
    return _sqlite(element, compiler, kwargs, "CASE type WHEN 'text' THEN value END")


@compiles(_AttributeText, "postgresql")
def _text_postgresql(element: Any, compiler: Any, **kwargs: Any) -> str:
    type_, value = _postgresql(element, compiler, kwargs)
    return f"CASE {type_} WHEN 'string' THEN {value} END"


# Text of at most 16 signs: a double tells so many digits apart, so that SQLite's is PostgreSQL's decimal.
@compiles(_AttributeNumber, "sqlite")
def _number_sqlite(element: Any, compiler: Any, **kwargs: Any) -> str:
    return _sqlite(
        element,
        compiler,
        kwargs,
        "CASE type WHEN 'integer' THEN value WHEN 'real' THEN value WHEN 'text' THEN"
        " CASE WHEN length(value) <= 16 AND value GLOB '[-0-9]*' AND value GLOB '*[0-9]'"
        " AND value NOT GLOB '?*[^0-9.]*' AND value NOT GLOB '*.*.*' AND value NOT GLOB '-.*'"
        " THEN CAST(value AS NUMERIC) END END",
    )


@compiles(_AttributeNumber, "postgresql")
def _number_postgresql(element: Any, compiler: Any, **kwargs: Any) -> str:
    type_, value = _postgresql(element, compiler, kwargs)
    return (
        f"CASE {type_} WHEN 'number' THEN CAST({value} AS numeric) WHEN 'string' THEN"
        f" CASE WHEN length({value}) <= 16 AND {value} ~ '^-?[0-9]+(\\.[0-9]+)?$'"
        f" THEN CAST({value} AS numeric) END END"
    )


@compiles(_AttributeTruth, "sqlite")
def _truth_sqlite(element: Any, compiler: Any, **kwargs: Any) -> str:
    return _sqlite(
        element,
        compiler,
        kwargs,
        "CASE type WHEN 'true' THEN 1 WHEN 'false' THEN 0 WHEN 'text' THEN"
        " CASE value WHEN 'true' THEN 1 WHEN 'false' THEN 0 END END",
    )


@compiles(_AttributeTruth, "postgresql")
def _truth_postgresql(element: Any, compiler: Any, **kwargs: Any) -> str:
    type_, value = _postgresql(element, compiler, kwargs)
    return (
        f"CASE WHEN {type_} IN ('boolean', 'string') THEN"
        f" CASE {value} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END END"
    )


@compiles(_AttributeType, "sqlite")
def _type_sqlite(element: Any, compiler: Any, **kwargs: Any) -> str:
    return _sqlite(element, compiler, kwargs, "type")


@compiles(_AttributeType, "postgresql")
def _type_postgresql(element: Any, compiler: Any, **kwargs: Any) -> str:
    return _postgresql(element, compiler, kwargs)[0]


@compiles(_PositionOf, "sqlite")
def _position_sqlite(element: Any, compiler: Any, **kwargs: Any) -> str:
    return "instr({}, {})".format(*_arguments(element, compiler, kwargs))


@compiles(_PositionOf, "postgresql")
def _position_postgresql(element: Any, compiler: Any, **kwargs: Any) -> str:
    return "strpos({}, {})".format(*_arguments(element, compiler, kwargs))
