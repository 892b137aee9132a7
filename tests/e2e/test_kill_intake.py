"""SIGKILL to the web app under load: every event is there once, as senders repeat what got no 2xx."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, insert, select

from holdfast.delivery import Workspace
from holdfast.responses import collect
from holdfast.tables import (
    campaign_versions,
    customers,
    enrollments,
    inbox,
    messages,
    responses,
    runs,
)
from holdfast.wiring import open_workspace
from tests.e2e.kill.intake import SECRETS, Senders, Server
from tests.servers.sendgrid_server import SendgridServer

EVENTS = 200  # a body
KNOWN = 40  # messages of ours, that a fifth of each body's events are of
NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)

MakeProject = Callable[[str], Workspace]


def populate(ws: Workspace) -> None:
    """Messages that were sent."""
    ids = range(1, KNOWN + 1)
    entry = {"campaign": "hello", "entry": 1, "arm": "treated", "enrolled_at": NOW, "run_id": 1}
    message = {"step": "first", "channel": "email", "kind": "email", "purpose": "marketing", "run_id": 1}
    sent = {"state": "accepted", "due_at": NOW, "sent_at": NOW, "settled_at": NOW}
    made_now = {"as_of": NOW, "created_at": NOW}
    with ws.database.write() as connection:
        connection.execute(
            insert(customers),
            [{"id": i, "external_id": f"c{i}", "draw": i, "created_at": NOW, "updated_at": NOW} for i in ids],
        )
        connection.execute(
            insert(campaign_versions),
            {"id": 1, "campaign": "hello", "digest": "k1", "source": "", "digests": {}, "created_at": NOW},
        )
        connection.execute(
            insert(runs),
            {"id": 1, "version_id": 1, "campaign": "hello", "occurrence": "k1", "state": "done"} | made_now,
        )
        connection.execute(insert(enrollments), [{"id": i, "customer_id": i, **entry} for i in ids])
        connection.execute(
            insert(messages),
            [{"id": i, "enrollment_id": i, "customer_id": i, **message, **sent} for i in ids],
        )


def body(ws: Workspace, number: int) -> bytes:
    """The events of so many messages, as SendGrid writes them: some of ours, others of another system."""

    def event(place: int) -> dict[str, object]:
        n = number * EVENTS + place
        key = ws.signer.sign("message", 1 + n // 5 % KNOWN) if n % 5 == 0 else f"{n}.of-another-system"
        return {
            "email": f"customer{n}@shop.example",
            "timestamp": 1_780_488_000 + n,
            "event": "open",
            "sg_event_id": f"event-{n:012}",
            "sg_message_id": f"{n:022}.recvd-5f8c9-{place:05}.0",
            "hf": key,
        }

    return json.dumps([event(place) for place in range(EVENTS)]).encode()


def every_event_is_there_once(
    ws: Workspace, database: str, sendgrid: SendgridServer, kills: int, bodies: int
) -> None:
    given = [body(ws, number) for number in range(bodies)]
    signed = [(each, sendgrid.signed(each, datetime.now(UTC))) for each in given]
    senders = Senders(signed, kills, Random(20_260_603))  # noqa: S311
    server = Server(ws.project.root, database, kills)
    try:
        senders.send_all(server)
    finally:
        server.end()
    assert senders.taken == bodies
    assert senders.broken >= kills, "no post was under way when the server was killed"

    with ws.database.read() as connection:
        kept = Counter(connection.scalars(select(inbox.c.body)))
    assert kept == Counter(given)
    collected = collect(ws, datetime.now(UTC))
    events = bodies * EVENTS
    assert (collected.letters, collected.unreadable, collected.problems) == (bodies, 0, ())
    assert (collected.new, collected.repeated) == (events, 0)
    with ws.database.read() as connection:
        count = func.count()
        assert connection.scalar(select(count).select_from(responses)) == events
        assert connection.scalar(select(func.count(responses.c.event_id.distinct()))) == events
        of_ours = select(count).where(responses.c.message_id.is_not(None))
        assert connection.scalar(of_ours) == events // 5
        opened = select(count).where(messages.c.opened_at.is_not(None))
        assert connection.scalar(opened) == KNOWN


@pytest.fixture
def sendgrid() -> SendgridServer:
    return SendgridServer()


@pytest.fixture
def make_project(
    tmp_path: Path, sendgrid: SendgridServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeProject]:
    with ExitStack() as stack:

        def make(database: str) -> Workspace:
            for name, value in {**SECRETS, "HOLDFAST_DATABASE_URL": database}.items():
                monkeypatch.setenv(name, value)
            settings = {"adapter": "sendgrid", "api_key": {"env": "SENDGRID_API_KEY"}}
            channel = settings | {"webhook_key": sendgrid.webhook_key}
            (tmp_path / "holdfast.yaml").write_text(json.dumps({"channels": {"email": channel}}))
            ws = stack.enter_context(closing(open_workspace(tmp_path, lambda name: "")))
            populate(ws)
            return ws

        yield make


def test_a_server_killed_twice_under_load_loses_and_doubles_nothing(
    make_project: MakeProject, sendgrid: SendgridServer, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'holdfast.db'}"
    every_event_is_there_once(make_project(database), database, sendgrid, kills=2, bodies=25)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_hundred_thousand_events_outlive_the_servers_that_take_them(
    engine: str,
    make_project: MakeProject,
    sendgrid: SendgridServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    database = f"sqlite:///{tmp_path / 'holdfast.db'}"
    if engine == "postgresql":
        database = request.getfixturevalue("fresh_postgres_url")
    every_event_is_there_once(make_project(database), database, sendgrid, kills=20, bodies=500)
