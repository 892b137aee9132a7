"""A run sent, by a bare loop and by Holdfast: the two that are compared wherever messages are sent.

The bare loop loads the same history, renders with the same composer, posts the same bodies to the same
sink, and writes one row a message into the same kind of database. It has no ledger and no policy: after a
crash it would not know what went out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, func, insert, select

from holdfast import delivery
from holdfast.campaign.models import Step
from holdfast.channel import Message, by_count
from holdfast.content.message import Composer, content_of
from holdfast.delivery import Workspace
from holdfast.store.database import Database
from holdfast.store.history import load_people
from holdfast.tables import UtcTime, addresses, messages
from tests.benchmarks.databases import Databases
from tests.benchmarks.measuring import Taken
from tests.benchmarks.population import CDNOW_END, NOW, import_cdnow, populate
from tests.benchmarks.projects import RunningClock, hello
from tests.benchmarks.sink import Provider
from tests.benchmarks.watching import Parts, WatchedDatabase, seconds_within
from tests.benchmarks.workers import Done, at_once

# What the bare loop writes.
_sent = Table(
    "sent",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("customer_id", BigInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("sent_at", UtcTime, nullable=False),
)

# --- what is to be sent ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A database whose run is enrolled: the messages due in it at the moment `now`, which the run sees."""

    title: str
    databases: Databases
    name: str
    due: int
    now: datetime

    def copy(self) -> str | Path:
        """A copy of it to send from."""
        return self.databases.copy(self.name, f"{self.name}_copy")


def enrolled_shop(databases: Databases, customers: int) -> Enrolled:
    """A made-up shop of so many customers, all of whom are to be written to."""
    name = f"shop_{customers}"
    populate(databases.location(name), customers)
    return _enrolled("a made-up shop", databases, name, NOW)


def enrolled_cdnow(databases: Databases) -> Enrolled:
    """The CDNOW histories: real customers, and what they bought."""
    import_cdnow(databases.location("cdnow"))
    return _enrolled("the CDNOW histories", databases, "cdnow", CDNOW_END)


def _enrolled(title: str, databases: Databases, name: str, now: datetime) -> Enrolled:
    database = Database(databases.location(name))
    due = enroll(database, now)
    with database.write() as connection:
        # As PostgreSQL does by itself sooner or later; now, so that all plans are made alike.
        connection.exec_driver_sql("ANALYZE")
    database.close()
    return Enrolled(f"{title}, {databases.title}", databases, name, due, now)


def enroll(database: Database, now: datetime) -> int:
    """Opens and enrolls a run in the shop; how many messages are due."""
    ws = hello(database)
    delivery.enroll(ws, delivery.open_run(ws, "winback", "bench", now, now), now)
    return delivery.due(ws, "winback", now)["email"]


# --- the bare loop --------------------------------------------------------------------------------


def bare_loop(location: str | Path, provider: Provider, now: datetime, workers: int) -> Taken:
    """Sends the messages of the run that is in the database, whatever their state."""
    database = Database(location)
    _sent.drop(database.engine, checkfirst=True)
    _sent.create(database.engine)
    database.close()
    return at_once(workers, partial(_looping, location, provider, now, workers)).taken


@contextmanager
def _looping(
    location: str | Path, provider: Provider, now: datetime, workers: int, place: int
) -> Iterator[Callable[[], None]]:
    ws = hello(Database(location))
    todo = all_messages(ws.database)
    share = todo[place * len(todo) // workers : (place + 1) * len(todo) // workers]
    yield partial(_loop, ws, provider, now, share)
    ws.close()


def all_messages(database: Database) -> Sequence[tuple[int, int]]:
    """The ids of all messages that are planned, and of their customers."""
    query = select(messages.c.id, messages.c.customer_id).order_by(messages.c.id)
    with database.read() as connection:
        return [(row.id, row.customer_id) for row in connection.execute(query)]


def _loop(ws: Workspace, provider: Provider, now: datetime, todo: Sequence[tuple[int, int]]) -> None:
    for chunk, letters in rendered(ws, now, todo):
        provider.post(letters)
        with ws.database.write() as connection:
            connection.execute(
                insert(_sent),
                [{"id": id_, "customer_id": c, "channel": "email", "sent_at": now} for id_, c in chunk],
            )


def rendered(
    ws: Workspace, now: datetime, todo: Sequence[tuple[int, int]]
) -> Iterator[tuple[Sequence[tuple[int, int]], list[Message]]]:
    """These pairs of message and customer, chunk by chunk, with the messages that they become."""
    campaign = ws.campaign("winback")
    (step,) = (step for step in campaign.steps if isinstance(step, Step))
    needs = ws.needs(step, "email")
    composer = Composer(ws.library, ws.signer, ws.project.brand, now.date())
    content = content_of(campaign, step, None)
    for chunk in by_count(todo, ws.project.dispatch.chunk):
        ids = [customer_id for _, customer_id in chunk]
        with ws.database.read() as connection:
            people = load_people(connection, ids, now, needs, ws.project)
            to = _addresses(connection, ws.database, ids)
        yield chunk, [composer.compose(id_, "email", to[c], content, people[c]) for id_, c in chunk]


def _addresses(connection: Connection, database: Database, ids: list[int]) -> dict[int, str]:
    query = select(addresses.c.customer_id, addresses.c.address).where(
        addresses.c.customer_id.in_(database.among(ids)), addresses.c.kind == "email"
    )
    return dict(connection.execute(query).tuples().all())


# --- the send path --------------------------------------------------------------------------------


class Chunk(NamedTuple):
    """When a chunk was begun, and the seconds that it and its lease took."""

    begun: float
    whole: float
    lease: float


class Sent(NamedTuple):
    """What one process did: its chunks, and the seconds in which it wrote or waited to."""

    chunks: list[Chunk]
    writing: float


def send_path(location: str | Path, provider: Provider, now: datetime, workers: int) -> Done[Sent]:
    """Sends what is due in the database, by so many processes with one loop over chunks each."""
    return at_once(workers, partial(_sending, location, provider, now))


@contextmanager
def _sending(
    location: str | Path, provider: Provider, now: datetime, place: int
) -> Iterator[Callable[[], Sent]]:
    database = WatchedDatabase(location)
    ws = hello(database, provider.channels())
    yield partial(_send, ws, database, now, place)
    ws.close()


def _send(ws: Workspace, database: WatchedDatabase, now: datetime, place: int) -> Sent:
    clock = RunningClock(now)
    chunks = []
    while True:
        begun, writes = perf_counter(), len(database.writes)
        if not delivery.dispatch_chunk(ws, "winback", "email", f"bench-{place}", clock).leased:
            break
        leased = database.writes[writes]  # the first that it wrote
        chunks.append(Chunk(begun, perf_counter() - begun, leased[1] - leased[0]))
    delivery.settle(ws, "winback", clock())
    return Sent(chunks, seconds_within(database.writes))


def costs(location: str | Path, provider: Provider, now: datetime) -> tuple[float, dict[str, float]]:
    """Sends what is due in the database, in one process: its seconds, and those of each part and the rest."""
    done = at_once(1, partial(_sending_watched, location, provider, now))
    (parts,) = done.results
    return done.taken.wall, {**parts, "the rest": done.taken.wall - sum(parts.values())}


@contextmanager
def _sending_watched(
    location: str | Path, provider: Provider, now: datetime, place: int
) -> Iterator[Callable[[], dict[str, float]]]:
    database, parts = WatchedDatabase(location), Parts()
    ws = hello(database, provider.channels())
    parts.watch(ws.channel("email"), "send", "channel")
    parts.watch_send_path(database)

    def send() -> dict[str, float]:
        _send(ws, database, now, place)
        return dict(parts.seconds)

    yield send
    ws.close()


def check_sent(location: str | Path, due: int) -> None:
    """Each of the messages was accepted, by one call."""
    database = Database(location)
    once = select(func.count()).where(messages.c.state == "accepted", messages.c.attempts == 1)
    with database.read() as connection:
        accepted = connection.scalar(once)
    database.close()
    if accepted != due:
        raise SystemExit(f"{accepted} messages were accepted, not {due}")


def check_taken(provider: Provider, due: int) -> None:
    """The sink has so many."""
    if (taken := provider.taken().messages) != due:
        raise SystemExit(f"the sink took {taken} messages, not {due}")
