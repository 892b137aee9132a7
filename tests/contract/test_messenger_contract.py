from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.channel import Challenger, Channel, Receiver
from tests.contract import letters
from tests.contract.channel_contract import HOSTILE, SECRET, ChannelContract
from tests.servers.graph_server import PAGE_ID, GraphServer

# Two of each in one message: what is longer than Messenger takes is not sent.
FITTING = [text for text in HOSTILE if len(text) < 900]


class TestMessenger(ChannelContract):
    adapter = "messenger"

    @pytest.fixture
    def options(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
        monkeypatch.setattr(letters, "ADDRESS", "2544100000{}")
        with GraphServer() as self.server:
            yield {
                "base_url": self.server.url,
                "access_token": SECRET,
                "app_secret": SECRET,
                "verify_token": SECRET,
                "page_id": PAGE_ID,
                "timeout": "30s",
                "concurrency": 4,
            }

    def delivered(self) -> int:
        return len(self.server.messages)

    @pytest.mark.parametrize("text", FITTING, ids=range(len(FITTING)))
    def test_hostile_content_is_one_message_and_leaves_the_others_alone(
        self, channel: Channel, text: str
    ) -> None:
        super().test_hostile_content_is_one_message_and_leaves_the_others_alone(channel, text)

    def test_its_provider_asks_first_and_then_calls(self, channel: Channel) -> None:
        assert channel.capabilities.kind == "messenger"
        assert isinstance(channel, Challenger)
        assert isinstance(channel, Receiver)
