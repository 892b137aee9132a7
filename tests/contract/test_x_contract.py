from __future__ import annotations

from types import MappingProxyType

import pytest

from holdfast.channel import Channel, Poller
from tests.contract.channel_contract import HOSTILE, SECRET
from tests.contract.http_contract import HttpContract
from tests.servers.x_server import XServer

FITTING = [text for text in HOSTILE if len(text) < 5000]


class TestXMessages(HttpContract):
    adapter = "x"
    stand_in = XServer
    settings = MappingProxyType(
        {
            "kind": "message",
            **dict.fromkeys(("api_key", "api_secret", "access_token", "access_secret"), SECRET),
        }
    )
    address = "4711{}"
    no_addresses = (
        "", " ", "+", "@", "ann@example.com", "4711\r\nX: y", "\n", "9" * 20, "a" * 16, "１２３４５６７",
        "анна", "4711;4712", "\ud800",
    )  # fmt: skip

    def delivered(self) -> int:
        return len(self.server.messages)

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
