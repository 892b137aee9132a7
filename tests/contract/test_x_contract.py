from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from channels import open_channel
from holdfast.channel import Accepted, Channel, Poller, Publisher
from holdfast.errors import ChannelUnavailable
from holdfast.settings import ChannelConfig
from tests.contract import letters
from tests.contract.channel_contract import HOSTILE, SECRET, ConnectedContract
from tests.contract.letters import messages
from tests.servers.mastodon_server import MastodonServer
from tests.servers.x_server import XServer

FITTING = [text for text in HOSTILE if len(text) < 5000]


class TestXMessages(ConnectedContract):
    adapter = "x"

    @pytest.fixture
    def options(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
        monkeypatch.setattr(letters, "ADDRESS", "4711{}")
        with XServer() as self.server:
            yield {
                "kind": "message",
                "api_key": SECRET,
                "api_secret": SECRET,
                "access_token": SECRET,
                "access_secret": SECRET,
                "base_url": self.server.url,
                "timeout": "30s",
            }

    def delivered(self) -> int:
        return len(self.server.messages)

    def connections(self) -> int:
        return self.server.connections

    # Two of 5,000 characters in one message are more than X takes.
    @pytest.mark.parametrize("text", FITTING, ids=range(len(FITTING)))
    def test_hostile_content_is_one_message_and_leaves_the_others_alone(
        self, channel: Channel, text: str
    ) -> None:
        super().test_hostile_content_is_one_message_and_leaves_the_others_alone(channel, text)

    def test_every_message_needs_a_recorded_yes(self, channel: Channel) -> None:
        assert channel.capabilities.opt_in
        assert not channel.capabilities.posts

    def test_it_is_asked_for_answers(self, channel: Channel) -> None:
        assert isinstance(channel, Poller)


@pytest.mark.parametrize("adapter", ["x", "mastodon", "sandbox"])
class TestPublishers:
    """What every channel that publishes keeps."""

    @pytest.fixture
    def channel(self, adapter: str, tmp_path: Any) -> Iterator[Channel]:
        with XServer() as x, MastodonServer(token=SECRET) as mastodon:
            settings: dict[str, Any] = {
                "x": {"user_token": SECRET, "base_url": x.url},
                "mastodon": {"token": SECRET, "base_url": mastodon.url},
                "sandbox": {"kind": "x", "post": True, "folder": tmp_path / "posts"},
            }[adapter]
            opened = open_channel("shop", ChannelConfig(adapter=adapter), settings)
            yield opened
            opened.close()

    @pytest.fixture
    def publisher(self, channel: Channel) -> Publisher:
        assert isinstance(channel, Publisher)
        return channel

    def test_it_says_so(self, channel: Channel, adapter: str) -> None:
        assert channel.capabilities.posts
        assert channel.capabilities.kind == adapter.replace("sandbox", "x")

    @pytest.mark.parametrize(
        "text", ["Hello", "Tea & <cake>\n\nhttps://acme.example/?a=1&b=2", "مرحبا 👨‍👩‍👧‍👦"]
    )
    def test_a_post_is_found_by_its_text_and_its_time(self, publisher: Publisher, text: str) -> None:
        outcome = publisher.publish(text)
        assert isinstance(outcome, Accepted)
        long_ago, far_ahead = datetime(2026, 1, 1, tzinfo=UTC), datetime(2126, 1, 1, tzinfo=UTC)
        assert publisher.find_post(text, long_ago) == outcome.provider_id
        assert publisher.find_post(text, far_ahead) is None
        assert publisher.find_post(text + ".", long_ago) is None

    def test_it_takes_no_messages(self, channel: Channel) -> None:
        with pytest.raises(ChannelUnavailable, match="channel 'shop' publishes posts"):
            channel.send(messages(1))

    def test_it_measures_what_it_knows(self, publisher: Publisher) -> None:
        outcome = publisher.publish("Hello")
        assert isinstance(outcome, Accepted)
        assert publisher.measure([outcome.provider_id, "404"]).keys() <= {outcome.provider_id}

    def test_a_closed_channel_publishes_nothing(self, channel: Channel, publisher: Publisher) -> None:
        channel.close()
        with pytest.raises(ChannelUnavailable, match="'shop' is closed"):
            publisher.publish("Hello")
        with pytest.raises(ChannelUnavailable, match="'shop' is closed"):
            publisher.find_post("Hello", datetime.now(UTC) - timedelta(days=1))
