"""How fast sending goes, over all workers: the next stretch of time for so many messages, given once.

A name ("channel email", "campaign winback") has one row. Whoever is to send n messages at r a second is given
the n / r seconds that follow the stretch before; who comes late is given nothing for the past. The database's
clock judges, so that workers' clocks may differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from math import floor
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, literal, select, update

from holdfast.errors import ChannelResting
from holdfast.store.database import database_now
from holdfast.store.staging import insert_or
from holdfast.tables import UtcTime, from_microseconds, paces

_NEVER = from_microseconds(0)
# After so long without a message, a slow start begins anew.
_PAUSE = timedelta(minutes=1)
SLOW_START_FROM = 0.1
# At once go the messages of a tenth of a second: any second has at most 1.1 times the rate, any ten 1.01.
STRETCHES_A_SECOND = 10
# Less than one a day is a rate that somebody turned off, in messages a second.
_STOPPED_BELOW = 1 / 86_400
_ASK_AGAIN_AFTER = timedelta(minutes=10)
_LONGEST_REST = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for a name; None: nothing does. `rate` is in messages a second; a day is one of `zone`."""

    rate: float | None = None
    per_day: int | None = None
    slow_start: timedelta | None = None
    zone: tzinfo = UTC

    @property
    def is_stopped(self) -> bool:
        """Somebody turned the rate off."""
        return self.rate is not None and self.rate < _STOPPED_BELOW


@dataclass(frozen=True, slots=True)
class Given:
    """How far a name's time has been given away: the columns of `paces`."""

    free_at: datetime = _NEVER
    started_at: datetime = _NEVER
    day: date | None = None
    today: int = 0

    def at(self, now: datetime, limits: Limits) -> Given:
        """The same as the next stretch finds it, which begins at its `free_at`."""
        # Nothing is given so far ahead: the database's clock was set back.
        free_at = self.free_at if self.free_at < now + 2 * _LONGEST_REST else now
        start = max(free_at, now)
        day = start.astimezone(limits.zone).date()
        return Given(
            free_at=start,
            started_at=start if start - free_at >= _PAUSE else min(self.started_at, start),
            day=day,
            today=self.today if self.day == day else 0,
        )

    def rate(self, limits: Limits) -> float | None:
        """The rate in force at `free_at`: in a slow start it climbs from a tenth to the whole."""
        if limits.rate is None or not limits.slow_start:
            return limits.rate
        risen = min((self.free_at - self.started_at) / limits.slow_start, 1.0)
        return limits.rate * (SLOW_START_FROM + (1 - SLOW_START_FROM) * risen)

    def most(self, limits: Limits) -> int | None:
        """The most messages that may go at once at `free_at`, at least 1; None: any number."""
        rate = self.rate(limits)
        at_once = None if rate is None else floor(rate / STRETCHES_A_SECOND)
        left = None if limits.per_day is None else limits.per_day - self.today
        known = [number for number in (at_once, left) if number is not None]
        return max(min(known), 1) if known else None


class Stretch(NamedTuple):
    """The turn of `n` messages: it begins after `wait` and gives each so many seconds."""

    wait: timedelta
    n: int
    seconds_each: float


def advance(
    name: str, given: Given, limits: Limits, n: int, least: int, now: datetime, patience: timedelta
) -> tuple[Stretch, Given]:
    """The next stretch for n messages, or fewer that may go at once, but `least`; and what is given then.

    Raises ChannelResting where it begins later than `patience` from now, or the day has no room for `least`.
    """
    if limits.is_stopped:
        raise _resting(name, now + _ASK_AGAIN_AFTER, now, "its rate is 0")
    start = given.at(now, limits)
    if limits.per_day is not None and start.today + least > limits.per_day:
        raise _resting(name, _next_day(start, limits.zone), now, f"the day's {limits.per_day} are given out")
    if start.free_at - now > patience:
        raise _resting(name, start.free_at, now, "others go first, or its provider asked for a pause")
    rate, most = start.rate(limits), start.most(limits)
    n = n if most is None else max(min(n, most), least)
    seconds_each = 1 / rate if rate else 0.0
    return (
        Stretch(start.free_at - now, n, seconds_each),
        replace(start, free_at=start.free_at + timedelta(seconds=n * seconds_each), today=start.today + n),
    )


def _next_day(given: Given, zone: tzinfo) -> datetime:
    assert given.day is not None  # noqa: S101 - `at` gave it one
    return datetime.combine(given.day + timedelta(days=1), time(), zone).astimezone(UTC)


def _resting(name: str, until: datetime, now: datetime, why: str) -> ChannelResting:
    return ChannelResting(
        f"{name} takes nothing before {until:%Y-%m-%d %H:%M:%S} UTC: {why}", until=until, after=until - now
    )


# --- in the database ------------------------------------------------------------------------------


def take(
    connection: Connection, name: str, limits: Limits, n: int, least: int, patience: timedelta
) -> Stretch:
    """Gives away the next stretch: see `advance`, whose ChannelResting leaves everything as it was."""
    given, now = _locked(connection, name)
    stretch, after = advance(name, given, limits, n, least, now, patience)
    _write(connection, name, after)
    return stretch


def give_back(connection: Connection, name: str, limits: Limits, n: int) -> None:
    """Takes n messages off what is given today, where it is still that day."""
    given, now = _locked(connection, name)
    if given.day == given.at(now, limits).day:
        _write(connection, name, replace(given, today=max(given.today - n, 0)))


def rest(connection: Connection, name: str, after: timedelta) -> None:
    """Gives nothing to anybody for so long, at most a day."""
    given, now = _locked(connection, name)
    until = now + min(after, _LONGEST_REST)
    if until > given.free_at:
        started_at = until if after >= _PAUSE else given.started_at
        _write(connection, name, replace(given, free_at=until, started_at=started_at))


def read(connection: Connection, name: str) -> tuple[Given, datetime]:
    """How far the name's time has been given away, and the database's clock."""
    row = connection.execute(_row(name)).one_or_none()
    if row is None:
        return Given(), from_microseconds(connection.execute(select(database_now())).scalar_one())
    *columns, now = row
    return Given(*columns), from_microseconds(now)


_COLUMNS = (paces.c.free_at, paces.c.started_at, paces.c.day, paces.c.today)


def _row(name: str) -> Select[Any]:
    return select(*_COLUMNS, database_now()).where(paces.c.name == name)


def _locked(connection: Connection, name: str) -> tuple[Given, datetime]:
    """The name's row, made where there is none, locked until the transaction ends."""
    statement = _row(name).with_for_update()
    row = connection.execute(statement).one_or_none()
    if row is None:
        new = select(
            literal(name).label("name"),
            literal(_NEVER, UtcTime).label("free_at"),
            literal(_NEVER, UtcTime).label("started_at"),
        )
        connection.execute(insert_or(connection, paces, new).on_conflict_do_nothing())
        row = connection.execute(statement).one()
    *columns, now = row
    return Given(*columns), from_microseconds(now)


def _write(connection: Connection, name: str, given: Given) -> None:
    connection.execute(update(paces).where(paces.c.name == name).values(asdict(given)))
