from __future__ import annotations

from types import MappingProxyType

from holdfast.channel import Challenger, Channel, Receiver
from tests.contract.channel_contract import SECRET, SignedContract
from tests.contract.http_contract import ShortTextContract
from tests.servers import graph_server
from tests.servers.graph_server import PAGE_ID, GraphServer


class TestMessenger(SignedContract, ShortTextContract):
    key_setting = "app_secret"
    keys = ("the-new-one", "the-old-one", "a-strangers")
    adapter = "messenger"
    stand_in = GraphServer
    settings = MappingProxyType(
        {"access_token": SECRET, "app_secret": SECRET, "verify_token": SECRET, "page_id": PAGE_ID}
    )
    address = "2544100000{}"

    def signed(self, number: int) -> dict[str, str]:
        return graph_server.signed(self.body, self.keys[number])

    def delivered(self) -> int:
        return len(self.server.messages)

    def test_its_provider_asks_first_and_then_calls(self, channel: Channel) -> None:
        assert channel.capabilities.kind == "messenger"
        assert isinstance(channel, Challenger)
        assert isinstance(channel, Receiver)
