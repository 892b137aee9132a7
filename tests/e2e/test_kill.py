"""SIGKILL, at each named point of a message's way and at random moments: nothing twice, nothing lost.

HOLDFAST_KILLS=200 kills so many senders on each database instead of the usual number.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any, Protocol

import pytest
from sqlalchemy import func, insert, select, update

from holdfast.audience.arms import draw_number
from holdfast.store import doubt
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
RANDOM = ""
LIVES_A_KILL = 5
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
IN_FLIGHT = AT_ONCE * BATCH

# Lives are forked from a server that has everything imported, so that a life starts in a moment.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.e2e.kill.driver"])


class Provider(Protocol):
    """Where the messages arrive."""

    port: int

    def hold(self, nth: int) -> None:
        """Makes it hold its answer to the n-th call from now, when it has taken it; 0: to none."""

    @property
    def held(self) -> int:
        """A file descriptor that can be read from once it holds an answer."""

    def let_go(self) -> None:
        """Reads that it held, after it did."""

    @property
    def taken(self) -> list[int]:
        """The ids of the messages it has, as often as they came."""


@dataclass
class Sink:
    """The batch provider, in its own process."""

    process: subprocess.Popen[bytes]
    journal: Path

    def __post_init__(self) -> None:
        self.port = int(self._said())

    def hold(self, nth: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"%d\n" % nth)
        assert self._said() == "ready"

    @property
    def held(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def let_go(self) -> None:
        assert self._said() == "held"

    @property
    def taken(self) -> list[int]:
        signer = Signer(SECRET)
        lines = self.journal.read_text().splitlines()
        return [signer.verify("message", json.loads(line)[0]) for line in lines]

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    journal = tmp_path / "journal"
    command = [sys.executable, "-m", "tests.e2e.kill.sink", str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        yield Sink(process, journal)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


class MailProvider(SmtpServer):
    """A mail server that can hold its answer to a letter it has taken."""

    def __init__(self) -> None:
        self.held, self._told = os.pipe()
        self._until_held = 0
        super().__init__()

    def hold(self, nth: int) -> None:
        self._until_held = nth

    def let_go(self) -> None:
        assert os.read(self.held, 1) == b"!"

    async def handle_DATA(self, *call: Any) -> str:  # noqa: N802
        answer = await super().handle_DATA(*call)
        self._until_held -= 1
        if self._until_held == 0:
            os.write(self._told, b"!")
            await asyncio.Event().wait()  # cancelled when the connection ends
        return answer

    @property
    def taken(self) -> list[int]:
        signer = Signer(SECRET)
        keys = [str(mail.parsed["Message-ID"]).strip("<>").rpartition("@")[0] for mail in self.mails]
        return [signer.verify("message", key) for key in keys]

    def close(self) -> None:
        super().close()
        os.close(self.held)
        os.close(self._told)


@dataclass
class Lives:
    """Starts senders, one after the other, kills them, and keeps count."""

    life: Life
    database: Database
    provider: Provider
    random: Random
    killed_at: Counter[str] = field(default_factory=Counter)
    occurrence: int = 1

    def kill(self, point: str) -> None:
        """One sender, killed at the point, or at a random moment for none; starts as many as that takes."""
        if point in ("between slices", "inside a slice"):
            self.occurrence += 1
        for _ in range(LIVES_A_KILL):
            if self._killed(point):
                return
            self.occurrence += 1
        pytest.fail(f"{LIVES_A_KILL} senders came to their end without reaching {point!r}")

    def _killed(self, point: str) -> bool:
        """Whether it was killed, not done before."""
        if point == "mid-response":
            self.provider.hold(self.random.randint(1, 8))
        with self._process(point) as (process, pipe):
            if point:
                wait([pipe, self.provider.held])
            else:
                pipe.poll(self.random.uniform(0.0, 0.3))
            if pipe.poll() and pipe.recv() == "done":
                self.provider.hold(0)
                return False
            process.kill()
        if point == "mid-response":
            self.provider.let_go()
        self.killed_at[point] += 1
        self.take_stock()
        return True

    def take_stock(self) -> None:
        """The dead one's leases have run out. What is in doubt of it were calls in flight."""
        with self.database.write() as connection:
            connection.execute(
                update(messages)
                .where(messages.c.lease_owner.is_not(None))
                .values(lease_expires_at=from_microseconds(1))
            )
        _, doubtful = doubt.reclaim(self.database)
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


def kill_and_finish(lives: Lives, moments: Sequence[str], kills: int) -> tuple[set[int], set[int]]:
    """Kills so many senders at these moments in turn, lets the last one finish, and compares what arrived
    with the ledger: (ids at the provider, ids in doubt)."""
    for number in range(kills):
        lives.kill(moments[number % len(moments)])
    lives.finish()
    assert [moment for moment in moments if not lives.killed_at[moment]] == [], "never killed there"
    assert lives.killed_at.total() == kills

    taken = lives.provider.taken
    assert len(set(taken)) == len(taken), "a message went out twice"
    arrived, found = set(taken), ledger_ids(lives.database)
    doubtful = found.pop(("in_doubt", "sender_lost"))
    accepted, rejected = found.pop(("accepted", None)), found.pop(("rejected", "content"), set())
    assert found == {}, "something is left after a clean run"
    assert accepted <= arrived <= accepted | doubtful
    assert rejected.isdisjoint(arrived)
    assert len(doubtful) <= kills * IN_FLIGHT
    everyone_is_enrolled_once_a_run_and_written_to(lives.database)
    return arrived, doubtful


def test_killed_senders_repeat_nothing_and_lose_nothing(
    database: Database, sink: Sink, tmp_path: Path
) -> None:
    populate(database, tmp_path, "sms", refused=True)
    lives = Lives(Life(tmp_path, location(database), sink.port, ""), database, sink, Random(20_260_603))  # noqa: S311
    arrived, doubtful = kill_and_finish(lives, (*POINTS, *[RANDOM] * 5), KILLS)
    assert doubtful & arrived, "no kill came between the provider's taking and the ledger's writing"
    assert doubtful - arrived, "no kill came between the ledger's writing and the provider's taking"

    # Who can ask the provider ends the doubt: what it has is accepted, what it never saw goes out now.
    lives.finish(lookup=True)
    taken = sink.taken
    assert len(set(taken)) == len(taken)
    found = ledger_ids(database)
    assert found.keys() == {("accepted", None), ("rejected", "content")}
    assert found["accepted", None] == set(taken)


def test_killed_senders_of_mail_repeat_nothing_and_lose_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "holdfast.db")
    populate(database, tmp_path, "email", refused=False)
    with MailProvider() as server:
        life = Life(tmp_path, location(database), server.port, "", adapter="smtp")
        lives = Lives(life, database, server, Random(20_260_604))  # noqa: S311
        moments = ("before the call", "mid-response", "before settle", RANDOM)
        arrived, doubtful = kill_and_finish(lives, moments, KILLS // 2)
    assert doubtful & arrived
    assert doubtful - arrived
    database.close()


def location(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


def everyone_is_enrolled_once_a_run_and_written_to(database: Database) -> None:
    with database.read() as connection:
        assert set(connection.scalars(select(runs.c.state))) == {"done"}
        count = connection.scalar(select(func.count()).select_from(runs))
        assert connection.scalar(select(func.count()).select_from(enrollments)) == CUSTOMERS * count
        treated = connection.scalars(select(enrollments.c.id).where(enrollments.c.arm == "treated"))
        written_to = connection.scalars(select(messages.c.enrollment_id))
        assert sorted(treated) == sorted(written_to)


def test_two_processes_that_run_the_same_occurrence_at_once_send_nothing_twice(
    database: Database, sink: Sink, tmp_path: Path
) -> None:
    populate(database, tmp_path, "sms", refused=True)
    life = Life(tmp_path, location(database), sink.port, "k1")
    with _Process(life) as (_, first), _Process(life) as (_, second):
        assert (first.recv(), second.recv()) == ("done", "done")
    # Who came to the end first saw the other's messages still on their way.
    with _Process(life) as (_, last):
        assert last.recv() == "done"
    found = ledger_ids(database)
    assert found.keys() == {("accepted", None), ("rejected", "content")}
    assert sorted(sink.taken) == sorted(found["accepted", None])
    everyone_is_enrolled_once_a_run_and_written_to(database)
