"""JSON Schema of the files people write, for editors; generated from the models that load them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from holdfast.campaign.loading import SegmentsFile
from holdfast.campaign.models import Campaign
from holdfast.settings import ProjectFile

FILES: dict[str, type[BaseModel]] = {"campaign": Campaign, "project": ProjectFile, "segments": SegmentsFile}


def json_schema(file: str) -> dict[str, Any]:
    """The schema (draft 2020-12) of one of FILES."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | FILES[file].model_json_schema()
    _forbid_null(schema)
    return schema


def _forbid_null(node: Any) -> None:
    """A key without a value is an error when a file is loaded, so the schema offers none."""
    if isinstance(node, list):
        for inside in node:
            _forbid_null(inside)
    if not isinstance(node, dict):
        return
    options = node.get("anyOf", ())
    if {"type": "null"} in options:
        kept = [option for option in options if option != {"type": "null"}]
        del node["anyOf"]
        node |= {"anyOf": kept} if len(kept) > 1 else kept[0]
        if node.get("default", ...) is None:
            del node["default"]
    for inside in node.values():
        _forbid_null(inside)
