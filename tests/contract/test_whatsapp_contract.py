from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from holdfast.channel import Challenger, Channel, Receiver
from tests.contract.channel_contract import SECRET, SignedContract
from tests.contract.http_contract import ShortTextContract
from tests.servers import graph_server
from tests.servers.graph_server import PHONE_NUMBER_ID, GraphServer


class TestWhatsAppText(SignedContract, ShortTextContract):
    key_setting = "app_secret"
    keys = ("the-new-one", "the-old-one", "a-strangers")
    adapter = "whatsapp"
    stand_in = GraphServer
    settings: Mapping[str, Any] = MappingProxyType(
        {
            "access_token": SECRET,
            "app_secret": SECRET,
            "verify_token": SECRET,
            "phone_number_id": PHONE_NUMBER_ID,
        }
    )
    address = "+4915100000{}"

    def signed(self, number: int) -> dict[str, str]:
        return graph_server.signed(self.body, self.keys[number])

    def delivered(self) -> int:
        return len(self.server.messages)

    def test_every_message_needs_a_recorded_yes(self, channel: Channel) -> None:
        assert channel.capabilities.opt_in
        assert channel.capabilities.kind == "whatsapp"

    def test_its_provider_asks_first_and_then_calls(self, channel: Channel) -> None:
        assert isinstance(channel, Challenger)
        assert isinstance(channel, Receiver)


class TestWhatsAppTemplates(TestWhatsAppText):
    settings = MappingProxyType(
        {**TestWhatsAppText.settings, "template": "winback_hello", "language": "en_US"}
    )
