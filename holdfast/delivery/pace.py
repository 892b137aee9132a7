"""How fast a campaign may send on a channel: its workers wait here for their turn before each call."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil, sqrt
from threading import Lock
from zoneinfo import ZoneInfo

from holdfast.campaign.models import Campaign
from holdfast.delivery.workspace import Workspace
from holdfast.store import paces
from holdfast.store.database import Database
from holdfast.store.paces import SLOW_START_FROM, STRETCHES_A_SECOND, Limits

# A worker that waits holds leases, and has to end when it is asked to.
_PATIENCE = timedelta(seconds=20)
# A turn that was missed by more, in seconds, is lost: several of them at once would be a burst.
_LATEST = 1 / STRETCHES_A_SECOND
# How long a channel without limits is taken to be open, in seconds: somebody may have let it rest.
_LOOK_EVERY = 1.0
_DAY = timedelta(days=1)

Sleep = Callable[[float], None]


@dataclass
class Line:
    """What one name's limits are, and what it has given us: moments on this machine's monotonic clock."""

    name: str
    limits: Callable[[], Limits]
    ours: deque[float] = field(default_factory=deque)
    given: int = 0
    open_until: float = 0.0


class Pace:
    """The turns of one campaign on one channel. Safe to share between threads.

    They have one turn at a time between them, so that flow runs share a channel by runs, not by threads.
    """

    def __init__(self, database: Database, lines: Sequence[Line], sleep: Sleep = time.sleep) -> None:
        """A call waits in each of the lines; the last is the channel's."""
        self._database, self._lines, self._sleep = database, lines, sleep
        self._turn = Lock()
        self._waiting: list[int] = []

    @property
    def most(self) -> int | None:
        """The most messages one call may hold now, at least 1; None: as many as the channel takes."""
        found = [most for line in self._lines if (most := self._most(line)) is not None]
        return min(found, default=None)

    def room(self, within: timedelta) -> int | None:
        """The most messages that may go in this time, at least 1; None: any number."""
        found = [room for line in self._lines if (room := self._room(line, within)) is not None]
        return min(found, default=None)

    def take(self, n: int) -> None:
        """Waits until a call with n messages may go; n is at most `most`.

        Raises ChannelResting, without a wait, where that is more than 20 s away.
        """
        self._waiting.append(n)
        try:
            with self._turn:
                for line in self._lines:
                    self._wait_for(self._moment(line, n))
        finally:
            self._waiting.remove(n)

    def give_back(self, n: int) -> None:
        """So many messages, for which a turn was taken, were not: the day's budget has room for others."""
        for line in self._lines:
            self._give_back(line, n)

    def check(self, n: int = 1) -> None:
        """Raises ChannelResting where `take` would; takes nothing and does not wait."""
        for line in self._lines:
            self._look(line, n)

    def rest(self, after: timedelta) -> None:
        """The provider asked for a pause: nobody takes before it is over, at most a day."""
        channel = self._lines[-1]
        with self._database.write() as connection:
            paces.rest(connection, channel.name, after)
        with self._turn:
            self._give_back(channel, len(channel.ours))
            channel.ours.clear()
            channel.open_until = 0.0

    # --- one line -------------------------------------------------------------------------------------

    def _moment(self, line: Line, n: int) -> float:
        """When a call with n messages may go."""
        limits = line.limits()
        if limits.rate is None and limits.per_day is None:
            if time.monotonic() > line.open_until:
                line.open_until = time.monotonic() + self._look(line, n) + _LOOK_EVERY
            return line.open_until - _LOOK_EVERY
        if n > 1:
            return self._ask(line, limits, n, least=n)[0]
        missed = bisect_left(line.ours, time.monotonic() - _LATEST)
        for _ in range(missed):
            line.ours.popleft()
        self._give_back(line, missed)
        # One transaction serves all who wait, and the next comes before the last of them has gone.
        wanted = self._soon_here(line) - len(line.ours)
        if not line.ours or (wanted > 0 and len(line.ours) <= line.given // 2):
            moments = self._ask(line, limits, wanted, least=1)
            line.ours.extend(moments)
            line.given = len(moments)
        return line.ours.popleft()

    def _soon_here(self, line: Line) -> int:
        """How many of those who wait are at this line soon: those before it let the others through later,
        when a turn that is taken for them here is lost."""
        soon = time.monotonic() + _LATEST / 2
        before = self._lines[: self._lines.index(line)]
        through = [1 + sum(moment <= soon for moment in other.ours) for other in before]
        return min([self._waiting.count(1), *through])

    def _ask(self, line: Line, limits: Limits, n: int, least: int) -> list[float]:
        """Moments that the database gives us, one a message."""
        # Under the project's lock: turns that are given while nobody can begin would all be used at once.
        with self._database.write(exclusive=True) as connection:
            stretch = paces.take(connection, line.name, limits, n, least, _PATIENCE)
        start = time.monotonic() + stretch.wait.total_seconds()
        return [start + place * stretch.seconds_each for place in range(stretch.n)]

    def _give_back(self, line: Line, n: int) -> None:
        limits = line.limits()
        if n and limits.per_day is not None:
            with self._database.write() as connection:
                paces.give_back(connection, line.name, limits, n)

    def _look(self, line: Line, n: int) -> float:
        """How long a call with n messages would have to wait now, in seconds."""
        with self._database.read() as connection:
            given, now = paces.read(connection, line.name)
        stretch, _ = paces.advance(line.name, given, line.limits(), n, n, now, _PATIENCE)
        return stretch.wait.total_seconds()

    def _most(self, line: Line) -> int | None:
        limits = line.limits()
        if limits.per_day is None and not limits.slow_start:
            return paces.Given().most(limits)
        with self._database.read() as connection:
            given, now = paces.read(connection, line.name)
        return given.at(now, limits).most(limits)

    def _room(self, line: Line, within: timedelta) -> int | None:
        limits = line.limits()
        if limits.rate is None and limits.per_day is None:
            return None
        with self._database.read() as connection:
            given, now = paces.read(connection, line.name)
        given = given.at(now, limits)
        rate = given.rate(limits)
        by_rate = [] if rate is None else [int(rate * within.total_seconds())]
        by_day = [] if limits.per_day is None else [limits.per_day - given.today]
        return max(min([*by_rate, *by_day]), 1)

    def _wait_for(self, moment: float) -> None:
        if (wait := moment - time.monotonic()) > 0:
            self._sleep(wait)


def pace_of(ws: Workspace, campaign: Campaign, channel: str) -> Pace:
    """The turns of the campaign on the channel, the same ones for all threads of the workspace."""
    lines = [Line(f"channel {channel}", lambda: _channel_limits(ws, channel))]
    if (rate := ws.send_policy(campaign).rate) is not None:
        # First: whoever waits for the campaign's turn takes none of the channel's time from others.
        lines.insert(0, Line(f"campaign {campaign.campaign}", lambda: Limits(rate)))
    return ws.paces.setdefault((campaign.campaign, channel), Pace(ws.database, lines, ws.sleep))


def _channel_limits(ws: Workspace, channel: str) -> Limits:
    config = ws.project.channels[channel]
    zone = ZoneInfo(ws.project.business.timezone)
    return Limits(ws.rates(channel, config.rate), config.per_day, config.slow_start, zone)


# --- planning -------------------------------------------------------------------------------------


def time_needed(ws: Workspace, campaign: Campaign, to_send: Mapping[str, int]) -> timedelta | None:
    """How long so many messages, by channel, take at least under rates and daily budgets; None: no limit.

    As if nothing else were sent, from the start of a day; without the channels that an operator has stopped.
    """
    rate, total = ws.send_policy(campaign).rate, sum(to_send.values())
    needed = [time_at(total, rate)] if rate is not None else []
    for channel, n in to_send.items():
        limits = _channel_limits(ws, channel)
        if not limits.is_stopped and (limits.rate is not None or limits.per_day is not None):
            needed.append(time_under(limits, n))
    return max(needed, default=None)


def time_under(limits: Limits, n: int) -> timedelta:
    full_days = 0 if limits.per_day is None else max(ceil(n / limits.per_day) - 1, 0)
    rest = n - full_days * (limits.per_day or 0)
    if limits.rate is None:
        return full_days * _DAY
    return max(full_days * _DAY + time_at(rest, limits.rate, limits.slow_start), time_at(n, limits.rate))


def time_at(n: int, rate: float, slow_start: timedelta | None = None) -> timedelta:
    """The time that n messages take at the rate, which a slow start rises to in a straight line."""
    rise = slow_start.total_seconds() if slow_start else 0.0
    whole = n / rate
    if whole >= rise * (1 + SLOW_START_FROM) / 2:
        return timedelta(seconds=whole + rise * (1 - SLOW_START_FROM) / 2)
    # n = rate * (from * t + (1 - from) / (2 * rise) * t^2), for t
    steepness = (1 - SLOW_START_FROM) / rise
    return timedelta(seconds=(sqrt(SLOW_START_FROM**2 + 2 * steepness * whole) - SLOW_START_FROM) / steepness)
