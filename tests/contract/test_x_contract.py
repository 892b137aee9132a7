from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.channel import Channel, Poller
from tests.contract import letters
from tests.contract.channel_contract import HOSTILE, SECRET, ConnectedContract
from tests.servers.x_server import XServer

FITTING = [text for text in HOSTILE if len(text) < 5000]


class TestXMessages(ConnectedContract):
    adapter = "x"

    @pytest.fixture
    def options(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
        monkeypatch.setattr(letters, "ADDRESS", "4711{}")
        with XServer() as self.server:
            yield {
                "kind": "message",
                "api_key": SECRET,
                "api_secret": SECRET,
                "access_token": SECRET,
                "access_secret": SECRET,
                "base_url": self.server.url,
                "timeout": "30s",
            }

    def delivered(self) -> int:
        return len(self.server.messages)

    def connections(self) -> int:
        return self.server.connections

    # Two of 5,000 characters in one message are more than X takes.
    @pytest.mark.parametrize("text", FITTING, ids=range(len(FITTING)))
    def test_hostile_content_is_one_message_and_leaves_the_others_alone(
        self, channel: Channel, text: str
    ) -> None:
        super().test_hostile_content_is_one_message_and_leaves_the_others_alone(channel, text)

    def test_every_message_needs_a_recorded_yes(self, channel: Channel) -> None:
        assert channel.capabilities.opt_in
        assert not channel.capabilities.posts

    def test_it_is_asked_for_answers(self, channel: Channel) -> None:
        assert isinstance(channel, Poller)
