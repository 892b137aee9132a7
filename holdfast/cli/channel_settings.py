"""Checking what holdfast.yaml says of channels against what their adapters take."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast, get_args

from pydantic import BaseModel, ValidationError

import channels
from holdfast.channel import Capabilities, Channel, Publisher
from holdfast.documents import Document
from holdfast.errors import Problem, SettingsError
from holdfast.mistakes import Place, children, closest
from holdfast.settings import Project, fill_references, is_reference

if TYPE_CHECKING:
    from holdfast.content.lint import PostCheck


def described_channels(
    document: Document, project: Project
) -> tuple[dict[str, Capabilities], dict[str, PostCheck]]:
    """What each channel can do, and what fits a post of those that publish, by the channel's name; what
    the adapters refuse is added to the document's problems.

    Opens nothing and resolves no secret: where a reference stands, any text will do.
    """
    capabilities: dict[str, Capabilities] = {}
    post_checks: dict[str, PostCheck] = {}
    for name, config in project.channels.items():
        place = ("channels", name)
        adapter = _adapter(document, place, config.adapter)
        if adapter is None:
            continue
        document.problems += _secrets_in_plain_sight(document, place, adapter.Settings, config.options)
        try:
            settings = adapter.Settings.model_validate(fill_references(config.options, lambda ref: "0"))
        except ValidationError as error:
            references = set(_references(config.options, place))
            document.problems += document.explain(error, adapter.Settings, at=place, excuse=references)
        else:
            capabilities[name] = adapter.describe(settings)
            if capabilities[name].posts:
                publisher = cast("type[Publisher]", adapter)
                post_checks[name] = partial(publisher.problem_with, settings=settings)
    return capabilities, post_checks


def _adapter(document: Document, place: Place, name: str) -> type[Channel] | None:
    known = channels.known_adapters()
    try:
        return channels.adapter(name)
    except SettingsError as error:
        at = (*place, "adapter")
        if name in known:
            document.problems.append(document.problem(at, str(error)))
        else:
            what, expected = f"there is no channel adapter {name!r}", f"one of {', '.join(known)}"
            problem = document.problem(at, what, expected=expected, suggestion=closest(name, known))
            document.problems.append(problem)
        return None


def _secrets_in_plain_sight(
    document: Document, place: Place, settings: type[BaseModel], options: dict[str, Any]
) -> Iterator[Problem]:
    for name, field in settings.model_fields.items():
        key = field.alias or name
        at, value = (*place, key), options.get(key)
        if isinstance(value, dict):
            for part in filter(_is_model, get_args(field.annotation)):
                yield from _secrets_in_plain_sight(document, at, part, value)
        if "SecretStr" not in str(field.annotation) or document.is_overridden(at):
            continue
        several = enumerate(value) if isinstance(value, list) else ()
        for found, text in [(at, value), *(((*at, number), one) for number, one in several)]:
            if isinstance(text, str):
                what = f"`{key}` is a secret and does not belong in a file"
                yield document.problem(found, what, expected="{env: NAME} or {block: NAME}")


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _references(value: Any, place: Place) -> Iterator[Place]:
    if is_reference(value):
        yield place
        return
    for key, inside in children(value):
        yield from _references(inside, (*place, key))
