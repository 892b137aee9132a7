"""Adapters: what a provider that takes 50 ms sees of each, under a rate and at full speed.

First by one process and by two that share the channel's rate; then as fast as it goes, for its memory.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from channels import open_channel
from holdfast.channel import Accepted, Channel, Message, Skeleton, by_count
from holdfast.delivery.pace import Line, Pace
from holdfast.settings import ChannelConfig
from holdfast.store.database import Database
from holdfast.store.paces import Limits
from tests.benchmarks.databases import SqliteFiles
from tests.benchmarks.loops import Enrolled, all_messages, enrolled_shop, rendered
from tests.benchmarks.measuring import Bound, stopwatch
from tests.benchmarks.population import NOW
from tests.benchmarks.projects import hello
from tests.benchmarks.providers import Came, Providers, running_providers
from tests.benchmarks.stamping import judged
from tests.benchmarks.workers import at_once

QUICK = ["--seconds", "6", "--messages", "4000"]
PROCESSES = 2
LATENCY = 0.05  # seconds
MOST_GROWTH = 1.1  # of the peak of memory, from the first half of the messages to the second
LEAST_MESSAGES = 50_000  # that growth is judged from
_LETTERS = 5000  # a chunk's, rendered before and sent again and again
_LONGEST = 400  # characters of a text: any of these providers takes it
_AT_FULL_SPEED = 4  # threads


@dataclass(frozen=True, slots=True)
class _Adapter:
    """What is measured: its settings, at which rate; `address` is its kind's, of customers by number."""

    name: str
    settings: Mapping[str, Any]
    address: str = ""
    rate: float = 300.0
    batch: int = 1
    longest: float = LATENCY
    """Seconds that a call lasts: at the start and at the end they are not all under way."""

    def open(self, http: int, smtp: int) -> Channel:
        place = {"smtp": {"host": "127.0.0.1", "port": smtp}, "webhook": {"base_url": _url(http) + "/hook"}}
        where = place.get(self.name, {"base_url": _url(http)})
        settings = {"concurrency": 32, **self.settings, **where}
        return open_channel("bench", ChannelConfig(adapter=self.name), settings)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


_META = {"access_token": "s3cret"}
_ADAPTERS = (
    # Four answers of the server a letter, which goes out when the one before it was taken.
    _Adapter(
        "smtp",
        {"security": "none", "helo": "bench.example", "concurrency": 64, "batch_size": 5},
        batch=5,
        longest=21 * LATENCY,
    ),
    _Adapter("sendgrid", {"api_key": "SG.x", "concurrency": 4}, rate=3000.0, batch=1000),
    _Adapter("telegram", {"token": "4711:AAE-a_token_of_thirty-five_letters"}, "4711{}"),
    _Adapter(
        "twilio", {"account_sid": "AC" + "0" * 32, "auth_token": "s3cret", "sender": "Acme"}, "+49151{:07}"
    ),
    _Adapter("whatsapp", {**_META, "phone_number_id": "106540352242922"}, "+49151{:07}"),
    _Adapter("messenger", {**_META, "page_id": "103456789012345"}, "2544{:09}"),
    _Adapter("mastodon", {"kind": "message", "token": "s3cret"}, "customer{}@example.com"),
    _Adapter(
        "x",
        {"kind": "message"}
        | dict.fromkeys(("api_key", "api_secret", "access_token", "access_secret"), "s3cret"),
        "4711{}",
        batch=20,
        longest=20 * LATENCY,
    ),
    _Adapter("webhook", {"kind": "sms", "secret": "s3cret", "allow_private": True}, "+49151{:07}"),
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=15, help="how long each rate is measured")
    parser.add_argument("--messages", type=int, default=100_000, help="for the memory; 0: leave it out")
    names = [adapter.name for adapter in _ADAPTERS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these adapters")


def run(arguments: Namespace) -> list[Bound]:
    """Each adapter under its rate, by one process and by two; then at full speed."""
    chosen = [adapter for adapter in _ADAPTERS if adapter.name in arguments.only]
    bounds = []
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        shop = enrolled_shop(SqliteFiles(Path(folder)), _LETTERS)
        for adapter in chosen if arguments.seconds else ():
            with running_providers(LATENCY) as providers:
                for processes in (1, PROCESSES):
                    bounds += _under_its_rate(adapter, shop, providers, arguments.seconds, processes)
        for adapter in chosen if arguments.messages else ():
            with running_providers(0) as providers:
                bounds += _at_full_speed(adapter, shop, providers, arguments.messages)
    return bounds


def _under_its_rate(
    adapter: _Adapter, shop: Enrolled, providers: Providers, seconds: int, processes: int
) -> list[Bound]:
    location = shop.copy()
    at_once(processes, partial(_pacing, adapter, location, _ports(providers), seconds))
    came = providers.came()
    by = "one process" if processes == 1 else f"{processes} processes"
    what = f"{adapter.name} at {adapter.rate:,.0f}/s by {by}"
    return [*judged(what, adapter.rate, came.calls, adapter.longest), _reused(what, adapter, came, processes)]


def _reused(what: str, adapter: _Adapter, came: Came, processes: int) -> Bound:
    most = processes * int(adapter.settings.get("concurrency", 32))
    return Bound(f"{what}: connections", came.connections, most)


@contextmanager
def _pacing(
    adapter: _Adapter, location: str | Path, ports: tuple[int, int], seconds: int, place: int
) -> Iterator[Callable[[], None]]:
    database, channel = Database(location), adapter.open(*ports)
    batches = _batches(adapter, channel, location)
    pace = Pace(database, [Line("channel bench", lambda: Limits(rate=adapter.rate))])

    def send(first: int, give_up: float) -> None:
        most = pace.most or adapter.batch
        for batch in islice(cycle(batches), first, None):
            for part in by_count(batch, most):
                pace.take(len(part))
                if time.monotonic() > give_up:
                    return
                _send(channel, part)

    def work() -> None:
        threads, give_up = channel.capabilities.concurrency, time.monotonic() + seconds
        with ThreadPoolExecutor(threads) as pool:
            firsts = [thread * len(batches) // threads for thread in range(threads)]
            list(pool.map(send, firsts, [give_up] * threads))

    yield work
    channel.close()
    database.close()


# --- at full speed --------------------------------------------------------------------------------


def _at_full_speed(adapter: _Adapter, shop: Enrolled, providers: Providers, messages: int) -> list[Bound]:
    done = at_once(1, partial(_hurrying, adapter, shop.copy(), _ports(providers), messages))
    came, ((first, second),) = providers.came(), done.results
    if (taken := sum(call.messages for call in came.calls)) < messages:
        raise SystemExit(f"{adapter.name}: the provider took {taken} messages, not {messages}")
    what = f"{adapter.name} at full speed"
    print(
        f"\n{what}: {taken:,} messages, {taken / done.taken.wall:,.0f}/s, {done.taken.cpu:.1f} s CPU;"
        f" peaks of the halves {first:.1f} and {second:.1f} MB",
        flush=True,
    )
    growth = Bound(f"{what}: peak of the second half over the first", second / first, MOST_GROWTH)
    connections = Bound(f"{what}: connections", came.connections, _AT_FULL_SPEED)
    return [growth, connections] if messages >= LEAST_MESSAGES else [connections]


@contextmanager
def _hurrying(
    adapter: _Adapter, location: str | Path, ports: tuple[int, int], messages: int, place: int
) -> Iterator[Callable[[], tuple[float, float]]]:
    channel = adapter.open(*ports)
    batches = _batches(adapter, channel, location)
    numbers = count()

    def send(share: int) -> None:
        sent = 0
        for batch in islice(cycle(batches), next(numbers), None):
            # Under new keys, as in a run: an adapter that kept them would be seen to grow.
            _send(channel, [replace(message, key=f"{next(numbers)}.c2lnbmF0dXJl") for message in batch])
            sent += len(batch)
            if sent >= share:
                return

    def half() -> float:
        with ThreadPoolExecutor(_AT_FULL_SPEED) as pool, stopwatch() as elapsed:
            list(pool.map(send, [messages // 2 // _AT_FULL_SPEED] * _AT_FULL_SPEED))
            return elapsed().megabytes

    yield lambda: (half(), half())
    channel.close()


# --- what is sent ---------------------------------------------------------------------------------


def _send(channel: Channel, batch: Sequence[Message]) -> None:
    for outcome in channel.send(batch):
        if not isinstance(outcome, Accepted):
            raise SystemExit(f"the channel could not send every message: {outcome}")


def _batches(adapter: _Adapter, channel: Channel, location: str | Path) -> list[Sequence[Message]]:
    """The shipped template's letters as the channel splits them; for others than email the first of their
    text."""
    ws = hello(Database(location))
    letters = [letter for _, some in rendered(ws, NOW, all_messages(ws.database)) for letter in some]
    ws.close()
    if adapter.address:
        letters = [_text(adapter, number, letter) for number, letter in enumerate(letters)]
    return list(channel.batches(letters))


def _text(adapter: _Adapter, number: int, letter: Message) -> Message:
    skeleton = Skeleton(text=(letter.text[:_LONGEST],))
    return replace(letter, to=adapter.address.format(number), sender="", subject="", skeleton=skeleton)


def _ports(providers: Providers) -> tuple[int, int]:
    return providers.http, providers.smtp
