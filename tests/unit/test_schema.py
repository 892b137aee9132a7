"""The JSON Schemas that editors get: current, and of one mind with what loads the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from holdfast.campaign.schema import FILES, json_schema

REPOSITORY = Path(__file__).parents[2]
SHIPPED = [
    ("project", REPOSITORY / "holdfast.yaml"),
    ("segments", REPOSITORY / "segments.yaml"),
    *(("campaign", path) for path in sorted((REPOSITORY / "campaigns").glob("*.yaml"))),
]


def parsed(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text())


@pytest.mark.parametrize("file", FILES)
def test_the_schema_in_the_repository_is_the_models(file: str) -> None:
    committed = (REPOSITORY / "docs" / "schema" / f"{file}.json").read_text()
    assert json.loads(committed) == json_schema(file), f"holdfast schema {file} > docs/schema/{file}.json"


@pytest.mark.parametrize("file", FILES)
def test_the_schema_is_a_schema(file: str) -> None:
    Draft202012Validator.check_schema(json_schema(file))


@pytest.mark.parametrize(("file", "path"), SHIPPED, ids=lambda value: getattr(value, "name", value))
def test_a_shipped_file_is_valid_and_points_its_editor_to_the_schema(file: str, path: Path) -> None:
    comment = path.read_text().splitlines()[0]
    schema = path.parent / comment.removeprefix("# yaml-language-server: $schema=")
    assert schema.resolve() == REPOSITORY / "docs" / "schema" / f"{file}.json"
    Draft202012Validator(json.loads(schema.read_text())).validate(parsed(path))


@pytest.mark.parametrize(
    "change",
    [
        {"steps": []},
        {"stepps": 1},
        {"holdout": 10},
        {"purpose": "marketng"},
        {"goal": None},
        {"goal": {"event": "order", "within": "14 days"}},
        {"audience": {}},
        {"audience": {"orders.coun": {"gte": 2}}},
        {"audience": {"country": "DE", "city": "Berlin"}},
        {"re_entry": "sometimes"},
    ],
)
def test_a_broken_campaign_is_refused_by_the_schema_too(change: dict[str, Any]) -> None:
    campaign = parsed(REPOSITORY / "campaigns" / "winback.yaml") | change
    assert not Draft202012Validator(json_schema("campaign")).is_valid(campaign)
