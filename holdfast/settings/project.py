"""The project file as a whole, and how it is read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from holdfast import documents
from holdfast.documents import Document
from holdfast.errors import SettingsError
from holdfast.settings.parts import (
    Brand,
    Business,
    Cases,
    ChannelConfig,
    Defaults,
    Dispatch,
    Labels,
    Lifecycle,
    Part,
    Privacy,
    Referrals,
    Runner,
    Schedules,
    SecretRef,
    Web,
)
from holdfast.settings.sources import SyncSource
from holdfast.units import Name, Share

FILE_NAME = "holdfast.yaml"
SECRET_KEYS = re.compile(
    r"pass|token|secret|credential|api_?key|(?:_|\b)key\b|database|\burl\b", re.IGNORECASE
)


class ProjectFile(Part):
    """What holdfast.yaml says."""

    brand: Brand = Brand.model_validate({})
    business: Business = Business()
    database: SecretRef | None = Field(None, description="Absent: SQLite in .holdfast/ beside the file.")
    secret: SecretRef | None = Field(
        None, description="Signs links and seeds draws. Absent: a random one in .holdfast/."
    )
    link_secrets: list[SecretRef] = Field(
        default_factory=list,
        description="Sign links instead: the first one signs, all are believed. Absent: `secret` does.",
    )
    channels: dict[Name, ChannelConfig] = Field(
        default_factory=lambda: {"email": ChannelConfig(adapter="sandbox")}
    )
    topics: dict[Name, Labels] = Field(
        default_factory=dict,
        description="What marketing is about, by names for campaigns; each as customers read it.",
    )
    defaults: Defaults = Defaults()
    global_holdout: Share = 0.0
    lifecycle: Lifecycle = Lifecycle()
    cases: Cases = Cases.model_validate({})
    dispatch: Dispatch = Dispatch()
    runner: Runner = Runner.model_validate({})
    web: Web = Web.model_validate({})
    referrals: Referrals | None = Field(
        None, description="Invitations that customers pass on. Absent: there are none."
    )
    privacy: Privacy = Privacy.model_validate({})
    schedules: Schedules = Schedules.model_validate({})
    sources: dict[Name, SyncSource] = Field(
        default_factory=dict, description="Where customers and what they did are synced from, in this order."
    )


class Project(ProjectFile):
    """A project: what its file says, and `root`, the folder the file lies in."""

    root: Path = Field(exclude=True)


LATER = {
    "loyalty": "tiers and points",
    "surveys": "questions to customers",
}
"""Keys of the design that this version does not act on, and what they will be for."""

REPLACED = {
    "web.ingest_token": "tokens: {shop: {token: …, scopes: [customers, orders, lines, refunds, events]}}",
    "web.metrics_token": "tokens: {prometheus: {token: …, scopes: metrics}}",
}
"""Keys that there were, and what is written instead."""


# --- from the file --------------------------------------------------------------------------------


def find_project(start: Path) -> Path:
    """The project file in `start` or the nearest folder above. Raises SettingsError where there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise SettingsError(
        f"there is no {FILE_NAME} in {start} or above it",
        hint="go into a project, or name its folder: --project DIR",
    )


def load_project(path: Path, environment: Mapping[str, str] = os.environ) -> Project:
    """The project of this file. Raises ProblemsFound with everything that is wrong."""
    document = read_project(path, environment)
    return document.require(project_of(document, path.parent))


def read_project(path: Path, environment: Mapping[str, str] = os.environ) -> Document:
    """The project file's document, with the environment over it: HOLDFAST_BUSINESS__TIMEZONE=Europe/Berlin.

    Two underscores go one level down. HOLDFAST_DATABASE_URL and HOLDFAST_SECRET are read where they are used.
    """
    document = documents.read(path, secrets=SECRET_KEYS)
    if isinstance(document.data, dict):
        for variable, value in sorted(environment.items()):
            place = tuple(variable.removeprefix("HOLDFAST_").lower().split("__"))
            if variable.startswith("HOLDFAST_") and (len(place) > 1 or place == ("global_holdout",)):
                document.override(place, value, variable)
    return document


def project_of(document: Document, root: Path) -> Project | None:
    """The project that the document describes, or None with its problems added to the document's."""
    later = {place: purpose for pattern, purpose in LATER.items() for place, _ in document.find(pattern)}
    replaced = {place: instead for key, instead in REPLACED.items() for place, _ in document.find(key)}
    document.problems += [
        document.problem(place, f"`{place[-1]}` is no key any more", expected=f"`{instead}`", at_key=True)
        for place, instead in replaced.items()
    ]
    file = document.into(ProjectFile, later, excuse=replaced)
    return None if file is None else Project(root=root.resolve(), **dict(file))
