"""Small values that people write in files, with their types: durations, shares, windows, schedules.

Each is a pydantic annotated type whose JSON Schema is the text form that people write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from email.utils import parseaddr
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError

from holdfast.mistakes import closest

_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=36_500)
_DURATION = re.compile(r"(\d{1,6})(s|min|h|d|w)")
_RATE = re.compile(r"(\d{1,9})\s*/\s*(s|min|h)")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)\s*%")
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)")


def parse_duration(value: Any) -> timedelta:
    """`14d`, `6h`, `90min`, `30s`, `2w`."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError(
            "duration", "not a duration; expected a number and s, min, h, d or w, like 14d"
        )
    duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if duration > _LONGEST:
        # Counted back from any as-of time, it stays within the calendar.
        raise PydanticCustomError("duration", "longer than a century; expected at most 36500d")
    return duration


def check_timeout(value: timedelta) -> timedelta:
    """A duration that gives the other side some time."""
    if value <= timedelta():
        raise PydanticCustomError("timeout", "no time at all; expected a duration like 60s")
    return value


def format_duration(value: timedelta) -> str:
    """The shortest text that parses to the same duration: `14d`, `90min`."""
    seconds = int(value.total_seconds())
    for suffix, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds and seconds % size == 0 and (suffix != "w" or seconds >= 4 * size):
            return f"{seconds // size}{suffix}"
    return f"{seconds}s"


def parse_rate(value: Any) -> float:
    """`600/s`, `90/min`, `1000/h`, as messages a second."""
    if isinstance(value, float) and value > 0:
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise PydanticCustomError(
            "rate", "not a rate; expected a number of messages a s, min or h, like 600/min"
        )
    return int(match[1]) / timedelta(**{_UNITS[match[2]]: 1}).total_seconds()


def format_rate(value: float) -> str:
    """The text that parses to the same rate: `10/s`, `90/min`, `1000/h`."""
    for suffix, seconds in (("s", 1), ("min", 60)):
        if abs(value * seconds - round(value * seconds)) < 1e-6:
            return f"{round(value * seconds)}/{suffix}"
    return f"{max(round(value * 3_600), 1)}/h"


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
        raise PydanticCustomError(
            "window", "a window that opens and closes at once; leave it out for the whole day"
        )
    return window


def check_zone(value: str) -> str:
    """An IANA time zone: `Europe/Berlin`."""
    try:
        ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        raise PydanticCustomError(
            "zone",
            "not a time zone; expected a name like Europe/Berlin",
            {"suggestion": closest(value, available_timezones())},
        ) from None
    return value


def check_cron(value: str) -> str:
    """Five cron fields: `0 9 * * MON`."""
    try:
        if len(value.split()) != 5:
            raise CronSimError
        CronSim(value, datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError:
        raise PydanticCustomError(
            "cron",
            "not a schedule; expected minute, hour, day, month and weekday that exist, like 0 9 * * MON",
        ) from None
    return value


def check_mailbox(value: str) -> str:
    """A name and an email address: `Acme <hello@acme.example>`."""
    local, at, domain = parseaddr(value)[1].rpartition("@")
    if not (local and at and domain) or not value.isprintable():
        raise PydanticCustomError("mailbox", "not a mailbox; expected one like Acme <hello@acme.example>")
    return value


def check_web_address(value: str) -> str:
    """An absolute http or https address, without a slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise PydanticCustomError(
            "web_address", "not a web address; expected one like https://r.acme.example"
        )
    return value.rstrip("/")


def one_or_more(value: Any) -> Any:
    """A single value as a list of it; None as an empty one."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


class _Either:
    """In JSON Schema: the item itself, or the list."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


_Any = TypeVar("_Any")
OneOrMore = Annotated[tuple[_Any, ...], BeforeValidator(one_or_more), _Either()]
"""A setting that is one value, or a list. Of keys and tokens a list is for changing over: any of them is
believed, so that nothing is lost. The first is the one that we use ourselves. None is none."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
TimeZone = Annotated[str, AfterValidator(check_zone)]
Cron = Annotated[str, AfterValidator(check_cron)]
Mailbox = Annotated[str, AfterValidator(check_mailbox)]
ProjectPath = Annotated[str, StringConstraints(pattern=r"^\w[\w .()+-]*(/\w[\w .()+-]*)*$", max_length=200)]
"""A file inside a folder of the project: no way leads out of it, and its name can stand in a header."""
WebAddress = Annotated[str, AfterValidator(check_web_address)]
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,6}(s|min|h|d|w)$", "examples": ["14d", "6h"]}),
]
Timeout = Annotated[Duration, AfterValidator(check_timeout)]
Rate = Annotated[
    float,
    BeforeValidator(parse_rate),
    PlainSerializer(format_rate, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,9}\s*/\s*(s|min|h)$", "examples": ["600/min"]}),
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
