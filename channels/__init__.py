"""Finding channels by the name of their adapter, and opening them with checked settings.

Adapters are entry points of the group `holdfast.channels`; one is imported only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from pydantic import ValidationError

from holdfast.channel import Capabilities, Channel, ChannelSettings
from holdfast.errors import SettingsError
from holdfast.mistakes import closest
from holdfast.settings import ChannelConfig

__all__ = ["adapter", "checked_settings", "describe", "known_adapters", "open_channel"]


@cache
def _registered() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="holdfast.channels")}


def known_adapters() -> list[str]:
    """The names of all installed adapters, sorted."""
    return sorted(_registered())


def adapter(name: str) -> type[Channel]:
    """The adapter of this name. Raises SettingsError when there is none, or it cannot be imported."""
    try:
        entry = _registered()[name]
    except KeyError:
        raise SettingsError(
            f"there is no channel adapter {name!r}{_did_you_mean(name, known_adapters())}",
            hint=f"known are: {', '.join(known_adapters())}",
        ) from None
    try:
        return cast("type[Channel]", entry.load())
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the channel adapter {name!r} needs the module {error.name!r}, which is not installed",
            hint="install it, or the extra that brings it",
        ) from error
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"the channel adapter {name!r} cannot be imported from {entry.value!r}",
            hint="its package is broken or of another version; install it again",
        ) from error


def open_channel(name: str, config: ChannelConfig, options: dict[str, Any]) -> Channel:
    """Opens the project's channel `name`.

    `options` are `config.options` with every secret resolved to its text. Raises SettingsError for settings
    the adapter does not take; it names each setting, never a value.
    """
    found = adapter(config.adapter)
    return found(name, _settings(name, config, found, options))


def describe(name: str, config: ChannelConfig, options: dict[str, Any]) -> Capabilities:
    """What the project's channel `name` can do, without opening it. Checks like `open_channel`.

    Nothing is connected to, so secrets may be any text here.
    """
    return adapter(config.adapter).describe(checked_settings(name, config, options))


def checked_settings(name: str, config: ChannelConfig, options: dict[str, Any]) -> ChannelSettings:
    """The settings of the project's channel `name`. Checked like those of `describe`."""
    return _settings(name, config, adapter(config.adapter), options)


def _settings(
    name: str, config: ChannelConfig, found: type[Channel], options: dict[str, Any]
) -> ChannelSettings:
    try:
        return found.Settings.model_validate(options)
    except ValidationError as error:
        # The foreign error holds the values, secrets among them: only where and what is told.
        problems = [
            _problem(
                _as_written(problem["loc"], options),
                problem["type"],
                problem["msg"],
                list(found.Settings.model_fields),
            )
            for problem in error.errors(include_input=False, include_context=False, include_url=False)
        ]
    raise SettingsError(
        "\n".join(f"channel {name!r}: {problem}" for problem in problems),
        hint=f"the settings of the adapter {config.adapter!r} are: {', '.join(found.Settings.model_fields)}",
    )


def _as_written(location: tuple[int | str, ...], options: dict[str, Any]) -> tuple[int | str, ...]:
    """The location without the place in a list, where one value was written for a list of one."""
    alone = location[1:2] == (0,) and not isinstance(options.get(str(location[0])), list)
    return (location[0], *location[2:]) if alone else location


def _problem(location: tuple[int | str, ...], kind: str, text: str, settings: list[str]) -> str:
    setting = ".".join(map(str, location))
    if kind == "extra_forbidden":
        return f"there is no setting {setting!r}{_did_you_mean(setting, settings)}"
    if kind == "missing":
        return f"the setting {setting!r} is missing"
    what = text[:1].lower() + text[1:]
    return f"{setting}: {what}" if setting else what


def _did_you_mean(word: str, known: list[str]) -> str:
    suggestion = closest(word, known)
    return f"; did you mean {suggestion!r}?" if suggestion else ""
