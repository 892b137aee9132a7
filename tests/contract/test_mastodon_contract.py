from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.channel import Channel, Poller
from tests.contract.channel_contract import SECRET, ChannelContract
from tests.servers.mastodon_server import MastodonServer


class TestMastodonMessages(ChannelContract):
    adapter = "mastodon"

    @pytest.fixture
    def options(self) -> Iterator[dict[str, Any]]:
        with MastodonServer(token=SECRET, limit=20_000) as self.server:
            yield {
                "kind": "message",
                "base_url": self.server.url,
                "token": SECRET,
                "domain": "acme.example",
                "max_characters": 20_000,
                "concurrency": 4,
            }

    def delivered(self) -> int:
        return len(self.server.messages)

    def test_every_message_needs_a_recorded_yes(self, channel: Channel) -> None:
        assert channel.capabilities.opt_in
        assert not channel.capabilities.posts

    def test_it_is_asked_for_answers(self, channel: Channel) -> None:
        assert isinstance(channel, Poller)
