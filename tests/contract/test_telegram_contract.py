from __future__ import annotations

from types import MappingProxyType

from holdfast.channel import Channel, Poller, Receiver
from tests.contract.channel_contract import SECRET, SignedContract
from tests.contract.http_contract import ShortTextContract
from tests.servers.telegram_server import TelegramServer

TOKEN = f"4711:{SECRET}-{SECRET}-{SECRET}"


class Bot(TelegramServer):
    token = TOKEN


class TestTelegram(SignedContract, ShortTextContract):
    key_setting = "webhook_secret"
    keys = ("new-secret", "old-secret", "another")
    adapter = "telegram"
    stand_in = Bot
    settings = MappingProxyType({"token": TOKEN, "webhook_secret": SECRET})
    address = "4711{}"

    def signed(self, number: int) -> dict[str, str]:
        return {"x-telegram-bot-api-secret-token": self.keys[number]}

    def delivered(self) -> int:
        return len(self.server.messages)

    def test_its_answers_come_by_webhook_and_by_asking(self, channel: Channel) -> None:
        assert isinstance(channel, Receiver)
        assert isinstance(channel, Poller)
