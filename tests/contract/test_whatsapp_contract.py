from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.channel import Challenger, Channel, Receiver
from tests.contract import letters
from tests.contract.channel_contract import HOSTILE, SECRET, ChannelContract
from tests.servers.graph_server import PHONE_NUMBER_ID, GraphServer

TEMPLATE = {"template": "winback_hello", "language": "en_US"}


class TestWhatsAppText(ChannelContract):
    adapter = "whatsapp"
    # Two of each in one message: what is longer than WhatsApp takes is not sent.
    fitting = tuple(text for text in HOSTILE if len(text) < 2000)
    more: dict[str, Any] = {}  # noqa: RUF012

    @pytest.fixture
    def options(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
        monkeypatch.setattr(letters, "ADDRESS", "+4915100000{}")
        with GraphServer() as self.server:
            yield {
                "base_url": self.server.url,
                "access_token": SECRET,
                "app_secret": SECRET,
                "verify_token": SECRET,
                "phone_number_id": PHONE_NUMBER_ID,
                "timeout": "30s",
                "concurrency": 4,
                **self.more,
            }

    def delivered(self) -> int:
        return len(self.server.messages)

    @pytest.mark.parametrize("text", fitting, ids=range(len(fitting)))
    def test_hostile_content_is_one_message_and_leaves_the_others_alone(
        self, channel: Channel, text: str
    ) -> None:
        super().test_hostile_content_is_one_message_and_leaves_the_others_alone(channel, text)

    def test_every_message_needs_a_recorded_yes(self, channel: Channel) -> None:
        assert channel.capabilities.opt_in
        assert channel.capabilities.kind == "whatsapp"

    def test_its_provider_asks_first_and_then_calls(self, channel: Channel) -> None:
        assert isinstance(channel, Challenger)
        assert isinstance(channel, Receiver)


class TestWhatsAppTemplates(TestWhatsAppText):
    more = TEMPLATE
