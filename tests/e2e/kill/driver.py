"""The sender that is killed: one process, one life, doing what the flow does until it is done or dead.

At the named point it says so to its parent, and stands still until it is killed.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from channels.sendgrid_email import SendgridChannel, SendgridSettings
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
from holdfast.content.tracking import Tracking
from holdfast.delivery import Source, Workspace, advance, dispatch_chunk, due, enroll, open_run, settle
from holdfast.delivery.planning import running
from holdfast.errors import BatchRefused, HoldfastError
from holdfast.settings import Project
from holdfast.store import enrolling
from holdfast.store.database import Database
from holdfast.tokens import Signer
from tests.servers.sendgrid_server import API_KEY

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
    """What one process is to do; it stands still at the point, the n-th time it gets there.

    `resend`: what has been in doubt for an hour goes out again, and that hour is over. `largest_file`: how
    large a file of its may grow, in bytes, as if the disk were full then.
    """

    root: Path
    database: str
    port: int
    provider: str
    webhook_key: str | None = None
    occurrence: str = "k1"
    lookup: bool = False
    resend: bool = False
    largest_file: int | None = None
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
    """A batch provider behind its socket."""

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
            "brand": {
                "name": "Acme",
                "from": "Acme <hello@acme.example>",
                "public_url": "https://r.acme.example",
            },
            "channels": {"out": {"adapter": life.provider}},
            "dispatch": {"chunk": CHUNK},
        }
    )
    written = {
        "campaign": CAMPAIGN,
        "audience": {"customer_id": {"exists": True}},
        "holdout": "10%",
        "re_entry": "always",
        "in_doubt": "resend" if life.resend else "hold",
        "in_doubt_after": "1h",
        "steps": [{"id": "first", "channels": ["out"], "template": "note"}],
    }
    templates = life.root / "templates"
    tracking = Tracking.of(templates, project.brand, project.web, Signer(SECRET).sign_link)
    return Workspace(
        project=project,
        database=database,
        secret=SECRET,
        library=Library(templates, project.brand, project.business, tracking),
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
    """One life: works until nothing is due, or until something fails, and says which."""
    enrolling.SLICE = SLICE
    if life.largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (life.largest_file, resource.RLIM_INFINITY))
    points = Points(life, parent)
    ws = open_workspace(life, points.reach, WatchedChannel(open_channel(life), points))
    parent.send("started")
    try:
        work(ws, life, points)
    except (HoldfastError, DBAPIError) as error:
        parent.send(str(error))
    else:
        parent.send("done")
    ws.close()


def work(ws: Workspace, life: Life, points: Points) -> None:
    """What the flow does: opens the occurrence's run, enrolls, and sends until nothing is due."""
    # The provider is asked when every call of the dead must be over; doubt ends by the policy after its hour.
    ahead = ws.project.dispatch.lease if life.lookup else timedelta(hours=2 if life.resend else 0)

    def now() -> datetime:
        return datetime.now(UTC) + ahead

    settle(ws, CAMPAIGN, now())
    open_run(ws, CAMPAIGN, life.occurrence, now(), now())
    for run in running(ws, CAMPAIGN):
        enroll(ws, run, now(), lambda *_: points.reach("between slices"))
    advance(ws, CAMPAIGN, now())
    while waiting := due(ws, CAMPAIGN, now()):
        for name in waiting:
            dispatch_chunk(ws, CAMPAIGN, name, owner_name(os.getpid()), now)
    settle(ws, CAMPAIGN, now())


def owner_name(pid: int) -> str:
    """Whose leases those of this process are."""
    return f"driver {pid}"


def open_channel(life: Life) -> Channel:
    """The channel to the life's provider."""
    if life.provider == "batch":
        return SinkChannel(life.port, lookup=life.lookup)
    if life.provider == "smtp":
        return SmtpChannel(
            "out",
            SmtpSettings(
                host="127.0.0.1",
                port=life.port,
                security="none",
                # As many letters in flight, in more calls: they are begun, and settled, by several at once.
                batch_size=BATCH // 10,
                concurrency=AT_ONCE * 10,
                helo="test.example",
            ),
        )
    return SendgridChannel(
        "out",
        SendgridSettings(
            api_key=SecretStr(API_KEY),
            base_url=f"http://127.0.0.1:{life.port}",
            webhook_key=life.webhook_key,
            batch_size=BATCH,
            concurrency=AT_ONCE,
        ),
    )
