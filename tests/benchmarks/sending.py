"""Sending: the whole send path against a bare loop that renders and posts the same messages.

The bare loop loads the same history, renders with the same composer, posts the same bodies to the same
sink, and writes one row a message into the same kind of database. It has no ledger and no policy: after a
crash it would not know what went out.
"""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, func, insert, select

from holdfast import delivery
from holdfast.campaign.models import Step
from holdfast.content.message import Composer, content_of
from holdfast.delivery import Workspace
from holdfast.store.database import Database
from holdfast.store.history import load_people
from holdfast.tables import UtcTime, addresses, messages
from tests.benchmarks.measuring import Bound, Taken, measure, stopwatch
from tests.benchmarks.population import CDNOW_END, NOW, import_cdnow, populate
from tests.benchmarks.projects import RunningClock, project, workspace
from tests.benchmarks.sink import BATCH, PAYLOADS, Sink, running_sink

LEAST_RATIO = 0.5
# A chunk of messages falls into requests by locale and by their ways through the template.
MOST_CALLS = 20

# What the bare loop writes.
_sent = Table(
    "sent",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("customer_id", BigInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("sent_at", UtcTime, nullable=False),
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=100_000, help="customers to write to")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--payload", choices=PAYLOADS, default=None, help="default: one after the other")


def run(arguments: Namespace) -> list[Bound]:
    """All payloads over a made-up shop, and whole messages over the CDNOW histories."""
    payloads = [arguments.payload] if arguments.payload else list(PAYLOADS)
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        made_up = _enrolled_shop(Path(folder), arguments.messages)
        bounds = [bound for payload in payloads for bound in _compare(made_up, payload, arguments.rounds)]
        return [*bounds, *_compare(_enrolled_cdnow(Path(folder)), payloads[0], arguments.rounds)]


# --- what is to be sent ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Enrolled:
    """A database whose run is enrolled: the messages due in it at the moment `now`, which the run sees."""

    title: str
    file: Path
    due: int
    now: datetime


def _hello(database: Database, sink: Sink | None = None) -> Workspace:
    return workspace(
        database,
        sink,
        audience={"orders.count": {"gte": 1}},
        holdout="0%",
        steps=[{"id": "hello", "channels": ["email"], "template": "winback/hello"}],
        send={"window": "09:00-20:00", "cap": {"messages": 3, "per": "7d"}},
    )


def _enrolled_shop(folder: Path, customers: int) -> _Enrolled:
    file = folder / "shop.db"
    populate(file, customers)
    return _enroll("a made-up shop", file, NOW)


def _enrolled_cdnow(folder: Path) -> _Enrolled:
    file = folder / "cdnow.db"
    import_cdnow(file)
    return _enroll("the CDNOW histories", file, CDNOW_END)


def _enroll(title: str, file: Path, now: datetime) -> _Enrolled:
    database = Database(file)
    ws = _hello(database)
    delivery.enroll(ws, delivery.open_run(ws, "winback", "bench", now, now), now)
    due = delivery.due(ws, "winback", now)["email"]
    database.close()
    return _Enrolled(title, file, due, now)


# --- sending it -----------------------------------------------------------------------------------


def _compare(enrolled: _Enrolled, payload: str, rounds: int) -> list[Bound]:
    with running_sink(PAYLOADS[payload]) as sink:
        threads = project().dispatch.threads
        print(f"\n{enrolled.due:,} messages of {enrolled.title}, payload {payload}")
        taken = measure(
            rounds,
            enrolled.due,
            bare_loop=partial(_bare_loop, enrolled, sink),
            send_path_1_thread=partial(_send_path, enrolled, sink, 1),
            **{f"send_path_{threads}_threads": partial(_send_path, enrolled, sink, threads)},
        )
    calls = 1000 * sink.last.calls / enrolled.due  # of the send path, which came last
    print(f"  {sink.last.bytes / enrolled.due:,.0f} bytes a message, {calls:.1f} calls per 1,000 messages")
    bare, ours = taken["bare_loop"], taken[f"send_path_{threads}_threads"]
    print(f"  with 1 thread, over the bare loop: {bare.wall / taken['send_path_1_thread'].wall:.2f}")
    what = f"sending {enrolled.title}, payload {payload}, {threads} threads, over a bare loop"
    return [
        Bound(what, bare.wall / ours.wall, LEAST_RATIO, at_least=True),
        Bound(f"calls per 1,000 messages of {enrolled.title}, payload {payload}", calls, MOST_CALLS),
    ]


@contextmanager
def _copy(enrolled: _Enrolled) -> Iterator[Database]:
    """The database as it was after enrolling."""
    file = enrolled.file.with_suffix(".copy.db")
    shutil.copyfile(enrolled.file, file)
    database = Database(file)
    try:
        yield database
    finally:
        database.close()
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()


def _bare_loop(enrolled: _Enrolled, sink: Sink) -> Taken:
    with _copy(enrolled) as database:
        ws = _hello(database, sink)
        campaign = ws.campaign("winback")
        (step,) = (step for step in campaign.steps if isinstance(step, Step))
        needs = ws.needs(step, "email")
        with database.write() as connection:
            _sent.create(connection)
            todo = connection.execute(
                select(messages.c.id, messages.c.customer_id).where(messages.c.state == "planned")
            ).all()
        with stopwatch() as elapsed:
            composer = Composer(ws.library, ws.signer, ws.project.brand, enrolled.now.date())
            content = content_of(campaign, step, None)
            for start in range(0, len(todo), BATCH):
                chunk = todo[start : start + BATCH]
                ids = [row.customer_id for row in chunk]
                with database.read() as connection:
                    people = load_people(connection, ids, enrolled.now, needs, ws.project)
                    to = _addresses(connection, database, ids)
                sink.post([composer.compose(id_, "email", to[c], content, people[c]) for id_, c in chunk])
                with database.write() as connection:
                    connection.execute(
                        insert(_sent),
                        [
                            {"id": id_, "customer_id": c, "channel": "email", "sent_at": enrolled.now}
                            for id_, c in chunk
                        ],
                    )
            taken = elapsed()
        _check(sink, enrolled)
    return taken


def _addresses(connection: Connection, database: Database, ids: list[int]) -> dict[int, str]:
    query = select(addresses.c.customer_id, addresses.c.address).where(
        addresses.c.customer_id.in_(database.among(ids)), addresses.c.kind == "email"
    )
    return dict(connection.execute(query).tuples().all())


def _send_path(enrolled: _Enrolled, sink: Sink, threads: int) -> Taken:
    with _copy(enrolled) as database:
        ws = _hello(database, sink)
        clock = RunningClock(enrolled.now)
        with stopwatch() as elapsed, ThreadPoolExecutor(threads) as pool:

            def dispatch(worker: int) -> None:
                while delivery.dispatch_chunk(ws, "winback", "email", f"bench-{worker}", clock).leased:
                    pass

            for _ in pool.map(dispatch, range(threads)):
                pass
            delivery.settle(ws, "winback", clock())
            taken = elapsed()
        _check(sink, enrolled)
        with database.read() as connection:
            accepted = connection.scalar(
                select(func.count()).where(messages.c.state == "accepted", messages.c.attempts == 1)
            )
        if accepted != enrolled.due:
            raise SystemExit(f"{accepted} messages were accepted, not {enrolled.due}")
    return taken


def _check(sink: Sink, enrolled: _Enrolled) -> None:
    taken = sink.taken()
    if taken.messages != enrolled.due:
        raise SystemExit(f"the sink took {taken.messages} messages, not {enrolled.due}")
