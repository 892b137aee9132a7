"""The other side of a kill test: starts senders and their provider, kills senders, and reads both ledgers."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import func, insert, or_, select, update

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
from tests.e2e.kill.driver import AT_ONCE, BATCH, POINTS, SECRET, Life, live, owner_name

RANDOM = ""
IN_FLIGHT = AT_ONCE * BATCH
LIVES_A_KILL = 5
# Of a life, in seconds: what one takes to get to its first call, and a few dozen calls more.
LONGEST = 0.4
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

# Lives are forked from a server that has everything imported, so that a life starts in a moment.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.e2e.kill.driver"])


@dataclass
class Sink:
    """A provider in its own process. `address`: its port, and the key of its webhook where it has one."""

    process: subprocess.Popen[bytes]
    journal: Path
    address: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.address = json.loads(self._said())

    @classmethod
    @contextmanager
    def serving(cls, provider: str, journal: Path) -> Iterator[Sink]:
        """One of this kind, until the end."""
        command = [sys.executable, "-m", "tests.e2e.kill.sink", provider, str(journal)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            yield cls(process, journal)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(30) == 0

    def hold(self, nth: int) -> None:
        """Makes it hold its answer to the n-th call from now, when it has taken it; 0: to none."""
        assert self._told(hold=nth) == "ready"

    @property
    def held(self) -> int:
        """A file descriptor that can be read from once it holds an answer."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def let_go(self) -> None:
        """Reads that it held, after it did."""
        assert self._said() == "held"

    def replay(self, web: str, ids: Collection[int]) -> None:
        """Makes it tell the web app at this address what became of those of the messages that it has."""
        signer = Signer(SECRET)
        assert self._told(replay=web, keys=[signer.sign("message", id_) for id_ in ids]) == "told"

    @property
    def taken(self) -> list[int]:
        """The ids of the messages it has, as often as they came."""
        signer = Signer(SECRET)
        return [signer.verify("message", line.split()[0]) for line in self.journal.read_text().splitlines()]

    def _told(self, **order: Any) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        return self._said()

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()


class Process:
    """A sender that has started, and its pipe."""

    def __init__(self, life: Life) -> None:
        self.pipe, theirs = processes.Pipe()
        self._process = processes.Process(target=live, args=(life, theirs))
        self._process.start()
        theirs.close()
        assert self.pipe.recv() == "started"

    @property
    def owner(self) -> str:
        """Whose its leases are."""
        assert self._process.pid is not None
        return owner_name(self._process.pid)

    @property
    def is_done(self) -> bool:
        """Whether it has come to its end by itself."""
        said = self.pipe.recv() if self.pipe.poll() else ""
        assert said in ("", "done", *POINTS), said
        return bool(said == "done")

    def finish(self) -> None:
        """Waits for its end."""
        assert self.ended() == "done"

    def ended(self) -> str:
        """Waits for its end: `done`, or what it failed with."""
        how: str = self.pipe.recv()
        self.bury()
        return how

    def kill(self) -> None:
        """Ends it, now."""
        self._process.kill()
        self.bury()

    def bury(self) -> None:
        """To be called when it is done or killed."""
        self._process.join(60)
        assert self._process.exitcode in (0, -9)
        self.pipe.close()


@dataclass
class Lives:
    """Starts senders, kills them, and keeps count.

    `killed_at` counts the kills by point. Where two are at work at once, one of them is the `companion`,
    which lives on from kill to kill, until it is done or dies with the other one.
    """

    life: Life
    database: Database
    sink: Sink
    random: Random
    killed_at: Counter[str] = field(default_factory=Counter)
    dead: int = 0
    occurrence: int = 1
    companion: Process | None = None

    def kill(self, point: str, *, two: bool = False) -> None:
        """One sender, killed at the point, or at a random moment for none; starts as many as that takes.

        `two`: while another one is at work, which at times dies with it.
        """
        if point in ("between slices", "inside a slice"):
            self.occurrence += 1
        for _ in range(LIVES_A_KILL):
            if self._killed(point, two):
                self.killed_at[point] += 1
                return
            self.occurrence += 1
        pytest.fail(f"{LIVES_A_KILL} senders came to their end without reaching {point!r}")

    def finish(self, **changes: Any) -> None:
        """One life that nobody ends, after that of who is still at work."""
        self._keep_company(False)
        self.start(**changes).finish()

    def _killed(self, point: str, two: bool) -> bool:
        """Whether it was killed, not done before."""
        self._keep_company(two)
        if point == "mid-response":
            self.sink.hold(self.random.randint(1, 8))
        victim = self.start(point)
        crew = [victim, self.companion] if self.companion else [victim]
        if point == "mid-response":
            doomed = self._held(crew)
        else:
            victim.pipe.poll(None if point else self.random.uniform(0.0, LONGEST))
            doomed = [victim] if not victim.is_done else []
            if not doomed:
                victim.bury()
            elif self.companion and self.random.random() < 0.3:
                doomed = crew
        for process in doomed:
            process.kill()
        if self.companion in doomed:
            self.companion = None
        self.take_stock(doomed)
        return bool(doomed)

    def _held(self, crew: list[Process]) -> list[Process]:
        """Those who are at work when the provider holds an answer, to any of them; none if they get done."""
        at_work = {process.pipe: process for process in crew}
        while at_work:
            ready = wait([*at_work, self.sink.held])
            if self.sink.held in ready:
                self.sink.let_go()
                return list(at_work.values())
            for pipe in at_work.keys() & set(ready):
                process = at_work.pop(pipe)
                process.finish()
                self.companion = self.companion if self.companion is not process else None
        self.sink.hold(0)
        return []

    def take_stock(self, dead: list[Process]) -> None:
        """The dead ones' leases have run out. What is in doubt of them were calls in flight."""
        if not dead:
            return
        self.dead += len(dead)
        with self.database.write(exclusive=True) as connection:
            connection.execute(
                update(messages)
                .where(or_(*(messages.c.lease_owner.startswith(f"{who.owner}/") for who in dead)))
                .values(lease_expires_at=from_microseconds(1))
            )
        _, doubtful = doubt.reclaim(self.database)
        assert doubtful <= IN_FLIGHT * len(dead)

    def _keep_company(self, two: bool) -> None:
        if self.companion and (not two or self.companion.is_done):
            (self.companion.bury if two else self.companion.finish)()
            self.companion = None
        if two and not self.companion:
            self.companion = self.start()

    def start(self, point: str = RANDOM, **changes: Any) -> Process:
        """One more sender. Nothing but `kill` ends it before its time."""
        return Process(
            replace(
                self.life,
                occurrence=f"k{self.occurrence}",
                point=point,
                nth=self.random.randint(1, 3),
                **changes,
            )
        )


def populate(database: Database, root: Path, kind: str, count: int) -> None:
    """Customers who may be written to; a few of them are unknown to the provider."""
    templates = root / "templates"
    templates.mkdir()
    suffix, subject = ("html", "{% block subject %}Hello{% endblock %}") if kind == "email" else ("txt", "")
    (templates / f"note.{kind}.{suffix}").write_text(f"{subject}{{% block body %}}Hello{{% endblock %}}")
    metadata.create_all(database.engine)
    ids = range(1, count + 1)
    domains = {id_: "no_body.example" if id_ % 97 == 0 else "shop.example" for id_ in ids}
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
                {"customer_id": i, "kind": kind, "address": f"c{i}@{domains[i]}",
                 "address_key": f"c{i}@{domains[i]}"}
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


def location(database: Database) -> str:
    """What another process opens it by."""
    return database.engine.url.render_as_string(hide_password=False)


def ledger_ids(database: Database) -> dict[tuple[str, str | None], set[int]]:
    """The ids of all messages by their state and reason."""
    found: dict[tuple[str, str | None], set[int]] = {}
    with database.read() as connection:
        for row in connection.execute(select(messages.c.id, messages.c.state, messages.c.reason)):
            found.setdefault((row.state, row.reason), set()).add(row.id)
    return found


def everyone_is_enrolled_once_a_run_and_written_to(database: Database) -> None:
    """Fails unless all runs are done, and have everybody in them, with a message for each who is treated."""
    with database.read() as connection:
        assert set(connection.scalars(select(runs.c.state))) == {"done"}
        people = connection.scalar(select(func.count()).select_from(customers)) or 0
        count = connection.scalar(select(func.count()).select_from(runs)) or 0
        assert connection.scalar(select(func.count()).select_from(enrollments)) == people * count
        treated = connection.scalars(select(enrollments.c.id).where(enrollments.c.arm == "treated"))
        written_to = connection.scalars(select(messages.c.enrollment_id))
        assert sorted(treated) == sorted(written_to)
