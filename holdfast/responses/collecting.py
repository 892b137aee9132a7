"""Collecting: the inbox is read, channels that do not call us are asked, and what follows is done.

A page of the inbox is read and applied in one transaction: whoever is broken off, or works at the same time
as another, repeats a page, and repeating it changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from holdfast.channel import Poller, Publisher, Receiver, ResponseKind, Teller, Told
from holdfast.delivery import Workspace, collection, settle
from holdfast.delivery.guard import check_rates
from holdfast.errors import ChannelError, RunStopped, SettingsError
from holdfast.responses.answering import answer_in
from holdfast.responses.erasing import erase_waiting
from holdfast.responses.matching import answers_of
from holdfast.store import attribution, conversions, failures, inbox, post_numbers, responses, runs
from holdfast.store.cursors import read_cursor, write_cursor
from holdfast.store.failures import CameBack
from holdfast.store.inbox import Letter
from holdfast.store.responses import Given
from holdfast.tables import from_microseconds

Progress = Callable[[int, int], None]
_Answer = TypeVar("_Answer")

_READ_AT_ONCE = 100
# Applied in one transaction: well under a second.
_APPLIED_AT_ONCE = 5000
# Letters whose bodies are emptied in one transaction, and in one round.
_EMPTIED_AT_ONCE = 5000
_EMPTIED_IN_A_ROUND = 100_000
# Networks go on counting, but hardly anybody looks at a post after this.
_MEASURED_FOR = timedelta(days=30)
# How late an order may come in, after its window, and still be counted by the next collect; all are counted
# again by refresh_metrics.
_LATE_ORDERS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A run of the campaign that its guard stopped, and why."""

    campaign: str
    reason: str


@dataclass(frozen=True, slots=True)
class Collected:
    """What one round came to.

    `letters` of the inbox were handled, `unreadable` of them could not be read. `new`, `repeated` and
    `unknown` count answers as in `Applied`; `left_out` counts what was no answer, by channel and type.
    `settled` messages are known to be taken, or not, since now, and `in_doubt` are still in doubt.
    `cases` were opened, for the first time or again. `conversions` and `attributions` changed; `posts` were
    measured.
    `erased` are customers who had asked for it; `emptied` are letters that were kept long enough.
    `stopped` are runs that their guard stopped. `problems` has a sentence for them, and for everything
    that failed: the rest was done all the same.
    """

    letters: int = 0
    unreadable: int = 0
    new: int = 0
    repeated: int = 0
    unknown: int = 0
    settled: int = 0
    in_doubt: int = 0
    cases: int = 0
    conversions: int = 0
    attributions: int = 0
    posts: int = 0
    erased: int = 0
    emptied: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    stopped: tuple[Stopped, ...] = ()
    problems: tuple[str, ...] = ()


def collect(ws: Workspace, now: datetime, progress: Progress | None = None) -> Collected:
    """Takes in everything that was answered until now, and does what follows from it.

    `progress` is told how many letters of the inbox are done, of how many. A channel that cannot be used is
    a problem of its own, and does not keep the others from being read.
    """
    round_ = _Round(ws, now)
    round_.read_inbox(progress)
    for name, config in ws.project.channels.items():
        if config.enabled:
            round_.ask(name)
    round_.count_conversions()
    round_.attribute_orders()
    round_.ask_guards()
    round_.settle_doubt()
    round_.erase_who_asked()
    round_.empty_old_letters()
    return Collected(
        left_out=dict(sorted(round_.left_out.items())),
        stopped=tuple(round_.stopped),
        problems=tuple(round_.problems),
        **round_.counts,
    )


def newly_came_back(ws: Workspace, now: datetime) -> dict[str, CameBack]:
    """By campaign, the messages that bounced or were reported as spam since this was asked the last time."""
    place = "came back"
    with ws.database.write(exclusive=True) as connection:
        counts, last = failures.came_back_since(connection, int(read_cursor(connection, place) or 0))
        write_cursor(connection, place, str(last), now)
    return counts


@dataclass
class _Page:
    """Letters that are read and applied together. `problems` has every letter's: None, it could be read."""

    answers: list[Given] = field(default_factory=list)
    problems: dict[int, str | None] = field(default_factory=dict)


class _Round:
    """One round of collecting, with what it came to so far."""

    def __init__(self, ws: Workspace, now: datetime) -> None:
        self.ws, self.now = ws, now
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.stopped: list[Stopped] = []
        self.problems: dict[str, None] = {}

    # --- the inbox ------------------------------------------------------------------------------------

    def read_inbox(self, progress: Progress | None) -> None:
        """Handles every letter that is there now."""
        with self.ws.database.read() as connection:
            total = inbox.count_waiting(connection) if progress else 0
        pages = self._pages()
        while self._handle_next(pages):
            if progress:
                progress(min(self.counts["letters"], total), total)

    def _handle_next(self, pages: Iterator[_Page]) -> bool:
        """Reads and applies a page; False: there is none left."""
        # Thousands of answers at once, and none of them garbage: the search would take a fifth of the time.
        with collection.paused():
            page = next(pages, None)
            if page is None:
                return False
            with self.ws.database.write(exclusive=True) as connection:
                applied = responses.apply(connection, page.answers, self.ws.complaints, self.now)
                inbox.mark_handled(connection, self.ws.database, page.problems, self.now)
        self._count(applied)
        self.counts["letters"] += len(page.problems)
        self.counts["unreadable"] += sum(problem is not None for problem in page.problems.values())
        return True

    def _pages(self) -> Iterator[_Page]:
        page = _Page()
        for letter in self._letters():
            try:
                answers, problem = list(self._read(letter)), None
            except ValueError as error:
                answers, problem = [], str(error)
            except (ChannelError, SettingsError) as error:
                # It can be read when the channel can be opened again: it waits.
                self._failed(letter.channel, error)
                continue
            page.answers += answers
            page.problems[letter.id] = problem
            if len(page.answers) >= _APPLIED_AT_ONCE or len(page.problems) >= _APPLIED_AT_ONCE:
                yield page
                page = _Page()
        if page.problems:
            yield page

    def _letters(self) -> Iterator[Letter]:
        last = 0
        while True:
            with self.ws.database.read() as connection:
                letters = inbox.waiting(connection, last, _READ_AT_ONCE)
            if not letters:
                return
            yield from letters
            last = letters[-1].id

    def _read(self, letter: Letter) -> Iterator[Given]:
        if letter.channel is None:
            yield _own_answer(letter)
            return
        config = self.ws.project.channels.get(letter.channel)
        channel = self.ws.channel(letter.channel) if config else None
        if not isinstance(channel, Receiver):
            raise ValueError("there is no channel of this name that takes answers")
        try:
            if isinstance(channel, Teller):
                told = channel.told(letter.body)
            else:
                told = Told(channel.parse(letter.body))
        except ValueError:
            raise
        except Exception as error:
            # An adapter's slip must not keep what came after it. The letter stays; its text is not shown.
            raise ValueError(f"the adapter failed on it ({type(error).__name__})") from None
        for said in told.announcements:
            self.problems[f"{letter.channel}: {said}"] = None
        for type_, count in told.left_out.items():
            self.left_out[f"{letter.channel}: {type_}"] += count
        yield from answers_of(self.ws, letter.channel, told.responses, letter.received_at, letter.id)

    # --- channels that are asked ----------------------------------------------------------------------

    def ask(self, name: str) -> None:
        """Asks the channel for answers, and for the numbers of its posts, where it can say."""
        try:
            channel = self.ws.channel(name)
            if isinstance(channel, Poller):
                self._poll(name, channel)
            if isinstance(channel, Publisher):
                self._measure(name, channel)
        except (ChannelError, SettingsError) as error:
            self._failed(name, error)

    def _poll(self, name: str, channel: Poller) -> None:
        place = f"poll:{name}"
        with self.ws.database.read() as connection:
            cursor = read_cursor(connection, place)
        polled = _asked(partial(channel.poll, cursor))
        answers = list(answers_of(self.ws, name, polled.responses, self.now))
        with self.ws.database.write(exclusive=True) as connection:
            applied = responses.apply(connection, answers, self.ws.complaints, self.now)
            write_cursor(connection, place, polled.cursor, self.now)
        self._count(applied)

    def _measure(self, name: str, channel: Publisher) -> None:
        with self.ws.database.read() as connection:
            ids = post_numbers.published(connection, name, self.now - _MEASURED_FOR)
        if ids:
            numbers = _asked(partial(channel.measure, ids))
            self.counts["posts"] += post_numbers.write(self.ws.database, name, numbers, self.now)

    # --- what follows ---------------------------------------------------------------------------------

    def count_conversions(self) -> None:
        """Brings conversions up to date where the window is open, or was until lately."""
        for name, source in self.ws.sources.items():
            if goal := source.campaign.goal:
                since = self.now - goal.within - _LATE_ORDERS
                self.counts["conversions"] += conversions.refresh(
                    self.ws.database, name, goal, self.now, since
                )

    def attribute_orders(self) -> None:
        """Attributes what is new to the last message that its customer touched."""
        self.counts["attributions"] += attribution.refresh_new(
            self.ws.database, self.ws.project.channels, self.now
        )

    def ask_guards(self) -> None:
        """Judges the runs that are sending: what bounces does so hours after it was sent."""
        with self.ws.database.read() as connection:
            sending = runs.list_runs(connection, states=("running",))
        for run in sending:
            if run.campaign in self.ws.sources:
                try:
                    check_rates(self.ws, run)
                except RunStopped as stopped:
                    self.stopped.append(Stopped(run.campaign, str(stopped)))
                    self.problems[str(stopped)] = None

    def settle_doubt(self) -> None:
        """Takes stock of the campaigns that are under way or have messages in doubt."""
        with self.ws.database.read() as connection:
            unsettled = runs.unsettled_campaigns(connection)
        for name in unsettled:
            if name in self.ws.sources:
                try:
                    result = settle(self.ws, name, self.now)
                except (ChannelError, SettingsError) as error:
                    self._failed(name, error)
                else:
                    self.counts["settled"] += result.settled
                    self.counts["in_doubt"] += result.in_doubt

    def erase_who_asked(self) -> None:
        """Erases customers who asked for it long enough ago, where that is to happen by itself."""
        after = self.ws.project.privacy.erase_after
        if after is not None:
            self.counts["erased"] += erase_waiting(self.ws, self.now, self.now - after).done

    def empty_old_letters(self) -> None:
        """Empties the bodies that were read long enough ago; what is left of very many comes next time."""
        until = self.now - self.ws.project.privacy.keep_answers
        for _ in range(_EMPTIED_IN_A_ROUND // _EMPTIED_AT_ONCE):
            with self.ws.database.write() as connection:
                emptied = inbox.empty_bodies(connection, until, _EMPTIED_AT_ONCE)
            self.counts["emptied"] += emptied
            if emptied < _EMPTIED_AT_ONCE:
                return

    def _count(self, applied: responses.Applied) -> None:
        for name in ("new", "repeated", "unknown", "settled", "cases"):
            self.counts[name] += getattr(applied, name)

    def _failed(self, name: str | None, error: Exception) -> None:
        self.problems[f"{name}: {error}"] = None


def _asked(question: Callable[[], _Answer]) -> _Answer:
    """What a channel answers. An adapter's slip is a problem of its own; its text is not shown."""
    try:
        return question()
    except (ChannelError, SettingsError):
        raise
    except Exception as error:
        raise ChannelError(f"the adapter failed ({type(error).__name__})") from None


_OWN = {kind.value: kind for kind in (ResponseKind.CLICKED, ResponseKind.OPENED, ResponseKind.REFERRED)}


def _own_answer(letter: Letter) -> Given:
    """What our own link, pixel or page wrote down. Raises ValueError where it is not of that form."""
    try:
        said: dict[str, Any] = json.loads(letter.body)
        if said["kind"] == ResponseKind.ANSWERED.value:
            return _own_survey(letter, said)
        return Given(
            channel="",
            event_id=str(said["event"]),
            kind=_OWN[said["kind"]],
            occurred_at=from_microseconds(int(said["at"])),
            received_at=letter.received_at,
            message_id=int(said["message"]),
            machine=said["machine"],
            url=said["url"],
            inbox_id=letter.id,
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        raise ValueError("not what one of our own links writes down") from None


def _own_survey(letter: Letter, said: dict[str, Any]) -> Given:
    given = answer_in(said)
    return Given(
        channel="",
        event_id=str(said["event"]),
        kind=ResponseKind.ANSWERED,
        occurred_at=from_microseconds(int(said["at"])),
        received_at=letter.received_at,
        message_id=int(said["message"]),
        text=given.text,
        survey=given.survey,
        score=given.score,
        inbox_id=letter.id,
    )
