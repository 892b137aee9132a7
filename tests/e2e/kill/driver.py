"""The sender that is killed: one process, one life, doing what the flow does until it is done or dead.

At the named point it says so to its parent, and stands still until it is killed.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import event

from channels.smtp import SmtpChannel, SmtpSettings
from holdfast.campaign.models import Campaign
from holdfast.channel import (
    Accepted,
    Capabilities,
    Channel,
    ChannelSettings,
    Message,
    Outcome,
    Retry,
    by_count,
)
from holdfast.content.library import Library
from holdfast.delivery import Source, Workspace, advance, dispatch_chunk, due, enroll, open_run, settle
from holdfast.delivery.planning import running
from holdfast.errors import BatchRefused
from holdfast.settings import Project
from holdfast.store import enrolling
from holdfast.store.database import Database

SECRET = b"a secret of the tests, 32 bytes."
CAMPAIGN = "hello"
BATCH, AT_ONCE, CHUNK, SLICE = 20, 2, 120, 150

POINTS = (
    "between slices",  # of enrolling
    "inside a slice",  # enrolled, and their messages not planned
    "before sending",  # leased and rendered; the transaction that sets `sending` has begun
    "before the commit of sending",
    "before the call",  # `sending` is committed
    "mid-response",  # the sink has the batch and holds its answer
    "before settle",  # the answer is here
    "before the commit of settle",
    "mid-bisect",  # a half of a refused batch is on its way, the other one is not
)


@dataclass(frozen=True, slots=True)
class Life:
    """What one process is to do; it stands still at the point, the n-th time it gets there."""

    root: Path
    database: str
    port: int
    occurrence: str
    adapter: str = "sink"
    lookup: bool = False
    point: str = ""
    nth: int = 1


class Points:
    """Counts how often each point is reached."""

    def __init__(self, life: Life, parent: Connection) -> None:
        self._life, self._parent, self._left, self._lock = life, parent, life.nth, threading.Lock()

    def reach(self, point: str) -> None:
        """Stands still here, for ever, when it is this life's point."""
        if point != self._life.point:
            return
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._parent.send(point)
        threading.Event().wait()


class SinkChannel:
    """A batch provider behind the sink's socket."""

    Settings = ChannelSettings

    def __init__(self, port: int, *, lookup: bool) -> None:
        self.capabilities = Capabilities("sms", batch_size=BATCH, concurrency=AT_ONCE, lookup=lookup)
        self._port, self._local = port, threading.local()

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        return by_count(messages, self.capabilities.batch_size)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        answer = self._ask({"send": [[message.key, message.to] for message in batch]})
        if "refused" in answer:
            raise BatchRefused("400")
        return [Accepted() for _ in batch]

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        known = set(self._ask({"lookup": list(keys)})["known"])
        return {key: Accepted() if key in known else Retry() for key in keys}

    def close(self) -> None:
        pass

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if not hasattr(self._local, "file"):
            connection = socket.create_connection(("127.0.0.1", self._port))
            self._local.file = connection.makefile("rw")
        print(json.dumps(request), file=self._local.file, flush=True)
        answer: dict[str, Any] = json.loads(self._local.file.readline())
        return answer


class WatchedChannel:
    """A channel with points around its calls."""

    Settings = ChannelSettings

    def __init__(self, channel: Channel, points: Points) -> None:
        self._channel, self._points, self.capabilities = channel, points, channel.capabilities
        self._local = threading.local()

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        return self._channel.batches(messages)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        self._points.reach("before the call")
        if getattr(self._local, "refused", False):
            self._local.refused = False
            self._points.reach("mid-bisect")
        try:
            outcomes = self._channel.send(batch)
        except BatchRefused:
            self._local.refused = len(batch) > 1
            raise
        self._points.reach("before settle")
        return outcomes

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        return self._channel.lookup(keys, since)

    def close(self) -> None:
        self._channel.close()


@dataclass
class OneChannel:
    """The project's only channel."""

    channel: Channel

    def describe(self, name: str) -> Capabilities:
        return self.channel.capabilities

    def open(self, name: str) -> Channel:
        return self.channel


def open_workspace(life: Life, reach: Callable[[str], None], channel: Channel) -> Workspace:
    """The project of this life, its database's statements watched for points."""
    database = Database(life.database)
    watch(database, reach)
    project = Project.model_validate(
        {
            "root": life.root,
            "brand": {"name": "Acme", "from": "Acme <hello@acme.example>"},
            "channels": {"out": {"adapter": life.adapter}},
            "dispatch": {"chunk": CHUNK},
        }
    )
    written = {
        "campaign": CAMPAIGN,
        "audience": {"customer_id": {"exists": True}},
        "holdout": "10%",
        "re_entry": "always",
        "steps": [{"id": "first", "channels": ["out"], "template": "note"}],
    }
    return Workspace(
        project=project,
        database=database,
        secret=SECRET,
        library=Library(life.root / "templates", project.brand, project.business),
        channels=OneChannel(channel),
        sources={CAMPAIGN: Source(Campaign.model_validate(written), repr(written))},
        segments={},
    )


def watch(database: Database, reach: Callable[[str], None]) -> None:
    """Recognises, by the statements of its transaction, where in the ledger's work this process is."""

    @event.listens_for(database.engine, "before_cursor_execute")
    def executing(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if "INSERT INTO attempts" in statement:
            connection.info["at"] = "before the commit of sending"
            reach("before sending")
        elif "UPDATE attempts" in statement:
            connection.info["at"] = "before the commit of settle"
        elif "INSERT INTO messages" in statement:
            reach("inside a slice")

    @event.listens_for(database.engine, "commit")
    def committing(connection: Any) -> None:
        if at := connection.info.pop("at", ""):
            reach(at)


def live(life: Life, parent: Connection) -> None:
    """One life: opens the occurrence's run and works until nothing is due."""
    enrolling.SLICE = SLICE
    points = Points(life, parent)
    channel: Channel = (
        SinkChannel(life.port, lookup=life.lookup) if life.adapter == "sink" else smtp_channel(life.port)
    )
    ws = open_workspace(life, points.reach, WatchedChannel(channel, points))
    # The provider is asked when every call of the dead must be over.
    ahead = ws.project.dispatch.lease if life.lookup else timedelta()

    def now() -> datetime:
        return datetime.now(UTC) + ahead

    parent.send("started")
    settle(ws, CAMPAIGN, now())
    open_run(ws, CAMPAIGN, life.occurrence, now(), now())
    for run in running(ws, CAMPAIGN):
        enroll(ws, run, now(), lambda *_: points.reach("between slices"))
    advance(ws, CAMPAIGN, now())
    while waiting := due(ws, CAMPAIGN, now()):
        for name in waiting:
            dispatch_chunk(ws, CAMPAIGN, name, "driver", now)
    settle(ws, CAMPAIGN, now())
    ws.close()
    parent.send("done")


def smtp_channel(port: int) -> Channel:
    return SmtpChannel(
        "out",
        SmtpSettings(
            host="127.0.0.1",
            port=port,
            security="none",
            batch_size=BATCH,
            concurrency=AT_ONCE,
            helo="test.example",
        ),
    )
