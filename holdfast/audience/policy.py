"""When a message may go out and when it is tried again, as pure functions."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from holdfast.units import DailyWindow

MAX_ATTEMPTS = 6
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=1)
_LONGEST_ASKED = timedelta(days=1)
_FIRST_REST = timedelta(milliseconds=250)
_LONGEST_REST = timedelta(minutes=10)


def next_try(attempts: int, after: timedelta | None, now: datetime) -> datetime | None:
    """When a message that the provider did not take is tried again; None: give up.

    `attempts` counts the calls so far (at least 1); `after` is what the provider asked for, and is
    honoured where it is longer than our own doubling pause (30 s, 1 min, 2 min … at most 1 h), up to a day.
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    pause = min(_FIRST_PAUSE * (1 << (attempts - 1)), _LONGEST_PAUSE)
    return now + max(pause, min(after or timedelta(), _LONGEST_ASKED))


def pause_after(failed: int) -> timedelta:
    """How long a channel is left alone after so many failed calls in a row, at least 1.

    A quarter of a second at first, doubling, at most ten minutes: a server that restarts is waited for, one
    that is gone is not knocked at all night.
    """
    return min(_FIRST_REST * (1 << min(failed - 1, 20)), _LONGEST_REST)


def opening(window: DailyWindow, zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    """The opening of the window that is open at `now` or comes next: (opens_at, closes_at), half-open, aware.

    Computed on the zone's own calendar, so that the window keeps its local hours over a clock change. An
    hour that a clock change skips opens when it would have been.
    """
    today = now.astimezone(zone).date()
    for offset in (-1, 0, 1, 2):
        day = today + timedelta(days=offset)
        closing_day = day if window.closes > window.opens else day + timedelta(days=1)
        opens_at = datetime.combine(day, window.opens, zone)
        closes_at = datetime.combine(closing_day, window.closes, zone)
        # Aware datetimes of one zone compare by wall clock: compare instants.
        if closes_at.timestamp() > now.timestamp() and closes_at.timestamp() > opens_at.timestamp():
            return opens_at, closes_at
    raise AssertionError("a daily window opens within two days")


def zone_of(timezone: str | None, country: str | None, business: str) -> ZoneInfo:
    """The customer's zone; where it is unknown their country's middle one, else the business's."""
    for name in (timezone, _country_zones().get((country or "").upper()), business):
        if name:
            try:
                return ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                continue
    return ZoneInfo("UTC")


@cache
def _country_zones() -> dict[str, str]:
    """Country code -> the middle one of its zones from west to east, so that the error is least."""
    table = resources.files("tzdata.zoneinfo").joinpath("zone.tab").read_text(encoding="utf-8")
    zones: dict[str, list[str]] = {}
    for line in table.splitlines():
        if not line.startswith("#"):
            country, _, zone, *_ = line.split("\t")
            zones.setdefault(country, []).append(zone)
    return {country: sorted(names, key=_winter_offset)[len(names) // 2] for country, names in zones.items()}


def _winter_offset(zone: str) -> tuple[timedelta, str]:
    return datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)).utcoffset() or timedelta(), zone
