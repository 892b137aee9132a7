"""Every type of event that a provider documents, in its documented shape, becomes what the docs say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from channels import adapter, known_adapters, open_channel
from holdfast.channel import Receiver, Teller, Told
from holdfast.settings import ChannelConfig
from tests.servers.graph_server import PAGE_ID, PHONE_NUMBER_ID
from tests.unit.channels.documented import messenger, sendgrid, standard, telegram, twilio, whatsapp
from tests.unit.channels.documented.events import LEFT_OUT, OPERATOR, Event

DOCS = (Path(__file__).parents[3] / "docs" / "channels.md").read_text(encoding="utf-8")
_META = {
    "access_token": "t",
    "phone_number_id": PHONE_NUMBER_ID,
    "template": whatsapp.TEMPLATE,
    "language": "en",
}
CHANNELS: dict[str, tuple[dict[str, Any], Sequence[Event]]] = {
    "sendgrid": ({"api_key": "SG.x"}, sendgrid.EVENTS),
    "twilio": ({"account_sid": "AC" + "0" * 32, "auth_token": "t", "sender": "Acme"}, twilio.EVENTS),
    "telegram": ({"token": "4711:AAE-a_bots-token-of-35-characters_"}, telegram.EVENTS),
    "whatsapp": (_META, whatsapp.EVENTS),
    "messenger": ({"access_token": "t", "page_id": PAGE_ID}, messenger.EVENTS),
    "webhook": ({"kind": "letter", "base_url": "https://hooks.example/in", "secret": "s"}, standard.EVENTS),
    "sandbox": ({}, standard.EVENTS),
}
CASES = [
    pytest.param(name, event, id=f"{name}-{event}")
    for name, (_, events) in CHANNELS.items()
    for event in events
]


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    opened = {}
    for name, (settings, _) in CHANNELS.items():
        folder = {"folder": tmp_path_factory.mktemp("sandbox")} if name == "sandbox" else {}
        opened[name] = open_channel(name, ChannelConfig(adapter=name), {**settings, **folder})
    yield opened
    for channel in opened.values():
        channel.close()


def test_every_channel_that_is_called_is_here_and_tells_what_it_leaves_out() -> None:
    called = {name for name in known_adapters() if issubclass(adapter(name), Receiver)}
    assert called == CHANNELS.keys()
    assert [name for name in called if not issubclass(adapter(name), Teller)] == []


@pytest.mark.parametrize(("name", "event"), CASES)
def test_an_event_becomes_what_the_docs_say(channels: dict[str, Any], name: str, event: Event) -> None:
    told = channels[name].told(event.body)
    assert became(told) == event.becomes
    assert channels[name].parse(event.body) == list(told.responses)
    assert all(response.event_id for response in told.responses)
    assert [type_ for type_ in told.left_out if type_ == "(malformed)"] == []


def became(told: Told) -> Any:
    """In the words of the tables: one thing, whatever it is, or several responses."""
    kinds = tuple(response.kind for response in told.responses)
    others = [OPERATOR] * len(told.announcements) + [LEFT_OUT] * sum(told.left_out.values())
    if others:
        assert (len(others), kinds) == (1, ())
        return others[0]
    return kinds[0] if len(kinds) == 1 else kinds


# Answers to `webhook` are those to `sandbox`, as its section says.
@pytest.mark.parametrize("name", sorted(CHANNELS.keys() - {"webhook"}))
def test_every_documented_event_is_in_the_docs(name: str) -> None:
    section = DOCS.split(f"\n## {name}\n")[1].split("\n## ")[0]
    missing = {event.name for event in CHANNELS[name][1] if f"`{event.name}" not in section}
    assert missing - {"something_new"} == set()
