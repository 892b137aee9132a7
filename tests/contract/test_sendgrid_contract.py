from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from holdfast.channel import Accepted, Channel, Receiver
from tests.contract.channel_contract import SECRET, ChannelContract
from tests.contract.letters import messages
from tests.servers import sendgrid_server
from tests.servers.sendgrid_server import SendgridServer


class TestSendgrid(ChannelContract):
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

    def test_it_receives_answers(self, channel: Channel) -> None:
        assert isinstance(channel, Receiver)

    def test_calls_one_after_the_other_share_a_connection(self, channel: Channel) -> None:
        for start in range(1, 30, 5):
            channel.send(messages(5, start=start))
        assert self.server.connections == 1

    def test_many_threads_share_few_connections_and_lose_no_answer(self, channel: Channel) -> None:
        with ThreadPoolExecutor(10) as threads:
            batches = [messages(1, start=number) for number in range(1, 301)]
            outcomes = [outcome for (outcome,) in threads.map(channel.send, batches)]
        assert {type(outcome) for outcome in outcomes} == {Accepted}
        assert 1 <= self.server.connections <= 3
        assert self.delivered() == 300
