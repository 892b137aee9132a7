"""SIGKILL, at each named point of a message's way and at random moments: nothing twice, nothing lost.

HOLDFAST_KILLS=200 kills so many senders on each database instead of the usual number.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from holdfast.audience.arms import draw_number
from holdfast.store import ledger
from holdfast.store.database import Database
from holdfast.tables import (
    addresses,
    consents,
    customers,
    enrollments,
    from_microseconds,
    messages,
    metadata,
    runs,
)
from holdfast.tokens import Signer
from tests.e2e.kill.driver import AT_ONCE, BATCH, POINTS, SECRET, Life, live
from tests.servers.smtp_server import SmtpServer

KILLS = int(os.environ.get("HOLDFAST_KILLS", "14"))
CUSTOMERS = 600
LIVES_A_KILL = 5
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
IN_FLIGHT = AT_ONCE * BATCH

# Lives are forked from a server that has everything imported, so that a life starts in a moment.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.e2e.kill.driver"])


@dataclass
class Sink:
    """The provider's process."""

    process: subprocess.Popen[bytes]
    port: int
    journal: Path

    def hold(self, nth: int) -> None:
        """Makes it hold its answer to the n-th batch from now; 0: to none."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"%d\n" % nth)
        assert self.said() == b"ready"

    @property
    def out(self) -> Any:
        return self.process.stdout

    def said(self) -> bytes:
        line: bytes = self.out.readline()
        return line.strip()

    @property
    def taken(self) -> list[int]:
        """The ids of the messages it has, in the order they came, as often as they came."""
        signer = Signer(SECRET)
        lines = self.journal.read_text().splitlines()
        return [signer.verify("message", json.loads(line)[0]) for line in lines]


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    journal = tmp_path / "journal"
    command = [sys.executable, "-m", "tests.e2e.kill.sink", str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        opened = Sink(process, 0, journal)
        opened.port = int(opened.said())
        yield opened
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


@dataclass
class Lives:
    """Starts senders, one after the other, kills them, and keeps count."""

    life: Life
    database: Database
    random: Random
    killed_at: Counter[str] = field(default_factory=Counter)
    occurrence: int = 1

    def kill(self, point: str, held: Any = None) -> None:
        """One sender, killed at the point, or at a random moment for none; starts as many as that takes."""
        if point in ("between slices", "inside a slice"):
            self.occurrence += 1
        for _ in range(LIVES_A_KILL):
            if self._killed(point, held):
                return
            self.occurrence += 1
        pytest.fail(f"{LIVES_A_KILL} senders came to their end without reaching {point!r}")

    def _killed(self, point: str, held: Any) -> bool:
        with self._process(point) as (process, pipe):
            if not point:
                pipe.poll(self.random.uniform(0.0, 0.3))
            else:
                wait([pipe] if held is None else [pipe, held])
            is_at_work = not pipe.poll() or pipe.recv() != "done"
            if is_at_work:
                process.kill()
        if is_at_work:
            self.killed_at[point] += 1
            self.take_stock()
        return is_at_work

    def take_stock(self) -> None:
        """The dead one's leases have run out. What is in doubt of it were calls in flight."""
        with self.database.write() as connection:
            connection.execute(
                update(messages)
                .where(messages.c.lease_owner.is_not(None))
                .values(lease_expires_at=from_microseconds(1))
            )
        _, doubtful = ledger.reclaim(self.database)
        assert doubtful <= IN_FLIGHT

    def finish(self, **changes: Any) -> None:
        """One life that nobody ends."""
        with self._process("", **changes) as (_, pipe):
            assert pipe.recv() == "done"

    def _process(self, point: str, **changes: Any) -> _Process:
        life = replace(
            self.life,
            occurrence=f"k{self.occurrence}",
            point=point,
            nth=self.random.randint(1, 3),
            **changes,
        )
        return _Process(life)


class _Process:
    """A sender that has started, and its pipe."""

    def __init__(self, life: Life) -> None:
        self.pipe, theirs = processes.Pipe()
        self.process = processes.Process(target=live, args=(life, theirs))
        self.process.start()
        theirs.close()
        assert self.pipe.recv() == "started"

    def __enter__(self) -> tuple[Any, Connection]:
        return self.process, self.pipe

    def __exit__(self, *error: object) -> None:
        self.process.join(60)
        assert self.process.exitcode in (0, -9)
        self.pipe.close()


def populate(database: Database, root: Path, kind: str, refused: bool) -> None:
    """Customers who may be written to; a few of them make the sink refuse the whole batch they are in."""
    templates = root / "templates"
    templates.mkdir()
    suffix, block = ("html", "subject") if kind == "email" else ("txt", "")
    subject = "{% block subject %}Hello{% endblock %}" if block else ""
    (templates / f"note.{kind}.{suffix}").write_text(f"{subject}{{% block body %}}Hello{{% endblock %}}")
    metadata.create_all(database.engine)
    ids = range(1, CUSTOMERS + 1)
    marked = {id_: "!" if refused and id_ % 97 == 0 else "" for id_ in ids}
    with database.write() as connection:
        connection.execute(
            insert(customers),
            [
                {"id": i, "external_id": f"c{i}", "draw": draw_number(SECRET, f"c{i}"),
                 "created_at": LONG_AGO, "updated_at": LONG_AGO}
                for i in ids
            ],
        )  # fmt: skip
        connection.execute(
            insert(addresses),
            [
                {"customer_id": i, "kind": kind, "address": f"c{i}{marked[i]}@shop.example",
                 "address_key": f"c{i}{marked[i]}@shop.example"}
                for i in ids
            ],
        )  # fmt: skip
        connection.execute(
            insert(consents),
            [
                {"customer_id": i, "kind": kind, "purpose": "marketing", "granted": True,
                 "evidence": "test", "recorded_at": LONG_AGO}
                for i in ids
            ],
        )  # fmt: skip


def ledger_ids(database: Database) -> dict[tuple[str, str | None], set[int]]:
    """The ids of all messages by their state and reason."""
    found: dict[tuple[str, str | None], set[int]] = {}
    with database.read() as connection:
        for row in connection.execute(select(messages.c.id, messages.c.state, messages.c.reason)):
            found.setdefault((row.state, row.reason), set()).add(row.id)
    return found


def test_killed_senders_repeat_nothing_and_lose_nothing(database: Database, sink: Sink, tmp_path: Path) -> None:
    populate(database, tmp_path, "sms", refused=True)
    location = database.engine.url.render_as_string(hide_password=False)
    lives = Lives(Life(tmp_path, location, sink.port, ""), database, Random(20_260_603))
    moments = (*POINTS, *[""] * 5)
    for number in range(KILLS):
        point = moments[number % len(moments)]
        if point == "mid-response":
            sink.hold(lives.random.randint(1, 8))
            lives.kill(point, sink.out)
            sink.said()
        else:
            lives.kill(point)
    lives.finish()

    assert [point for point in POINTS if not lives.killed_at[point]] == [], "never killed there"
    assert lives.killed_at.total() == KILLS
    taken = sink.taken
    assert len(set(taken)) == len(taken), "a message went out twice"
    at_sink, found = set(taken), ledger_ids(database)
    doubtful = found.pop(("in_doubt", "sender_lost"), set())
    accepted, rejected = found.pop(("accepted", None)), found.pop(("rejected", "content"))
    assert found == {}, "after a clean run nothing else is left"
    assert accepted <= at_sink
    assert rejected.isdisjoint(at_sink)
    assert at_sink <= accepted | doubtful
    assert len(doubtful) <= KILLS * IN_FLIGHT
    everyone_is_enrolled_once_a_run_and_written_to(database)

    # Who can ask the provider ends the doubt: what it has is accepted, what it never saw goes out now.
    assert doubtful & at_sink, "no kill came between the provider's taking and the ledger"
    assert doubtful - at_sink, "no kill came between the ledger and the provider's taking"
    lives.finish(lookup=True)
    taken = sink.taken
    assert len(set(taken)) == len(taken)
    found = ledger_ids(database)
    assert found.keys() == {("accepted", None), ("rejected", "content")}
    assert found["accepted", None] == set(taken)
    assert at_sink & doubtful <= found["accepted", None]


def everyone_is_enrolled_once_a_run_and_written_to(database: Database) -> None:
    with database.read() as connection:
        assert set(connection.scalars(select(runs.c.state))) == {"done"}
        count = connection.scalar(select(func.count()).select_from(runs))
        assert connection.scalar(select(func.count()).select_from(enrollments)) == CUSTOMERS * count
        treated = connection.scalars(select(enrollments.c.id).where(enrollments.c.arm == "treated"))
        written_to = connection.scalars(select(messages.c.enrollment_id))
        assert sorted(treated) == sorted(written_to)
