"""What settings and campaigns add to what we post, against SendGrid's own OpenAPI file, served by Prism.

Collected where `make prism` was run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from channels import open_channel
from channels.sendgrid_payload import Account, body
from holdfast.channel import Accepted, Attachment, Message
from holdfast.settings import ChannelConfig
from tests.contract.letters import message, messages
from tests.contract.test_openapi import DESCRIBED
from tests.servers import by_others

FULL: dict[str, Any] = {
    "labels": ("winback", "winback/hello"),
    "attachments": (Attachment("terms.pdf", "application/pdf", b"%PDF-1.7"),),
}
EVERYTHING: dict[str, Any] = {
    "categories": ["spring"],
    "unsubscribe_group": 7,
    "groups_to_display": [7, 8],
    "sandbox_mode": True,
    "reply_address": "reply@in.acme.example",
}

if by_others.is_here("prism sendgrid"):
    pytestmark = pytest.mark.stand_in("prism sendgrid")

    @pytest.fixture(scope="module")
    def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """The address of a server that refuses whatever the description does not allow."""
        description = next(each for each in DESCRIBED if each.provider == "sendgrid").description
        with by_others.prism(description, tmp_path_factory.mktemp("prism")) as address:
            yield address

    @pytest.mark.parametrize(
        "batch",
        [
            messages(1),
            messages(20),
            [message(1, headers={}), message(2, headers={})],
            [message(number, reply_to="Acme <people@acme.example>", **FULL) for number in (1, 2)],
        ],
        ids=["one", "many", "transactional", "full"],
    )
    @pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["plain", "every setting"])
    def test_what_we_post_is_as_sendgrid_describes_it(
        prism: str, batch: list[Message], settings: dict[str, Any]
    ) -> None:
        options = {"api_key": "SG.x", "base_url": prism, **settings}
        channel = open_channel("email", ChannelConfig(adapter="sendgrid"), options)
        # The description knows nothing of sandbox mode's 200: the mock server answers 202.
        assert [type(outcome) for outcome in channel.send(batch)] == [Accepted] * len(batch)
        channel.close()

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda sent: sent["personalizations"][0].update(to="customer1@example.com"),
            lambda sent: sent.update(categories="winback"),
            lambda sent: sent.update(asm={"groups_to_display": [1]}),
            lambda sent: sent.update(reply_to={"name": "Acme"}),
            lambda sent: sent["attachments"][0].pop("filename"),
            lambda sent: sent["mail_settings"]["sandbox_mode"].update(enable="yes"),
        ],
        ids=["to", "categories", "asm", "reply_to", "attachments", "mail_settings"],
    )
    def test_what_sendgrid_does_not_describe_is_refused_here_too(
        prism: str, spoil: Callable[[dict[str, Any]], Any]
    ) -> None:
        account = Account(group=7, reply_address="reply@in.acme.example", sandbox_mode=True)
        wrong = json.loads(body([message(1, **FULL)], ["customer1@example.com"], account))
        spoil(wrong)
        answer = httpx.post(f"{prism}/v3/mail/send", json=wrong, headers={"Authorization": "Bearer SG.x"})
        assert answer.status_code in (400, 422)
