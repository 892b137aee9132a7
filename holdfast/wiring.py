"""Putting a project's parts together: what every entrance opens first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import channels
from channels.sandbox_files import Outbox, read_outbox
from holdfast.campaign.loading import campaign_files, load_segments, read_campaign, recovery_problems
from holdfast.channel import Capabilities, Channel
from holdfast.content.library import Library
from holdfast.content.tracking import Tracking
from holdfast.delivery import Source, Workspace
from holdfast.errors import ProblemsFound, SettingsError
from holdfast.settings import (
    ChannelConfig,
    Project,
    database_location,
    is_reference,
    link_secrets,
    project_of,
    project_secret,
    read_project,
    resolve_options,
)
from holdfast.store.database import Database
from holdfast.store.schema import ensure
from holdfast.tokens import Signer

ReadBlock = Callable[[str], str]


def open_workspace(root: Path, read_block: ReadBlock) -> Workspace:
    """The project in the folder `root`, with its database at the schema of this version.

    Raises ProblemsFound with everything that is wrong in any of its files, and SettingsError or
    DatabaseUnreachable where a secret or the database is missing. Channels are opened when they are used.
    """
    document = read_project(root / "holdfast.yaml")
    project = document.require(project_of(document, root))
    segments = load_segments(root)
    sources, problems = {}, []
    for path in campaign_files(root):
        try:
            of_campaign, campaign = read_campaign(path, project, segments)
            sources[path.stem] = Source(of_campaign.require(campaign), of_campaign.text)
        except ProblemsFound as error:
            problems += error.problems
    found = {path.stem: None for path in campaign_files(root)} | {
        name: source.campaign for name, source in sources.items()
    }
    problems += recovery_problems(document, project, found)
    if problems:
        raise ProblemsFound(problems)
    database = open_database(project, read_block)
    secret = project_secret(project, read_block)
    signing = link_secrets(project, read_block)
    templates = project.root / "templates"
    tracking = Tracking.of(templates, project.brand, project.web, Signer(*signing).sign_link)
    return Workspace(
        project=project,
        database=database,
        secret=secret,
        library=Library(templates, project.brand, project.business, tracking),
        channels=ProjectChannels(project, read_block),
        sources=sources,
        segments=segments,
        link_secrets=signing,
    )


def open_database(project: Project, read_block: ReadBlock) -> Database:
    """The project's database, made where there is none yet. Raises SchemaOutdated for an old one."""
    database = Database(database_location(project, read_block))
    ensure(database)
    return database


@dataclass
class ProjectChannels:
    """The channels of one project's file."""

    project: Project
    read_block: ReadBlock
    _described: dict[str, Capabilities] = field(default_factory=dict)

    def describe(self, name: str) -> Capabilities:
        """What the channel can do; looks at no secret."""
        if name not in self._described:
            config = _config(self.project, name)
            self._described[name] = channels.describe(name, config, _for_show(self.project, name, config))
        return self._described[name]

    def open(self, name: str) -> Channel:
        """The channel, opened. Raises SettingsError, which names settings and never shows values."""
        config = _config(self.project, name)
        options = resolve_options(_placed(self.project, name, config), self.read_block)
        return channels.open_channel(name, config, options)


def outboxes(project: Project, latest: int) -> list[Outbox]:
    """What the project's sandboxes have written, the newest `latest` messages of each; looks at no secret.

    Raises SettingsError where one has settings that it does not take.
    """
    found = []
    for name, config in project.channels.items():
        if config.adapter == "sandbox":
            settings: Any = channels.checked_settings(name, config, _for_show(project, name, config))
            found.append(
                read_outbox(name, settings.kind, settings.folder, is_posts=settings.post, latest=latest)
            )
    return found


def _config(project: Project, name: str) -> ChannelConfig:
    try:
        return project.channels[name]
    except KeyError:
        raise SettingsError(
            f"there is no channel {name!r} in holdfast.yaml", hint=f"known are: {', '.join(project.channels)}"
        ) from None


def _for_show(project: Project, name: str, config: ChannelConfig) -> dict[str, Any]:
    """The channel's options, secrets aside."""
    options: dict[str, Any] = _without_secrets(_placed(project, name, config))
    return options


def _without_secrets(value: Any) -> Any:
    """The options with a word in the place of each secret: enough to say what a channel can do."""
    if is_reference(value):
        return "secret"
    if isinstance(value, dict):
        return {key: _without_secrets(inside) for key, inside in value.items()}
    return [_without_secrets(inside) for inside in value] if isinstance(value, list) else value


def _placed(project: Project, name: str, config: ChannelConfig) -> dict[str, Any]:
    """The options, `folder` made absolute: a relative one is in the project, the sandbox's in .holdfast/."""
    options = config.options
    if config.adapter == "sandbox":
        options.setdefault("folder", f".holdfast/sandbox/{name}")
    if isinstance(options.get("folder"), str):
        options["folder"] = str(project.root / options["folder"])
    return options
