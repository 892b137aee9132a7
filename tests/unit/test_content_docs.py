from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest

from holdfast.content.environment import TemplateEnvironment
from holdfast.content.scope import VISIBLE_TYPES, Scope, members

PAGE = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", PAGE, re.DOTALL))))


@pytest.mark.parametrize("name", sorted(get_type_hints(Scope)))
def test_every_name_in_scope_is_documented(name: str) -> None:
    assert name in WORDS


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind.__name__, name)
        for kind in sorted(VISIBLE_TYPES, key=lambda kind: kind.__name__)
        for name in members(kind)
    ],
)
def test_every_field_in_scope_is_documented(kind: str, name: str) -> None:
    assert name in WORDS, f"{kind}.{name} is missing from docs/templates.md"


@pytest.mark.parametrize("name", sorted(TemplateEnvironment(Path()).filters))
def test_every_filter_is_documented(name: str) -> None:
    assert name in WORDS
