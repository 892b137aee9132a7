from __future__ import annotations

import base64
import hmac
from types import MappingProxyType

from holdfast.channel import Channel, Poller, Receiver
from tests.contract.channel_contract import SECRET, SignedContract
from tests.contract.http_contract import ShortTextContract
from tests.servers.twilio_server import TwilioServer


class Account(TwilioServer):
    token = SECRET


class TestTwilio(SignedContract, ShortTextContract):
    key_setting = "auth_token"
    keys = (SECRET, "0" * 32, "f" * 32)
    body = b"MessageSid=SM1&MessageStatus=delivered"
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

    def signed(self, number: int) -> dict[str, str]:
        said = f"{self.settings['webhook_url']}MessageSidSM1MessageStatusdelivered"
        digest = hmac.digest(self.keys[number].encode(), said.encode(), "sha1")
        return {"x-twilio-signature": base64.b64encode(digest).decode()}

    def delivered(self) -> int:
        return len(self.server.messages)

    def test_its_answers_come_by_webhook_alone(self, channel: Channel) -> None:
        assert isinstance(channel, Receiver)
        assert not isinstance(channel, Poller)
