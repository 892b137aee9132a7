"""Small values that people write in files, with their types: durations, shares, daily windows.

Each is a pydantic annotated type whose JSON Schema is the text form that people write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d{1,6})(s|min|h|d|w)")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)\s*%")
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)")


def parse_duration(value: Any) -> timedelta:
    """`14d`, `6h`, `90min`, `30s`, `2w`."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("duration", "not a duration; expected a number and s, min, h, d or w, like 14d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def format_duration(value: timedelta) -> str:
    """The shortest text that parses to the same duration: `14d`, `90min`."""
    seconds = int(value.total_seconds())
    for suffix, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds and seconds % size == 0 and (suffix != "w" or seconds >= 4 * size):
            return f"{seconds // size}{suffix}"
    return f"{seconds}s"


def parse_share(value: Any) -> float:
    """`10%` as 0.1. A bare number is refused: 10 could be meant either way."""
    if isinstance(value, float) and 0 <= value <= 1:
        return value
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match is None or float(match[1]) > 100:
        raise PydanticCustomError("share", "not a share; expected a percentage from 0% to 100%, like 10%")
    return float(match[1]) / 100


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """The hours of a day, in the customer's own zone, in which messages may go out. `closes` is exclusive.

    A window that ends at or before its start spans midnight; `24:00` is midnight.
    """

    opens: time
    closes: time

    def __str__(self) -> str:
        return f"{self.opens:%H:%M}-{self.closes:%H:%M}"


def parse_window(value: Any) -> DailyWindow:
    """`09:00-20:00`."""
    if isinstance(value, DailyWindow):
        return value
    match = _WINDOW.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match[3] == "24" and match[4] != "00"):
        raise PydanticCustomError("window", "not a window; expected hours of the day, like 09:00-20:00")
    window = DailyWindow(time(int(match[1]), int(match[2])), time(int(match[3]) % 24, int(match[4])))
    if window.opens == window.closes:
        raise PydanticCustomError("window", "a window that opens and closes at once; leave it out for the whole day")
    return window


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,6}(s|min|h|d|w)$", "examples": ["14d", "6h"]}),
]
Share = Annotated[
    float,
    BeforeValidator(parse_share),
    PlainSerializer(lambda value: f"{value * 100:g}%", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,3}(\.\d{1,4})?\s*%$", "examples": ["10%"]}),
]
Window = Annotated[
    DailyWindow,
    BeforeValidator(parse_window),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d\d:\d\d-\d\d:\d\d$", "examples": ["09:00-20:00"]}),
]
