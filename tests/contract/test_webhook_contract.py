from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from pydantic import SecretStr

from channels.standard_webhooks import sign
from holdfast.channel import Accepted, Channel, Receiver
from tests.contract.channel_contract import NOW, SECRET, SignedContract
from tests.contract.http_contract import ShortTextContract
from tests.servers.webhook_server import WebhookServer


class TestWebhook(SignedContract, ShortTextContract):
    key_setting = "webhook_key"
    keys = ("the new key", "whsec_bmV3IGFuZCBvbGQ=", "a stranger's")
    adapter = "webhook"
    stand_in = staticmethod(partial(WebhookServer, key=SECRET.encode()))
    settings: Mapping[str, Any] = MappingProxyType(
        {
            "kind": "letter",
            "secret": SECRET,
            "webhook_key": SECRET,
            "dedupes": True,
            "allow_private": True,
            "max_bytes": 4_000,
        }
    )
    path = f"/hooks/{SECRET}"
    address = "{} High St, Berlin"
    no_addresses = ("", " \t", "1 High St\r\nX: y", "\n", "a\x00", "9" * 1001, "\ud800")
    of_unreadable = Accepted

    def signed(self, number: int) -> dict[str, str]:
        return sign(SecretStr(self.keys[number]), "evt", self.body, int(NOW.timestamp()))

    def delivered(self) -> int:
        return len(self.server.messages)

    def test_it_takes_answers(self, channel: Channel) -> None:
        assert isinstance(channel, Receiver)


class TestWebhookForEmail(TestWebhook):
    settings = MappingProxyType({**TestWebhook.settings, "kind": "email"})
