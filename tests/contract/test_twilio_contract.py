from __future__ import annotations

from types import MappingProxyType

from holdfast.channel import Channel, Poller, Receiver
from tests.contract.channel_contract import SECRET
from tests.contract.http_contract import ShortTextContract
from tests.servers.twilio_server import TwilioServer


class Account(TwilioServer):
    token = SECRET


class TestTwilio(ShortTextContract):
    adapter = "twilio"
    stand_in = Account
    settings = MappingProxyType(
        {
            "account_sid": Account.account,
            "auth_token": SECRET,
            "sender": "Acme",
            "webhook_url": "https://r.acme.example/webhooks/sms",
        }
    )
    address = "+49151000{}"

    def delivered(self) -> int:
        return len(self.server.messages)

    def test_its_answers_come_by_webhook_alone(self, channel: Channel) -> None:
        assert isinstance(channel, Receiver)
        assert not isinstance(channel, Poller)
