"""The SMTP channel against Postfix, and the notices that it writes; where root may start it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from channels.returned_mail import response
from channels.verp import BounceAddress
from holdfast.channel import Accepted, Channel, Rejected, RejectReason, ResponseKind, Skeleton
from holdfast.tokens import Signer
from tests.contract.channel_contract import ChannelContract
from tests.contract.letters import message
from tests.servers import by_others
from tests.servers.smtp_server import Mail, SmtpServer

KEY = Signer(b"a secret of the tests, 32 bytes.").sign("message", 17)
BOUNCES = "bounce@r.acme.example"


class Mailbox(SmtpServer):
    """Where notices go, as they come."""

    def __init__(self) -> None:
        self.notices: Queue[Mail] = Queue()
        super().__init__()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = await super().handle_DATA(server, session, envelope)
        self.notices.put(self.mails[-1])
        return answer


if by_others.is_here("postfix"):

    @pytest.fixture(scope="module")
    def mailbox() -> Iterator[Mailbox]:
        with Mailbox() as mailbox:
            yield mailbox

    @pytest.fixture(scope="module")
    def postfix(mailbox: Mailbox) -> Iterator[tuple[int, Path]]:
        with by_others.postfix("r.acme.example", mailbox.port) as server:
            yield server

    @pytest.mark.stand_in("postfix")
    class TestSmtpToPostfix(ChannelContract):
        adapter = "smtp"

        @pytest.fixture
        def options(self, postfix: tuple[int, Path]) -> dict[str, Any]:
            port, self.taken = postfix
            for letter in self.taken.iterdir():
                letter.unlink()
            return {
                "host": "127.0.0.1",
                "port": port,
                "security": "none",
                "batch_size": 20,
                "concurrency": 3,
                "timeout": "30s",
                "bounce_address": BOUNCES,
            }

        def delivered(self) -> int:
            return len(list(self.taken.iterdir()))

        def test_its_notice_names_the_message_that_nobody_was_there_for(
            self, channel: Channel, mailbox: Mailbox
        ) -> None:
            [outcome] = channel.send([message(1, key=KEY, to="ann@gone.example")])
            assert isinstance(outcome, Accepted)
            notice = mailbox.notices.get(timeout=60)
            at = datetime(2026, 6, 3, tzinfo=UTC)
            told = response(notice.content, at, BounceAddress(BOUNCES))
            assert told is not None
            assert (told.kind, told.key) == (ResponseKind.BOUNCED, KEY)
            assert (told.reason, told.permanent) == (RejectReason.BAD_ADDRESS, True)

        def test_a_letter_larger_than_it_takes_costs_the_others_nothing(self, channel: Channel) -> None:
            large = message(2, skeleton=Skeleton(text=("Hello\n" * by_others.MOST_BYTES,)))
            outcomes = channel.send([message(1), large, message(3)])
            assert outcomes[1] == Rejected(RejectReason.TOO_LARGE, "552 5.3.4")
            assert self.delivered() == 2
