"""What every channel that publishes keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from channels import open_channel
from holdfast.channel import Accepted, Channel, Publisher
from holdfast.errors import ChannelUnavailable
from holdfast.settings import ChannelConfig
from tests.contract.channel_contract import HOSTILE, SECRET
from tests.contract.letters import messages
from tests.servers.mastodon_server import MastodonServer
from tests.servers.webhook_server import WebhookServer
from tests.servers.x_server import XServer

LONG_AGO, FAR_AHEAD = datetime(2026, 1, 1, tzinfo=UTC), datetime(2126, 1, 1, tzinfo=UTC)
KEY = "17.c2lnbmF0dXJl"


@pytest.fixture
def channel(adapter: str, tmp_path: Path) -> Iterator[Channel]:
    with (
        XServer() as x,
        MastodonServer(token=SECRET) as mastodon,
        WebhookServer(key=SECRET.encode()) as webhook,
    ):
        settings: dict[str, Any] = {
            "x": {"user_token": SECRET, "base_url": x.url},
            "mastodon": {"token": SECRET, "base_url": mastodon.url},
            "sandbox": {"kind": "x", "post": True, "folder": tmp_path / "posts"},
            "webhook": {
                "kind": "linkedin",
                "post": True,
                "base_url": webhook.url,
                "secret": SECRET,
                "dedupes": True,
                "allow_private": True,
            },
        }[adapter]
        opened = open_channel("shop", ChannelConfig(adapter=adapter), settings)
        yield opened
        opened.close()


@pytest.fixture
def publisher(channel: Channel) -> Publisher:
    assert isinstance(channel, Publisher)
    return channel


@pytest.mark.parametrize("adapter", ["x", "mastodon", "sandbox", "webhook"])
class TestPublishers:
    def test_it_says_so(self, channel: Channel, adapter: str) -> None:
        kinds = {"sandbox": "x", "webhook": "linkedin"}
        assert channel.capabilities.posts
        assert channel.capabilities.kind == kinds.get(adapter, adapter)

    @pytest.mark.parametrize("text", [text for text in HOSTILE if 0 < len(text) < 200])
    def test_hostile_content_is_one_post(self, publisher: Publisher, text: str) -> None:
        assert isinstance(publisher.publish(f"Hello {text}", KEY), Accepted)

    def test_it_takes_no_messages(self, channel: Channel) -> None:
        with pytest.raises(ChannelUnavailable, match="channel 'shop' publishes posts"):
            channel.send(messages(1))

    def test_it_measures_what_it_knows(self, publisher: Publisher) -> None:
        outcome = publisher.publish("Hello", KEY)
        assert isinstance(outcome, Accepted)
        assert publisher.measure([outcome.provider_id, "404"]).keys() <= {outcome.provider_id}

    def test_a_closed_channel_publishes_nothing(self, channel: Channel, publisher: Publisher) -> None:
        channel.close()
        with pytest.raises(ChannelUnavailable, match="'shop' is closed"):
            publisher.publish("Hello", KEY)


@pytest.mark.parametrize("adapter", ["x", "mastodon", "sandbox"])
class TestPublishersThatCanBeAsked:
    @pytest.mark.parametrize(
        "text", ["Hello", "Tea & <cake>\n\nhttps://acme.example/?a=1&b=2", "مرحبا 👨‍👩‍👧‍👦"]
    )
    def test_a_post_is_found_by_its_text_and_its_time(self, publisher: Publisher, text: str) -> None:
        outcome = publisher.publish(text, KEY)
        assert isinstance(outcome, Accepted)
        assert publisher.find_post(text, LONG_AGO) == outcome.provider_id
        assert publisher.find_post(text, FAR_AHEAD) is None
        assert publisher.find_post(text + ".", LONG_AGO) is None

    def test_a_closed_channel_finds_nothing(self, channel: Channel, publisher: Publisher) -> None:
        channel.close()
        with pytest.raises(ChannelUnavailable, match="'shop' is closed"):
            publisher.find_post("Hello", datetime.now(UTC) - timedelta(days=1))
