from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from channels import adapter
from holdfast import channel as port
from holdfast.channel import RejectReason
from tests.contract import example_channel

FOLDER = Path(__file__).parents[3] / "docs"
DOCS = (FOLDER / "channels.md").read_text(encoding="utf-8")


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
    page = (FOLDER / "writing-a-channel.md").read_text(encoding="utf-8")
    example = Path(example_channel.__file__).read_text(encoding="utf-8")
    assert f"```python\n{example}```" in page
    assert len(example.splitlines()) <= 60


def test_every_member_and_protocol_of_the_port_is_in_the_page_on_writing_one() -> None:
    page = (FOLDER / "writing-a-channel.md").read_text(encoding="utf-8")
    ways_back = (
        port.Receiver,
        port.Condenser,
        port.Teller,
        port.Challenger,
        port.Poller,
        port.Publisher,
    )
    methods = [name for each in ways_back for name in vars(each) if not name.startswith("_")]
    words = [*methods, *(field.name for field in fields(port.Capabilities)), *(w.__name__ for w in ways_back)]
    assert [word for word in words if not re.search(rf"`{word}\b", page)] == []
