from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from channels import adapter
from holdfast.channel import RejectReason
from tests.contract import example_channel

DOCS = (Path(__file__).parents[3] / "docs" / "channels.md").read_text(encoding="utf-8")


def settings(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Every setting, as `mailbox.host`."""
    for name, field in model.model_fields.items():
        yield path + name
        for part in get_args(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from settings(part, f"{path}{name}.")


@pytest.mark.parametrize(
    "name",
    [
        "mastodon",
        "messenger",
        "sandbox",
        "sendgrid",
        "smtp",
        "telegram",
        "twilio",
        "webhook",
        "whatsapp",
        "x",
    ],
)
def test_every_setting_is_documented_and_nothing_else(name: str) -> None:
    _, section = DOCS.split(f"\n## {name}\n")
    documented = re.findall(r"^\| `([\w.]+)` \|", section.split("\n## ")[0], flags=re.MULTILINE)
    assert documented == list(settings(adapter(name).Settings))


def test_every_reason_a_provider_can_give_is_documented() -> None:
    missing = [reason for reason in RejectReason if f"`{reason}`" not in DOCS]
    assert missing == []


def test_the_example_is_the_one_that_the_contract_suite_runs() -> None:
    assert Path(example_channel.__file__).read_text(encoding="utf-8") in DOCS
