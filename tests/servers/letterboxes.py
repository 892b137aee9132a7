"""Where each adapter's messages arrive: a stand-in of its provider, and the settings that lead there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from tests.contract.channel_contract import SECRET
from tests.servers import graph_server
from tests.servers.graph_server import GraphServer
from tests.servers.mastodon_server import MastodonServer
from tests.servers.sendgrid_server import SendgridServer
from tests.servers.smtp_server import SmtpServer
from tests.servers.telegram_server import TelegramServer
from tests.servers.twilio_server import TwilioServer
from tests.servers.webhook_server import WebhookServer
from tests.servers.x_server import XServer

TOKEN = f"4711:{SECRET}-{SECRET}-{SECRET}"


class Bot(TelegramServer):
    token = TOKEN


class Account(TwilioServer):
    token = SECRET


@dataclass
class Letterbox:
    """What the tests of an adapter need: its kind, settings, an address, and what arrived where it leads."""

    kind: str
    options: dict[str, Any]
    address: str
    read: Callable[[], list[tuple[str, str]]]
    secrets: dict[str, str] = field(default_factory=dict)


def secret(name: str) -> dict[str, str]:
    return {"env": f"TEST_{name.upper()}"}


@contextmanager
def by_sandbox(folder: Path, _: Any) -> Iterator[Letterbox]:
    def read() -> list[tuple[str, str]]:
        files = (folder / ".holdfast" / "sandbox" / "out").glob("*.eml")
        mails = [message_from_bytes(path.read_bytes()) for path in files]
        return [(str(mail["To"]), str(mail["Subject"])) for mail in mails]

    yield Letterbox("email", {"adapter": "sandbox"}, "ann@acme.example", read)


@contextmanager
def by_smtp(*_: Any) -> Iterator[Letterbox]:
    with SmtpServer() as server:
        options = {"adapter": "smtp", "host": "127.0.0.1", "port": server.port, "security": "none"}
        yield Letterbox(
            "email",
            options,
            "ann@acme.example",
            lambda: [(mail.recipient, str(mail.parsed["Subject"])) for mail in server.mails],
        )


@contextmanager
def by_sendgrid(_: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Letterbox]:
    monkeypatch.setattr(SendgridServer, "api_key", SECRET)
    with SendgridServer() as server:
        yield Letterbox(
            "email",
            {"adapter": "sendgrid", "base_url": server.url, "api_key": secret("key")},
            "ann@acme.example",
            lambda: [(mail.to, mail.subject) for mail in server.mails],
            {"TEST_KEY": SECRET},
        )


@contextmanager
def by_telegram(*_: Any) -> Iterator[Letterbox]:
    with Bot() as server:
        yield Letterbox(
            "telegram",
            {"adapter": "telegram", "base_url": server.url, "token": secret("token")},
            "4711",
            lambda: [(str(sent["chat_id"]), sent["text"]) for sent in server.messages],
            {"TEST_TOKEN": TOKEN},
        )


@contextmanager
def by_twilio(*_: Any) -> Iterator[Letterbox]:
    with Account() as server:
        yield Letterbox(
            "sms",
            {
                "adapter": "twilio",
                "base_url": server.url,
                "account_sid": Account.account,
                "auth_token": secret("token"),
                "sender": "Acme",
            },
            "+4915110000001",
            lambda: [(sent["To"], sent["Body"]) for sent in server.messages],
            {"TEST_TOKEN": SECRET},
        )


@contextmanager
def by_whatsapp(*_: Any) -> Iterator[Letterbox]:
    with GraphServer() as server:
        yield Letterbox(
            "whatsapp",
            {
                "adapter": "whatsapp",
                "base_url": server.url,
                "access_token": secret("token"),
                "phone_number_id": graph_server.PHONE_NUMBER_ID,
            },
            "+4915110000001",
            lambda: [(sent["to"], sent["text"]["body"]) for sent in server.messages],
            {"TEST_TOKEN": graph_server.TOKEN},
        )


@contextmanager
def by_messenger(*_: Any) -> Iterator[Letterbox]:
    with GraphServer() as server:
        yield Letterbox(
            "messenger",
            {
                "adapter": "messenger",
                "base_url": server.url,
                "access_token": secret("token"),
                "page_id": graph_server.PAGE_ID,
            },
            "25441000001",
            lambda: [(sent["recipient"]["id"], sent["message"]["text"]) for sent in server.messages],
            {"TEST_TOKEN": graph_server.TOKEN},
        )


@contextmanager
def by_x(*_: Any) -> Iterator[Letterbox]:
    with XServer() as server:
        yield Letterbox(
            "x",
            {"adapter": "x", "kind": "message", "base_url": server.url, "user_token": secret("token")},
            "4711",
            lambda: [(sent["to"], sent["text"]) for sent in server.messages],
            {"TEST_TOKEN": SECRET},
        )


@contextmanager
def by_mastodon(*_: Any) -> Iterator[Letterbox]:
    with MastodonServer(token=SECRET) as server:
        yield Letterbox(
            "mastodon",
            {"adapter": "mastodon", "kind": "message", "base_url": server.url, "token": secret("token")},
            "ann@mastodon.example",
            lambda: [
                (sent["mentions"][0]["acct"], sent["content"][sent["content"].index("[") : -len("</p>")])
                for sent in server.messages
            ],
            {"TEST_TOKEN": SECRET},
        )


@contextmanager
def by_webhook(*_: Any) -> Iterator[Letterbox]:
    with WebhookServer(key=SECRET.encode()) as server:
        yield Letterbox(
            "letter",
            {
                "adapter": "webhook",
                "kind": "letter",
                "base_url": server.url,
                "secret": secret("token"),
                "allow_private": True,
            },
            "1 High St, Berlin",
            lambda: [(sent["data"]["to"], sent["data"]["text"]) for sent in server.messages.values()],
            {"TEST_TOKEN": SECRET},
        )


LETTERBOXES: dict[str, Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[Letterbox]]] = {
    "sandbox": by_sandbox,
    "smtp": by_smtp,
    "sendgrid": by_sendgrid,
    "telegram": by_telegram,
    "twilio": by_twilio,
    "whatsapp": by_whatsapp,
    "messenger": by_messenger,
    "x": by_x,
    "mastodon": by_mastodon,
    "webhook": by_webhook,
}
