"""The SMTP channel against MailDev, a mail server of somebody else's; where `make prism` was run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from holdfast.channel import Channel
from tests.contract.channel_contract import ChannelContract
from tests.contract.letters import message
from tests.servers import by_others

if by_others.is_here("maildev"):

    @pytest.fixture(scope="module")
    def maildev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
        with by_others.maildev(tmp_path_factory.mktemp("maildev")) as server:
            yield server

    @pytest.mark.stand_in("maildev")
    class TestSmtpToMaildev(ChannelContract):
        adapter = "smtp"

        @pytest.fixture
        def options(self, maildev: tuple[int, str]) -> dict[str, Any]:
            port, self.web = maildev
            httpx.delete(f"{self.web}/email/all").raise_for_status()
            return {
                "host": "127.0.0.1",
                "port": port,
                "security": "none",
                "batch_size": 20,
                "concurrency": 3,
                "timeout": "30s",
            }

        def mails(self) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = httpx.get(f"{self.web}/email").json()
            return found

        def delivered(self) -> int:
            return len(self.mails())

        def test_another_reader_of_mail_finds_what_was_written(self, channel: Channel) -> None:
            subject = "Für Zoë: عرض 😀 " + "and more of it " * 10
            channel.send(
                [
                    message(
                        1,
                        to_name="مريم, العلي",
                        subject=subject.strip(),
                        plain=("字", ".\r\n.\r\n" + "x" * 2000),
                    )
                ]
            )
            (mail,) = self.mails()
            assert mail["subject"] == subject.strip()
            assert mail["to"] == [{"address": "customer1@example.com", "name": "مريم, العلي"}]
            assert mail["from"] == [{"address": "hello@acme.example", "name": "Acme"}]
            assert mail["html"].startswith("<p>Hello Ann, we kept <b>tea &amp; cake</b> for you.</p>")
            assert ".\n.\n" + "x" * 2000 in mail["text"].replace("\r\n", "\n")
            assert mail["headers"]["list-unsubscribe"] == "<https://r.acme.example/u/1.abc>"
            assert mail["envelope"]["to"][0]["address"] == "customer1@example.com"
