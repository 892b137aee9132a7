from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.channel import Channel, Receiver
from tests.contract.channel_contract import SECRET, ChannelContract
from tests.servers.webhook_server import WebhookServer


class TestWebhook(ChannelContract):
    adapter = "webhook"

    @pytest.fixture(params=["email", "letter"])
    def options(self, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
        with WebhookServer(key=SECRET.encode()) as self.server:
            yield {
                "kind": request.param,
                "base_url": f"{self.server.url}/hooks/{SECRET}",
                "secret": SECRET,
                "webhook_key": SECRET,
                "dedupes": True,
                "allow_private": True,
                "concurrency": 4,
                "max_bytes": 100_000,
            }

    def delivered(self) -> int:
        return len(self.server.messages)

    def test_it_takes_answers(self, channel: Channel) -> None:
        assert isinstance(channel, Receiver)
