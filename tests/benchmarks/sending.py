"""Sending: the whole send path against a bare loop that renders and posts the same messages.

In one process, and in two. What becomes of the time is told part by part.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.databases import SqliteFiles, postgres_server
from tests.benchmarks.loops import (
    Enrolled,
    bare_loop,
    check_sent,
    check_taken,
    costs,
    enrolled_cdnow,
    enrolled_shop,
    send_path,
)
from tests.benchmarks.measuring import Bound, Taken, measure
from tests.benchmarks.sink import PAYLOADS, Sink, running_sink

QUICK = ["--messages", "5000", "--rounds", "1"]
LEAST_RATIO = {"SQLite": 0.75, "PostgreSQL": 0.6}
LEAST_RATIO_CDNOW = 0.5
LEAST_GAIN = 1.6  # of the second process
MOST_WRITING = 25  # percent
# A chunk of messages falls into requests by locale and by their ways through the template.
MOST_CALLS = 20
ONE_CALL_AT_A_TIME = "merged"  # this payload's channel sends so
LEAST_MESSAGES = 15_000  # that calls are full from
LEAST_FOR_TWO = 40_000  # that two processes have chunks enough from, to be at work until the end


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=100_000, help="customers to write to")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--payload", choices=PAYLOADS, help="default: sendgrid, and on SQLite merged")
    parser.add_argument("--database", choices=LEAST_RATIO, help="default: one after the other")


def run(arguments: Namespace) -> list[Bound]:
    """A made-up shop on both databases, and the CDNOW histories on SQLite."""
    payloads = [arguments.payload] if arguments.payload else ["sendgrid", "merged"]
    rounds, bounds = arguments.rounds, list[Bound]()
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        if arguments.database != "PostgreSQL":
            files = SqliteFiles(Path(folder))
            shop = enrolled_shop(files, arguments.messages)
            for payload in payloads:
                bounds += _compare(shop, payload, rounds, LEAST_RATIO["SQLite"])
            _tell_costs(shop)
            bounds += _compare(enrolled_cdnow(files), payloads[0], rounds, LEAST_RATIO_CDNOW)
        if arguments.database != "SQLite":
            with postgres_server(Path(folder, "postgres")) as server:
                shop = enrolled_shop(server, arguments.messages)
                bounds += _compare(shop, payloads[0], rounds, LEAST_RATIO["PostgreSQL"])
                _tell_costs(shop)
    return bounds


def _compare(enrolled: Enrolled, payload: str, rounds: int, least: float) -> list[Bound]:
    title = f"{enrolled.title}, payload {payload}"
    print(f"\n{enrolled.due:,} messages of {title}")
    with running_sink(PAYLOADS[payload]) as sink:
        rivals = _Rivals(enrolled, sink)
        taken = measure(
            rounds, enrolled.due, bare_loop=rivals.bare, one_process=rivals.one, two_processes=rivals.two
        )
    bare, one, two = (taken[name].wall for name in ("bare_loop", "one_process", "two_processes"))
    calls = 1000 * sink.last.calls / enrolled.due  # of the last one
    print(f"  {sink.last.bytes / enrolled.due:,.0f} bytes a message, {calls:.1f} calls per 1,000 messages")
    bounds = [Bound(f"sending {title}, over a bare loop", bare / one, least, at_least=True)]
    full = Bound(f"sending {title}, calls per 1,000 messages", calls, MOST_CALLS)
    gain = Bound(f"sending {title}, two processes over one", one / two, LEAST_GAIN, at_least=True)
    writing = Bound(f"sending {title}, time of two in writes", rivals.writing, MOST_WRITING, " %")
    judged = {
        full: enrolled.due >= LEAST_MESSAGES,
        gain: enrolled.due >= LEAST_FOR_TWO,
        # Of a channel's calls that overlap, some write while others post: that is not time that writes take.
        writing: enrolled.due >= LEAST_FOR_TWO and payload == ONE_CALL_AT_A_TIME,
    }
    told = [f"{bound.what.rpartition(', ')[2]}: {bound.figure:.2f}{bound.unit}" for bound in judged]
    print("  " + "; ".join(told))
    return bounds + [bound for bound, is_judged in judged.items() if is_judged]


@dataclass
class _Rivals:
    """The bare loop, and the send path in one process and in two; what the two wrote, in percent of it."""

    enrolled: Enrolled
    sink: Sink
    writing: float = 0.0

    def bare(self) -> Taken:
        taken = bare_loop(self.enrolled.copy(), self.sink, self.enrolled.now, 1)
        check_taken(self.sink, self.enrolled.due)
        return taken

    def one(self) -> Taken:
        return self._send(1)

    def two(self) -> Taken:
        return self._send(2)

    def _send(self, workers: int) -> Taken:
        location = self.enrolled.copy()
        done = send_path(location, self.sink, self.enrolled.now, workers)
        check_taken(self.sink, self.enrolled.due)
        check_sent(location, self.enrolled.due)
        self.writing = 100 * sum(sent.writing for sent in done.results) / (workers * done.taken.wall)
        return done.taken


def _tell_costs(enrolled: Enrolled) -> None:
    """Where one process's time goes; through a channel that takes a call at a time, so that none overlap."""
    with running_sink(PAYLOADS["merged"]) as sink:
        whole, seconds = costs(enrolled.copy(), sink, enrolled.now)
    print(f"\n{enrolled.due:,} messages of {enrolled.title}, by part, in {whole:.1f} s")
    for part, took in sorted(seconds.items(), key=lambda each: -each[1]):
        print(f"  {part:22}{took:8.2f} s{100 * took / whole:8.1f} %")
