from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.channel import Channel, Receiver
from tests.contract.channel_contract import SECRET, ConnectedContract
from tests.servers import sendgrid_server
from tests.servers.sendgrid_server import SendgridServer


class TestSendgrid(ConnectedContract):
    adapter = "sendgrid"

    @pytest.fixture
    def options(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
        monkeypatch.setattr(sendgrid_server, "API_KEY", SECRET)
        with SendgridServer(substitution_bytes=50_000) as self.server:
            yield {
                "api_key": SECRET,
                "webhook_key": self.server.webhook_key,
                "base_url": self.server.url,
                "substitution_bytes": 50_000,
                "batch_size": 20,
                "concurrency": 3,
                "timeout": "30s",
            }

    def delivered(self) -> int:
        return len(self.server.mails)

    def connections(self) -> int:
        return self.server.connections

    def test_it_receives_answers(self, channel: Channel) -> None:
        assert isinstance(channel, Receiver)
