from __future__ import annotations

from functools import partial
from types import MappingProxyType

from holdfast.channel import Channel, Poller
from tests.contract.channel_contract import SECRET
from tests.contract.http_contract import ShortTextContract
from tests.servers.mastodon_server import MastodonServer


class TestMastodonMessages(ShortTextContract):
    adapter = "mastodon"
    stand_in = staticmethod(partial(MastodonServer, token=SECRET))
    settings = MappingProxyType({"kind": "message", "token": SECRET, "domain": "acme.example"})
    address = "customer{}@example.com"
    no_addresses = ("", " ", "+", "ann\r\nX: y", "\n", "9" * 400, "ann;bob", "a b", "@a@b@c", "\ud800")

    def delivered(self) -> int:
        return len(self.server.messages)

    def test_every_message_needs_a_recorded_yes(self, channel: Channel) -> None:
        assert channel.capabilities.opt_in
        assert not channel.capabilities.posts

    def test_it_is_asked_for_answers(self, channel: Channel) -> None:
        assert isinstance(channel, Poller)
