"""What pydantic says of a file's data, in people's words and with the place in the data."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]
"""Where a value is: the keys and indexes from the top, like `("steps", 0, "channels", 1)`."""

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "decimal_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "{min_length} or more items",
    "too_long": "at most {max_length} items",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}
_PATTERNS = {
    r"^[a-z][a-z0-9_-]{0,62}$": "small letters, digits, - and _, a letter first",
    r"^[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*$": "a language, like en or ar-EG",
    r"^\w[\w-]*(/\w[\w-]*)*$": "a path under templates/, like winback/hello",
    r"^[A-Z]{3}$": "three capital letters, like EUR",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that a model refused.

    `inside` is `place`, but for a missing key: there it is where the key would be, and `place` what should
    hold it. `of_union`: only one of several alternatives said so.
    """

    kind: str
    place: Place
    inside: Place
    what: str
    expected: str = ""
    suggestion: str = ""
    at_key: bool = False
    of_union: bool = False


def mistakes(error: ValidationError, model: type[BaseModel], data: Any, at: Place = ()) -> list[Mistake]:
    """What is wrong with the data, each thing once, in the order of the model; `at` is where the data is."""
    found = [
        _mistake(details, model, data, at)
        for details in error.errors(include_url=False)
        # Items that were refused themselves are not counted: that is not one mistake more.
        if details["type"] != "too_short" or not details["input"]
    ]
    # Each alternative of a union says why it is not the one: the one that got furthest was meant.
    found = [
        one
        for one in found
        if not (one.of_union and any(_holds(one.inside, other.inside) for other in found))
    ]
    # A misspelt key is one mistake, not an unknown key and a missing one.
    meant = {(*one.place[:-1], one.suggestion) for one in found if one.suggestion and one.at_key}
    merged: dict[tuple[Place, str], Mistake] = {}
    for one in found:
        if one.kind == "missing" and one.inside in meant:
            continue
        key = (one.inside, "" if one.of_union else one.what)
        same = merged.setdefault(key, one)
        if one.expected not in same.expected:
            merged[key] = replace(same, expected=f"{same.expected} or {one.expected}")
    return list(merged.values())


def closest(word: str, choices: Iterable[str]) -> str:
    """The choice that `word` was probably meant to be, or an empty string."""
    by_folded = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return by_folded[found[0]] if found else ""


def children(value: Any) -> Iterable[tuple[str | int, Any]]:
    """(key or index, value) of what is directly inside a mapping or list; nothing inside anything else."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _holds(place: Place, other: Place) -> bool:
    return len(place) < len(other) and other[: len(place)] == place


def _mistake(details: ErrorDetails, model: type[BaseModel], data: Any, at: Place) -> Mistake:
    kind, location, value = details["type"], details["loc"], details["input"]
    context = details.get("ctx", {})
    within = _place(location, data)
    place = (*at, *within)
    if kind == "missing":
        holder = f" in {_name(place)}" if place else ""
        what = f"`{location[-1]}` is missing{holder}"
        return Mistake(kind, place, (*place, location[-1]), what, of_union=len(within) < len(location) - 1)
    if kind == "extra_forbidden":
        known = _keys_at(model, location[:-1], data)
        suggestion = closest(str(place[-1]), known)
        expected = "" if suggestion else _either(sorted(known))
        return Mistake(kind, place, place, f"unknown key `{place[-1]}`", expected, suggestion, at_key=True)
    at_key = location[-1:] == ("[key]",)
    what, expected, suggestion = f"{_name(place)} is {_described(value)}", "", ""
    if kind in _EXPECTED:
        expected = _EXPECTED[kind].format(**context)
    elif kind == "string_pattern_mismatch":
        what = f"{_name(place)} is not well formed"
        expected = _PATTERNS.get(context["pattern"], f"text like {context['pattern']}")
    elif kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", context["expected"])
        expected = _either(choices)
        if isinstance(value, str):
            what, suggestion = f"{_name(place)} cannot be {value!r}", closest(value, choices)
    else:
        message, _, expected = details["msg"].removeprefix("Value error, ").partition("; expected ")
        what = f"{_name(place)} is {message}" if message.startswith("not ") else f"{_name(place)}: {message}"
        suggestion = context.get("suggestion", "")
    of_union = len(within) < len(location) - at_key
    return Mistake(kind, place, place, what, expected, suggestion, at_key, of_union)


def _place(location: Place, data: Any) -> Place:
    """pydantic's location without what is not in the file: names of a union's alternatives, `[key]`."""
    place: list[str | int] = []
    for part in location:
        inside = dict(children(data))
        if part in inside:
            place.append(part)
            data = inside[part]
    return tuple(place)


def _name(place: Place) -> str:
    if not place:
        return "the file"
    last = place[-1]
    return f"`{last}`" if isinstance(last, str) else f"item {last + 1} of {_name(place[:-1])}"


def _described(value: Any) -> str:
    # Text is not quoted here: what stands where another type belongs may be a secret.
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "empty" if value is None else "text"


def _either(choices: list[str]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if choices[1:] else choices)


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _keys_at(model: type[BaseModel], location: Place, data: Any) -> set[str]:
    """The keys that the model knows at pydantic's location: of the alternative of a union that it names, else
    over all alternatives."""
    schema = _schema(model)

    def unfolded(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            yield node
            yield from unfolded(schema.get("$defs", {}).get(node.get("$ref", "").rpartition("/")[2]))
            for alternative in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
                yield from unfolded(alternative)

    nodes = list(unfolded(schema))
    for part in location:
        inside = dict(children(data))
        if part in inside:
            data = inside[part]
            nodes = [found for node in nodes for found in unfolded(_child(node, part))]
        elif part in schema.get("$defs", {}):
            nodes = list(unfolded(schema["$defs"][part]))
    return {key for node in nodes for key in node.get("properties", {})}


def _child(node: dict[str, Any], part: str | int) -> Any:
    if isinstance(part, int):
        return node.get("items")
    if part in node.get("properties", {}):
        return node["properties"][part]
    for pattern, child in node.get("patternProperties", {}).items():
        if re.search(pattern, part):
            return child
    return node.get("additionalProperties")
