from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from channels import open_channel
from holdfast.channel import Channel
from holdfast.settings import ChannelConfig
from tests.contract.channel_contract import SECRET, ChannelContract
from tests.contract.letters import messages
from tests.servers.smtp_server import SmtpServer


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestSmtp(ChannelContract):
    adapter = "smtp"

    @pytest.fixture
    def options(self, tmp_path: Path, authority: trustme.CA) -> Iterator[dict[str, Any]]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        with SmtpServer(starttls=context, login=("acme", SECRET)) as self.server:
            yield {
                "host": "127.0.0.1",
                "port": self.server.port,
                "security": "starttls",
                "ca_file": tmp_path / "ca.pem",
                "username": "acme",
                "password": SECRET,
                "batch_size": 20,
                "concurrency": 3,
                "timeout": "30s",
            }

    def delivered(self) -> int:
        return len(self.server.mails)

    def test_connections_are_reused_and_never_more_than_its_concurrency(
        self, config: ChannelConfig, options: dict[str, Any]
    ) -> None:
        channel: Channel = open_channel("shop", config, options)
        for start in range(1, 30, 5):
            channel.send(messages(5, start=start))
        assert self.server.connections == 1
        channel.close()
