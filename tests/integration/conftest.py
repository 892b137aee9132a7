"""A small shop in a real database, a project around it, and channels that tests write the answers of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from sqlalchemy import delete, func, insert, select, update

from holdfast.audience.arms import draw_number
from holdfast.campaign.models import Campaign
from holdfast.channel import Capabilities, Channel
from holdfast.content.library import Library
from holdfast.delivery import Source, Workspace, advance, dispatch_chunk, due, enroll, open_run, settle
from holdfast.settings import ChannelConfig, Project
from holdfast.store.database import Database
from holdfast.store.profiles import refresh_profiles
from holdfast.store.runs import Run, get_run
from holdfast.tables import addresses, consents, customers, enrollments, messages, orders, paces, suppressions
from tests.fakes.scripted_channel import ScriptedChannel, ScriptedSettings
from tests.fakes.scripted_publisher import ScriptedPublisher

SECRET = b"a secret of the tests, 32 bytes."
NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that tests set."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> datetime:
        self.now += timedelta(**duration)
        return self.now


@dataclass
class Shop:
    """Customers and what they do, straight into the tables."""

    database: Database
    clock: Clock

    def customers(
        self,
        count: int,
        *,
        kinds: Sequence[str] = ("sms",),
        consent: bool | None = True,
        purpose: str = "marketing",
        **fields: Any,
    ) -> list[int]:
        """New customers with an address and a consent for each kind; their ids."""
        with self.database.write() as connection:
            start = connection.scalar(select(func.coalesce(func.max(customers.c.id), 0))) + 1
            ids = list(range(start, start + count))
            connection.execute(
                insert(customers),
                [
                    {
                        "id": id_,
                        "external_id": f"c{id_}",
                        "draw": draw_number(SECRET, f"c{id_}"),
                        "created_at": self.clock.now,
                        "updated_at": self.clock.now,
                        **fields,
                    }
                    for id_ in ids
                ],
            )
            for kind in kinds:
                rows = [(i, f"{kind}{i}") for i in ids]
                connection.execute(
                    insert(addresses),
                    [{"customer_id": i, "kind": kind, "address": a, "address_key": a} for i, a in rows],
                )
        if consent is not None:
            yesterday = self.clock.now - timedelta(days=1)
            for kind in kinds:
                self.consent(ids, kind, granted=consent, purpose=purpose, at=yesterday)
        return ids

    def consent(
        self,
        ids: Sequence[int],
        kind: str,
        *,
        granted: bool,
        purpose: str = "marketing",
        at: datetime | None = None,
    ) -> None:
        with self.database.write() as connection:
            connection.execute(
                insert(consents),
                [
                    {
                        "customer_id": id_,
                        "kind": kind,
                        "purpose": purpose,
                        "granted": granted,
                        "evidence": "test",
                        "recorded_at": at or self.clock.now,
                    }
                    for id_ in ids
                ],
            )

    def suppress(self, id_: int, kind: str = "sms") -> None:
        with self.database.write() as connection:
            connection.execute(
                insert(suppressions).values(
                    kind=kind, address_key=f"{kind}{id_}", reason="bounced", created_at=self.clock.now
                )
            )

    def order(self, id_: int, at: datetime) -> str:
        """An order of 1.00; its id in the shop."""
        external_id = f"o{id_}-{at.timestamp()}"
        with self.database.write() as connection:
            connection.execute(
                insert(orders).values(
                    external_id=external_id,
                    customer_id=id_,
                    ordered_at=at,
                    month=0,
                    total=100,
                    currency="EUR",
                    status="completed",
                    qualifying=True,
                )
            )
            refresh_profiles(connection, [id_])
        return external_id


@dataclass
class ScriptedChannels:
    """The project's channels, all scripted."""

    opened: dict[str, ScriptedChannel]

    def describe(self, name: str) -> Capabilities:
        return self.opened[name].capabilities

    def open(self, name: str) -> Channel:
        return self.opened[name]


@dataclass
class Bench:
    """A project at work on a scripted channel `sms` (and others, by kind), with verbs for tests."""

    ws: Workspace
    shop: Shop
    clock: Clock
    channels: dict[str, ScriptedChannel]
    sources: dict[str, Source] = field(default_factory=dict)
    _dispatched_at: datetime | None = None

    @property
    def sms(self) -> ScriptedChannel:
        return self.channels["sms"]

    def campaign(self, name: str = "hello", **fields: Any) -> str:
        """Adds a campaign to everybody; the fields as a YAML file has them."""
        written = {
            "campaign": name,
            "audience": {"customer_id": {"exists": True}},
            "steps": [{"id": "first", "channels": ["sms"], "template": "note"}],
            **fields,
        }
        self.sources[name] = Source(Campaign.model_validate(written), repr(written))
        return name

    def publisher(self, name: str) -> ScriptedPublisher:
        """One more channel, which publishes posts."""
        publisher = ScriptedPublisher(name)
        self.channels[name] = cast(ScriptedChannel, publisher)
        self.ws.project.channels[name] = ChannelConfig(adapter="scripted")
        return publisher

    def edit(self, name: str, text: str) -> None:
        """Writes a template, and reads all anew, as the next process would."""
        (self.ws.library.files.root / name).write_text(text)
        self.read_anew()

    def read_anew(self) -> None:
        self.ws.library = Library(self.ws.library.files.root, self.ws.project.brand, self.ws.project.business)

    def another_process(self) -> Bench:
        """The same project, shop and providers, as a process has them that starts now."""
        library = Library(self.ws.library.files.root, self.ws.project.brand, self.ws.project.business)
        return replace(self, ws=replace(self.ws, library=library))

    def calls_at_once(self, most: int) -> ScriptedChannel:
        """The channel `parallel`, of one message a call, with so many calls out together."""
        channel = ScriptedChannel("parallel", ScriptedSettings(batch_size=1, concurrency=most))
        self.channels["parallel"] = channel
        return channel

    def run_of(self, run_id: int) -> Run:
        with self.ws.database.read() as connection:
            return get_run(connection, run_id)

    def start(self, name: str = "hello", key: str = "k1") -> int:
        """Opens and enrolls a run; its id."""
        run = open_run(self.ws, name, key, self.clock.now, self.clock.now)
        enroll(self.ws, run, self.clock.now)
        return run.id

    def dispatch(self, name: str = "hello") -> None:
        """Plans and sends everything that is due now, as the flow does."""
        if self.clock.now != self._dispatched_at:
            self._rested()
        advance(self.ws, name, self.clock.now)
        while waiting := due(self.ws, name, self.clock.now):
            for channel in waiting:
                dispatch_chunk(self.ws, name, channel, "test", self.clock)
        settle(self.ws, name, self.clock.now)

    def _rested(self) -> None:
        """Channels rest by the database's clock, which no test can set: when ours goes on, they have."""
        with self.ws.database.write() as connection:
            connection.execute(delete(paces))
        self.ws.paces.clear()
        self._dispatched_at = self.clock.now

    def campaign_by(self, channel: Channel, address: str, customers: int = 3) -> None:
        """A campaign to so many customers by this channel, which is called sms; each has the address with
        their number in it."""
        kind = channel.capabilities.kind
        self.edit(f"note.{kind}.txt", "{% block body %}Hello{% endblock %}")
        self.channels["sms"] = cast(ScriptedChannel, channel)
        self.campaign(steps=[{"id": "first", "channels": ["sms"], "template": "note"}])
        self.shop.customers(customers, kinds=[kind])
        before, after = address.split("{}")
        given = before + func.substr(addresses.c.address, len(kind) + 1) + after
        with self.ws.database.write() as connection:
            connection.execute(update(addresses).values(address=given, address_key=given))

    def run(self, name: str = "hello", key: str = "k1") -> int:
        """Starts a run and sends what is due; its id."""
        run_id = self.start(name, key)
        self.dispatch(name)
        return run_id

    def messages(self, **where: Any) -> list[Any]:
        """Rows of messages, by id, whose columns have these values."""
        with self.ws.database.read() as connection:
            statement = select(messages).order_by(messages.c.id)
            return list(connection.execute(statement.filter_by(**where)))

    def states(self, **where: Any) -> dict[tuple[str, str | None], int]:
        """How many messages are in which state, for which reason."""
        found: dict[tuple[str, str | None], int] = {}
        for row in self.messages(**where):
            found[row.state, row.reason] = found.get((row.state, row.reason), 0) + 1
        return found

    def enrollments(self, **where: Any) -> list[Any]:
        with self.ws.database.read() as connection:
            statement = select(enrollments).order_by(enrollments.c.id)
            return list(connection.execute(statement.filter_by(**where)))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(database: Database, clock: Clock) -> Shop:
    return Shop(database, clock)


@pytest.fixture
def bench(database: Database, shop: Shop, clock: Clock, tmp_path: Path) -> Bench:
    return make_bench(database, shop, clock, tmp_path)


def make_bench(database: Database, shop: Shop, clock: Clock, root: Path, **settings: Any) -> Bench:
    """A project in the folder, with the templates `note` and the channels sms, telegram and checked."""
    templates = root / "templates"
    templates.mkdir(exist_ok=True)
    for kind in ("sms", "telegram"):
        (templates / f"note.{kind}.txt").write_text(
            "{% block body %}Hello {{ customer.first_name | or_('you') }}{% endblock %}"
        )
    channels = {
        "sms": ScriptedChannel("sms"),
        "telegram": ScriptedChannel("telegram", ScriptedSettings(kind="telegram")),
        "checked": ScriptedChannel("checked", ScriptedSettings(lookup=True)),
        "parallel": ScriptedChannel("parallel", ScriptedSettings(batch_size=1, concurrency=3)),
    }
    project = Project.model_validate(
        {
            "root": root,
            "channels": {name: {"adapter": "scripted"} for name in channels},
            "dispatch": {"chunk": 50},
            **settings,
        }
    )
    sources: dict[str, Source] = {}
    ws = Workspace(
        project=project,
        database=database,
        secret=SECRET,
        library=Library(templates, project.brand, project.business),
        channels=ScriptedChannels(channels),
        sources=sources,
        segments={},
        sleep=lambda seconds: None,
    )
    return Bench(ws, shop, clock, channels, sources)
