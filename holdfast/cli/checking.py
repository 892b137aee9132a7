"""`holdfast validate` and `holdfast schema`: are the files right, and what may they say."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.session import AsJson, Session, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.campaign.models import Campaign
    from holdfast.channel import Capabilities
    from holdfast.content.lint import PostCheck
    from holdfast.documents import Document
    from holdfast.errors import Problem
    from holdfast.settings import Project


def validate(
    context: typer.Context,
    campaigns: Annotated[
        list[str] | None, typer.Argument(metavar="[CAMPAIGN]…", help="Default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the project, its segments, campaigns and templates, and tell every problem at once."""
    session: Session = context.obj
    problems, checked = _problems(session.project_file, campaigns or [])
    if as_json:
        print_json({"campaigns": checked, "problems": [asdict(problem) for problem in problems]})
    for problem in () if as_json else problems:
        typer.echo(str(problem))
    if problems:
        files = {problem.file for problem in problems}
        typer.echo(f"{_count(len(problems), 'problem')} in {_count(len(files), 'file')}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{_count(len(checked), 'campaign')} checked, no problems", err=True)


class SchemaFile(StrEnum):
    """The files that have a schema."""

    CAMPAIGN = "campaign"
    PROJECT = "project"
    SEGMENTS = "segments"


def schema(file: Annotated[SchemaFile, typer.Argument(help="Which file's.")] = SchemaFile.CAMPAIGN) -> None:
    """Print the JSON Schema of a file, for editors."""
    from holdfast.campaign.schema import json_schema

    print_json(json_schema(file))


def _problems(project_file: Path, names: list[str]) -> tuple[list[Problem], list[str]]:
    """Everything wrong in the project and these campaigns (none: all), and the campaigns' names."""
    from holdfast.campaign.loading import (
        campaign_file,
        campaign_files,
        read_campaign,
        read_segments,
        recovery_problems,
    )
    from holdfast.cli.channel_settings import described_channels
    from holdfast.content.library import Library
    from holdfast.content.lint import lint_templates
    from holdfast.errors import ProblemsFound
    from holdfast.settings import project_of, read_project

    root = project_file.parent
    paths = [campaign_file(root, name) for name in names] or campaign_files(root)
    problems: list[Problem] = []
    project, segments, library = None, None, None
    capabilities: dict[str, Capabilities] = {}
    post_checks: dict[str, PostCheck] = {}
    try:
        document = read_project(project_file)
        project = project_of(document, root)
        if project is not None:
            capabilities, post_checks = described_channels(document, project)
            library = Library(project.root / "templates", project.brand, project.business)
        of_project = document
        problems += document.problems
    except ProblemsFound as error:
        problems += error.problems
    try:
        document, segments = read_segments(root)
        problems += document.problems
    except ProblemsFound as error:
        problems += error.problems
    asked: set[str] = set()
    campaigns: dict[str, Campaign | None] = dict.fromkeys(path.stem for path in paths)
    for path in paths:
        try:
            document, campaign = read_campaign(path, project, segments, capabilities)
        except ProblemsFound as error:
            problems += error.problems
            continue
        problems += document.problems
        campaigns[path.stem] = campaign
        if campaign is not None and project is not None:
            kinds = {name: can.kind for name, can in capabilities.items()}
            if campaign.purpose == "confirmation":
                asked |= {kinds.get(name, "") for step in campaign.sends for name in step.channels}
            problems += lint_templates(campaign, project, kinds, document, library, post_checks)
    if project is not None and not names:
        problems += _never_asked(of_project, project, asked)
        problems += recovery_problems(of_project, project, campaigns)
    return sorted(problems), [path.stem for path in paths]


def _never_asked(document: Document, project: Project, asked: set[str]) -> Iterator[Problem]:
    """Kinds with double opt-in that no campaign sends the letters of: their yes would wait for ever."""
    for index, kind in enumerate(project.defaults.double_opt_in):
        if kind not in asked:
            yield document.problem(
                ("defaults", "double_opt_in", index),
                f"no campaign asks customers to confirm a yes by {kind}",
                expected="one with `purpose: confirmation`, see docs/campaigns.md",
            )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
