from __future__ import annotations

from functools import partial
from types import MappingProxyType

from holdfast.channel import Channel, Receiver
from tests.contract.channel_contract import NOW, SECRET, SignedContract
from tests.contract.http_contract import HttpContract
from tests.servers.sendgrid_server import SendgridServer

# They have keys of their own, and nothing is sent to them.
SIGNERS = [SendgridServer() for _ in range(3)]


class Account(SendgridServer):
    api_key = SECRET


class TestSendgrid(SignedContract, HttpContract):
    key_setting = "webhook_key"
    keys = tuple(signer.webhook_key for signer in SIGNERS)
    adapter = "sendgrid"
    stand_in = staticmethod(partial(Account, substitution_bytes=50_000))
    settings = MappingProxyType({"api_key": SECRET, "substitution_bytes": 50_000, "batch_size": 20})
    address = "customer{}@example.com"
    no_addresses = (
        "", " ", "nobody", "@", "a@", "@b.example", "ann@b.example\r\nX: y", "\n",
        "ann@b.example,bob@b.example",
        f"{'a' * 250}@b.example", f"ann@{'b' * 64}.example", f"ann@{'b.' * 200}example", "\ud800@b.example",
    )  # fmt: skip

    def signed(self, number: int) -> dict[str, str]:
        return SIGNERS[number].signed(self.body, NOW)

    def delivered(self) -> int:
        return len(self.server.mails)

    def test_it_receives_answers(self, channel: Channel) -> None:
        assert isinstance(channel, Receiver)
