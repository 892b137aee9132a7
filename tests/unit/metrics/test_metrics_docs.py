"""docs/metrics.md defines every number, and none that there is not."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

from holdfast import metrics
from holdfast.metrics.effects import VerdictKind

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")


def names() -> Iterator[str]:
    """Public functions and classes, with their fields and properties."""
    for module in pkgutil.iter_modules(metrics.__path__, "holdfast.metrics."):
        for name, member in inspect.getmembers(import_module(module.name)):
            if getattr(member, "__module__", "") != module.name or name.startswith("_"):
                continue
            if inspect.isfunction(member) or inspect.isclass(member):
                yield name
            if is_dataclass(member):
                yield from (field.name for field in fields(member))
                properties = inspect.getmembers(member, lambda part: isinstance(part, property))
                yield from (name for name, _ in properties if not name.startswith("_"))


def defined() -> set[str]:
    """What is in backticks in the rows of the tables of names."""
    tables = re.findall(r"^\| name \| what it is \|\n(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    return {word for table in tables for word in re.findall(r"`(\w+)`", table)}


def test_every_metric_is_defined_and_no_other() -> None:
    assert set(names()) == defined()


def test_every_kind_of_verdict_is_explained() -> None:
    kinds = re.search(r"^\| kind \| when \|.*?\n\n", PAGE, re.DOTALL | re.MULTILINE)
    assert kinds is not None
    assert set(re.findall(r"^\| `(\w+)` \|", kinds[0], re.MULTILINE)) == set(VerdictKind.__args__)  # type: ignore[attr-defined]


def test_the_version_of_the_definitions_is_the_codes() -> None:
    assert f"This is version {metrics.VERSION} of the definitions." in PAGE
