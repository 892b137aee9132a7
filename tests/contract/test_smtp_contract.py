from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from holdfast.channel import Channel
from tests.contract.channel_contract import SECRET, ConnectedContract
from tests.contract.dkim_key import pem
from tests.contract.letters import messages
from tests.servers.smtp_server import SmtpServer


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestSmtp(ConnectedContract):
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
                **self.more_options(),
            }

    def more_options(self) -> dict[str, Any]:
        return {}

    def delivered(self) -> int:
        return len(self.server.mails)

    def connections(self) -> int:
        return self.server.connections

    def test_closing_gives_every_connection_back(self, channel: Channel) -> None:
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(channel.send, [messages(5, start=start) for start in range(1, 60, 5)]))
        channel.close()
        self.server.wait_until_idle()


class TestSignedSmtp(TestSmtp):
    """Signed, with bounces to an address that names the message."""

    def more_options(self) -> dict[str, Any]:
        return {
            "dkim": {"domain": "acme.example", "selector": "s1", "key": pem()},
            "bounce_address": "bounce@r.acme.example",
        }
