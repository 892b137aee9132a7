"""A project in memory around a database: the shipped templates and settings, channels to measure with."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from holdfast.campaign.loading import load_campaign, load_segments
from holdfast.campaign.models import Campaign
from holdfast.content.library import Library
from holdfast.content.tracking import Tracking
from holdfast.delivery import Channels, Source, Workspace
from holdfast.settings import Project, load_project
from holdfast.store.database import Database
from holdfast.tokens import Signer
from tests.benchmarks.sink import SinkChannels

REPOSITORY = Path(__file__).parents[2]
SECRET = b"a secret of the benchmarks, 32 b"
NOWHERE = SinkChannels()


class RunningClock:
    """A clock that starts at a given moment."""

    def __init__(self, start: datetime) -> None:
        self._start, self._zero = start, perf_counter()

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=perf_counter() - self._zero)


def project() -> Project:
    """The shipped project file."""
    return load_project(REPOSITORY / "holdfast.yaml")


def workspace(database: Database, channels: Channels = NOWHERE, **campaign: Any) -> Workspace:
    """The shipped project with its campaign `winback`, the fields given in the place of its own."""
    settings = project()
    segments = load_segments(REPOSITORY)
    shipped = load_campaign(REPOSITORY / "campaigns" / "winback.yaml", settings, segments)
    changed = Campaign.model_validate(
        {**shipped.model_dump(by_alias=True, exclude_defaults=True), **campaign}
    )
    return Workspace(
        project=settings,
        database=database,
        secret=SECRET,
        library=Library(
            REPOSITORY / "templates",
            settings.brand,
            settings.business,
            Tracking.of(REPOSITORY / "templates", settings.brand, settings.web, Signer(SECRET).sign_link),
        ),
        channels=channels,
        sources={"winback": Source(changed, changed.model_dump_json())},
        segments=segments,
    )


def hello(database: Database, channels: Channels = NOWHERE) -> Workspace:
    """The shipped project with a campaign of one step, `winback/hello` by email, for whoever has ordered."""
    return workspace(
        database,
        channels,
        audience={"orders.count": {"gte": 1}},
        holdout="0%",
        steps=[{"id": "hello", "channels": ["email"], "template": "winback/hello"}],
        send={"window": "09:00-20:00", "cap": {"messages": 3, "per": "7d"}},
    )
