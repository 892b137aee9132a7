"""Campaigns and segments from their files, checked against the project they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import RootModel

from holdfast import documents
from holdfast.audience.rules import Rule, walk
from holdfast.campaign import later
from holdfast.campaign.models import Campaign, Step
from holdfast.channel import Capabilities
from holdfast.documents import Document
from holdfast.errors import HoldfastError, Problem, ProblemsFound
from holdfast.mistakes import Place, closest
from holdfast.settings import Project
from holdfast.units import Name

Segments = Mapping[str, Rule]


class SegmentsFile(RootModel[dict[Name, Rule]]):
    """What segments.yaml says: rules by the names that campaigns and other segments use."""


def campaign_files(root: Path) -> list[Path]:
    """The project's campaign files by name. Raises ProblemsFound for one that would be passed over."""
    folder = root / "campaigns"
    if misnamed := sorted(folder.glob("*.yml")):
        raise ProblemsFound(
            [
                Problem(documents.shown(path), 0, 0, "ends in .yml", expected="a name that ends in .yaml")
                for path in misnamed
            ]
        )
    return sorted(folder.glob("*.yaml"))


def campaign_file(root: Path, name: str) -> Path:
    """The file of the campaign of this name. Raises HoldfastError where there is none."""
    by_name = {path.stem: path for path in campaign_files(root)}
    if name not in by_name:
        suggestion = closest(name, by_name)
        raise HoldfastError(
            f"there is no campaign {name!r}" + (f"; did you mean {suggestion!r}?" if suggestion else ""),
            hint=f"campaigns are: {', '.join(by_name)}" if by_name else "campaigns/ holds no YAML file",
        )
    return by_name[name]


def load_campaign(path: Path, project: Project, segments: Segments) -> Campaign:
    """The campaign in this file. Raises ProblemsFound with everything that is wrong."""
    document, campaign = read_campaign(path, project, segments)
    return document.require(campaign)


def load_campaigns(project: Project, segments: Segments) -> dict[str, Campaign]:
    """All campaigns of the project by name. Raises ProblemsFound with everything that is wrong in any."""
    campaigns, problems = {}, []
    for path in campaign_files(project.root):
        try:
            campaigns[path.stem] = load_campaign(path, project, segments)
        except ProblemsFound as error:
            problems += error.problems
    if problems:
        raise ProblemsFound(problems)
    return campaigns


def recovery_problems(
    document: Document, project: Project, campaigns: Mapping[str, Campaign | None]
) -> Iterator[Problem]:
    """What is wrong with the project's `cases.recovery`; `campaigns` has all of its campaigns by their files,
    None for one that could not be read."""
    name = project.cases.recovery
    if name is None:
        return
    place = ("cases", "recovery")
    if name not in campaigns:
        yield document.problem(place, f"there is no campaign {name!r}", suggestion=closest(name, campaigns))
    elif (campaign := campaigns[name]) is not None and campaign.purpose != "transactional":
        what = f"whoever has complained gets nothing of {name!r}: its purpose is {campaign.purpose}"
        yield document.problem(place, what, expected="a campaign with `purpose: transactional`")


def load_segments(root: Path) -> dict[str, Rule]:
    """The project's named rules; none without segments.yaml. Raises ProblemsFound."""
    document, segments = read_segments(root)
    return document.require(segments)


def read_campaign(
    path: Path,
    project: Project | None,
    segments: Segments | None,
    capabilities: Mapping[str, Capabilities] | None = None,
) -> tuple[Document, Campaign | None]:
    """The campaign's document with all its problems, and the campaign where the models took it.

    Without `project` or `segments` (they have problems of their own) nothing is checked against them.
    `capabilities` has what channels can do, by name; none is asked of those that it does not know.
    Raises ProblemsFound where the file is not YAML.
    """
    document = documents.read(path)
    places = [place for pattern in ("audience", "steps.*.if") for place, _ in document.find(pattern)]
    coming = {
        place: purpose for pattern, purpose in later.CAMPAIGN.items() for place, _ in document.find(pattern)
    }
    campaign = document.into(Campaign, coming | _later_rules(document, places))
    document.problems += [
        *_name(document, path.stem),
        *_steps(document),
        *_without_effect(document),
        *(_channels(document, project) if project else ()),
        *(_topic(document, project) if project else ()),
        *_publishing(document, capabilities or {}),
        *_attaching(document, capabilities or {}),
    ]
    if segments is not None:
        unknown = list(_unknown_segments(document, places, segments))
        document.problems += unknown
        if campaign is not None and not unknown:
            document.problems += _too_large(document, campaign, segments)
    return document, campaign


def read_segments(root: Path) -> tuple[Document, dict[str, Rule] | None]:
    """The document of segments.yaml with all its problems, and the rules by name where there are none."""
    path = root / "segments.yaml"
    document = documents.read(path) if path.exists() else Document(documents.shown(path), "")
    places = [place for place, _ in document.find("*")]
    segments = document.into(SegmentsFile, _later_rules(document, places))
    document.problems += _unknown_segments(document, places, document.data)
    document.problems += _circles(document)
    return document, None if segments is None or document.problems else segments.root


# --- what only the whole project can tell -----------------------------------------------------------


def _later_rules(document: Document, places: Iterable[Place]) -> dict[Place, str]:
    return {
        (*place, key): later.RULE[key]
        for start in places
        for place, rule in later.rules(start, document.at(start))
        for key in rule
        if key in later.RULE
    }


def _name(document: Document, stem: str) -> Iterator[Problem]:
    for place, name in document.find("campaign"):
        if name != stem:
            yield document.problem(
                place, "the file and its campaign have different names", expected=f"{stem!r}"
            )


def _steps(document: Document) -> Iterator[Problem]:
    seen: set[Any] = set()
    for place, step in document.find("steps.*.id"):
        if isinstance(step, str) and step in seen:
            yield document.problem(place, f"there is a step {step!r} above", expected="an id of its own")
        seen.add(str(step))


def _without_effect(document: Document) -> Iterator[Problem]:
    data = document.data if isinstance(document.data, dict) else {}
    if "goal" not in data:
        for place, reason in document.find("exit_when.*"):
            if reason == "converted":
                yield document.problem(
                    place, "nobody can convert: the campaign has no goal", expected="a `goal`"
                )
    if (purpose := data.get("purpose")) in ("transactional", "confirmation"):
        for pattern in ("holdout", "send.cap", "topic"):
            for place, _ in document.find(pattern):
                what = f"`{place[-1]}` has no effect on {purpose} messages"
                yield document.problem(place, what, expected="the key left out", at_key=True)


def _channels(document: Document, project: Project) -> Iterator[Problem]:
    enabled = [name for name, config in project.channels.items() if config.enabled]
    for place, name, before in _named_channels(document):
        if name in enabled and name not in before:
            continue
        if name in enabled:
            yield document.problem(place, f"the channel {name!r} is here twice")
        elif name in project.channels:
            yield document.problem(place, f"the channel {name!r} is not enabled in holdfast.yaml")
        else:
            yield document.problem(
                place,
                f"there is no channel {name!r} in holdfast.yaml",
                expected=f"one of {', '.join(enabled)}",
                suggestion=closest(name, enabled),
            )


def _topic(document: Document, project: Project) -> Iterator[Problem]:
    for place, name in document.find("topic"):
        if isinstance(name, str) and name not in project.topics:
            yield document.problem(
                place,
                f"there is no topic {name!r} in holdfast.yaml",
                expected=f"one of {', '.join(project.topics)}" if project.topics else "a key `topics` there",
                suggestion=closest(name, project.topics),
            )


def _named_channels(document: Document) -> Iterator[tuple[Place, str, list[Any]]]:
    """Each channel that a step names, with its place and what its list has before it."""
    for key in ("channels", "post"):
        for step, channels in document.find(f"steps.*.{key}"):
            for index, name in enumerate(channels if isinstance(channels, list) else ()):
                if isinstance(name, str):
                    yield (*step, index), name, channels[:index]


def _publishing(document: Document, capabilities: Mapping[str, Capabilities]) -> Iterator[Problem]:
    """A channel publishes posts or sends messages, never both."""
    for place, name, _ in _named_channels(document):
        can = capabilities.get(name)
        if can is None or can.posts == ("post" in place):
            continue
        what, expected = "sends messages, it publishes no posts", "it under `channels`"
        if can.posts:
            what, expected = "publishes posts, it sends nobody a message", "it under `post`"
        yield document.problem(place, f"the channel {name!r} {what}", expected=expected)


def _attaching(document: Document, capabilities: Mapping[str, Capabilities]) -> Iterator[Problem]:
    """Files go along by every channel of their step, or by none: nobody gets a message without them."""
    attaching = [place[:-1] for place, files in document.find("steps.*.attach") if files]
    for place, name, _ in _named_channels(document):
        can = capabilities.get(name)
        if can is not None and not (can.posts or can.attachments) and place[:-2] in attaching:
            what = f"the channel {name!r} takes no attachments, and the step has `attach`"
            yield document.problem(place, what, expected="a channel for email, or a link in the template")


def _references(document: Document, places: Iterable[Place]) -> Iterator[tuple[Place, str]]:
    for start in places:
        for place, rule in later.rules(start, document.at(start)):
            if isinstance(rule.get("segment"), str):
                yield (*place, "segment"), rule["segment"]


def _unknown_segments(document: Document, places: Iterable[Place], known: Iterable[str]) -> Iterator[Problem]:
    for place, name in _references(document, places):
        if name not in known:
            what = f"there is no segment {name!r} in segments.yaml"
            yield document.problem(place, what, suggestion=closest(name, known))


def _circles(document: Document) -> Iterator[Problem]:
    leads_to = {
        name: [(place, to) for place, to in _references(document, [(name,)])]
        for (name,), _ in document.find("*")
    }
    for name, references in leads_to.items():
        for place, to in references:
            seen: set[Any] = set()
            ahead = [to]
            while ahead:
                step = ahead.pop()
                if step == name:
                    what = f"the segment {name!r} leads back to itself"
                    yield document.problem(place, what, expected="segments without a circle")
                    break
                if step not in seen:
                    seen.add(step)
                    ahead += [further for _, further in leads_to.get(step, ())]


def _too_large(document: Document, campaign: Campaign, segments: Segments) -> Iterator[Problem]:
    rules: dict[Place, Rule] = {("audience",): campaign.audience}
    rules |= {
        ("steps", index, "if"): step.if_
        for index, step in enumerate(campaign.steps)
        if isinstance(step, Step) and step.if_
    }
    for place, rule in rules.items():
        try:
            for _ in walk(rule, segments):
                pass
        except HoldfastError as error:
            yield document.problem(place, str(error))
