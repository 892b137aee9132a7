"""A project behind its web app: a message each to the customers that a test asks for."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Table, event, insert, select, text

from channels.sandbox import SandboxChannel, SandboxSettings
from holdfast.store.database import Database
from holdfast.tables import campaign_versions, enrollments, inbox, messages, runs
from holdfast.web import create_app
from tests.integration.conftest import Bench, Clock, Shop, make_bench
from tests.servers.web_server import Stage, serving

WEBHOOK_KEY = "a key of the tests"
TOKEN = "a token of the tests"
SETTINGS = {
    "brand": {"name": "Acme", "postal_address": "1 High St"},
    "channels": {"email": {"adapter": "sandbox"}, "sms": {"adapter": "scripted"}},
}
# What does not depend on the engine is tried on one.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@dataclass
class Web:
    """A bench with its web app, and a client of it that asks for pages and follows no redirect."""

    bench: Bench
    client: httpx.Client

    @property
    def database(self) -> Database:
        return self.bench.ws.database

    def message(self, **customer: Any) -> int:
        """The id of a text message to a new customer, reachable and willing by email too."""
        [id_] = self.bench.shop.customers(1, kinds=("email", "sms"), **customer)
        now = self.bench.clock.now
        run = {"campaign": "hello", "occurrence": f"k{id_}", "state": "done", "as_of": now, "created_at": now}
        entry = {"campaign": "hello", "customer_id": id_, "entry": 1, "arm": "treated", "enrolled_at": now}
        sent = {"state": "accepted", "due_at": now, "sent_at": now, "settled_at": now}
        route = {"step": "first", "channel": "sms", "kind": "sms", "purpose": "marketing"}
        version = {"campaign": "hello", "digest": f"k{id_}", "source": "", "digests": {}, "created_at": now}
        with self.database.write() as connection:

            def add(table: Table, **row: Any) -> int:
                return int(connection.execute(insert(table).values(row)).inserted_primary_key[0])

            run_id = add(runs, **run, version_id=add(campaign_versions, **version))
            enrollment_id = add(enrollments, **entry, run_id=run_id)
            whose = {"enrollment_id": enrollment_id, "run_id": run_id, "customer_id": id_}
            return add(messages, **whose, **route, **sent)

    def letters(self) -> list[Any]:
        """Rows of the inbox, in order."""
        with self.database.read() as connection:
            return list(connection.execute(select(inbox).order_by(inbox.c.id)))

    def answers(self) -> list[dict[str, Any]]:
        """What our own links recorded."""
        return [json.loads(letter.body) for letter in self.letters() if letter.channel is None]


MakeWeb = Callable[..., Web]


@pytest.fixture(scope="session")
def stage() -> Iterator[tuple[Stage, str]]:
    """One server for all tests, and its address."""
    stage = Stage()
    with serving(stage) as url:
        yield stage, url


@pytest.fixture
def make_web(
    stage: tuple[Stage, str], database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> Iterator[MakeWeb]:
    """Serves a project with these settings, a sandbox `email` whose answers are signed, and an `sms`."""
    played, url = stage
    with httpx.Client(base_url=url, headers={"Accept": "text/html"}) as client:

        def make(**settings: Any) -> Web:
            bench = make_bench(database, shop, clock, tmp_path, **SETTINGS | settings)
            sandbox = {"folder": tmp_path / "sandbox", "webhook_key": WEBHOOK_KEY}
            bench.channels["email"] = SandboxChannel(  # type: ignore[assignment]
                "email", SandboxSettings.model_validate(sandbox)
            )
            played.app = create_app(bench.ws, clock)
            return Web(bench, client)

        yield make


@pytest.fixture
def web(make_web: MakeWeb) -> Web:
    return make_web()


def signed(body: bytes, at: datetime, key: str = WEBHOOK_KEY) -> dict[str, str]:
    """The headers of a webhook that the sandbox believes."""
    timestamp = str(int(at.timestamp()))
    signature = hmac.digest(key.encode(), f"evt.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": "evt",
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }


class Outage:
    """Takes the database away, for as long as the block lasts: really, for everybody who uses it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> None:
        if self._database.is_sqlite:
            # Another program holds the file. Ours shall not wait a minute for it in a test.
            event.listen(self._database.engine, "checkout", _impatient)
            self._holder = self._database.engine.raw_connection()
            self._holder.cursor().execute("BEGIN EXCLUSIVE")
        else:
            self._admit(False)

    def __exit__(self, *exception: object) -> None:
        if self._database.is_sqlite:
            self._holder.cursor().execute("ROLLBACK")
            self._holder.close()
        else:
            self._admit(True)

    def _admit(self, admitted: bool) -> None:
        url = self._database.engine.url
        admin = Database(url.set(database="postgres").render_as_string(hide_password=False))
        with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS {admitted}"))
            if not admitted:
                gone = text(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"
                )
                connection.execute(gone, {"name": url.database})
        admin.close()


def _impatient(connection: Any, record: Any, proxy: Any) -> None:
    connection.execute("PRAGMA busy_timeout = 50")
