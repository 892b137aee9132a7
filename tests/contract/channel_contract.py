"""What every channel keeps, whatever is behind it. A channel's own test inherits this and opens one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from channels import describe, open_channel
from holdfast.channel import (
    Accepted,
    Attachment,
    Capabilities,
    Channel,
    Message,
    Outcome,
    Receiver,
    Retry,
)
from holdfast.errors import AnswerRefused, BatchRefused, ChannelUnavailable, SettingsError
from holdfast.settings import ChannelConfig
from tests.contract.letters import message, messages

SECRET = "s3cret-Wert"
NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)

HOSTILE = [
    "Ann\r\nBcc: everyone@example.com",
    "Ann\nX-Injected: yes",
    "Ann\r\n\r\n<script>alert(1)</script>",
    "\u202egnp.exe\u202c\u2066",
    "مريم العلي",
    "فاطمه\u200cها",
    "😀🏴\U000e0067\U000e0062 𠜎",
    "\x00\x07\x1b[31m\x7f\x85\u2028",
    '"quoted" <a@b.example>, c\\d (e)',
    "=?utf-8?b?QmNj?=",
    "\ud800",
    ".\r\n.\r\nQUIT",
    "x" * 5000,
    "字" * 3000,
    "",
]


def send(channel: Channel, given: Sequence[Message]) -> list[Outcome]:
    """Sends the messages as the channel splits them: their outcomes, in order."""
    outcomes = {}
    for batch in channel.batches(given):
        outcomes |= dict(zip([message.key for message in batch], channel.send(batch), strict=True))
    return [outcomes[message.key] for message in given]


class ChannelContract:
    """Inherit, and give `options` (the adapter's settings, secrets plain) and `delivered`."""

    adapter: str

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        """Settings of a channel that works, with a batch size of at most 50."""
        raise NotImplementedError

    def delivered(self) -> int:
        """How many messages the other side has by now."""
        raise NotImplementedError

    @pytest.fixture
    def config(self) -> ChannelConfig:
        return ChannelConfig(adapter=self.adapter)

    @pytest.fixture
    def channel(self, config: ChannelConfig, options: dict[str, Any]) -> Iterator[Channel]:
        opened = open_channel("shop", config, options)
        yield opened
        opened.close()

    def test_it_is_a_channel_of_the_port(self, channel: Channel) -> None:
        assert isinstance(channel, Channel)

    def test_it_can_do_what_was_described_before_it_was_opened(
        self, channel: Channel, config: ChannelConfig, options: dict[str, Any]
    ) -> None:
        described = describe("shop", config, options)
        assert isinstance(described, Capabilities)
        assert channel.capabilities == described

    def test_each_message_has_one_outcome_in_order(self, channel: Channel) -> None:
        outcomes = send(channel, messages(5))
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 5
        assert self.delivered() == 5

    def test_an_empty_batch_has_no_outcomes(self, channel: Channel) -> None:
        assert channel.send([]) == []
        assert self.delivered() == 0

    def test_a_full_batch_is_taken(self, channel: Channel) -> None:
        size = channel.capabilities.batch_size
        assert len(channel.send(messages(size))) == size
        assert self.delivered() == size

    def test_a_batch_above_the_limit_is_refused_whole(self, channel: Channel) -> None:
        with pytest.raises(BatchRefused, match="'shop' takes at most"):
            channel.send(messages(channel.capabilities.batch_size + 1))
        assert self.delivered() == 0

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_content_is_one_message_and_leaves_the_others_alone(
        self, channel: Channel, text: str
    ) -> None:
        hostile = message(
            2, to_name=text, subject=text, escaped=(text, text), plain=(text, text), headers={"X-Note": text}
        )
        outcomes = send(channel, [message(1), hostile, message(3)])
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 3
        assert self.delivered() == 3

    def test_files_go_along_where_they_can_and_are_never_left_out(self, channel: Channel) -> None:
        terms = Attachment("terms.pdf", "application/pdf", b"%PDF-1.7")
        attached = [message(number, attachments=(terms,)) for number in (1, 2)]
        if channel.capabilities.attachments:
            assert [type(outcome) for outcome in send(channel, attached)] == [Accepted] * 2
            assert self.delivered() == 2
        else:
            with pytest.raises(ChannelUnavailable, match="'shop' takes no attachments"):
                send(channel, attached)
            assert self.delivered() == 0

    def test_threads_share_it_and_every_message_goes_once(self, channel: Channel) -> None:
        batches = [messages(5, start=1 + 5 * number) for number in range(12)]
        with ThreadPoolExecutor(6) as threads:
            sent = threads.map(partial(send, channel), batches)
            outcomes = [outcome for found in sent for outcome in found]
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 60
        assert self.delivered() == 60

    def test_a_closed_channel_takes_nothing(self, channel: Channel) -> None:
        channel.send(messages(1))
        channel.close()
        with pytest.raises(ChannelUnavailable, match="'shop' is closed"):
            channel.send(messages(1, start=2))
        assert self.delivered() == 1

    def test_closing_twice_is_no_error(self, channel: Channel) -> None:
        channel.close()
        channel.close()

    def test_lookup_knows_sent_from_unsent_where_it_is_offered(self, channel: Channel) -> None:
        sent, unsent = messages(2)
        channel.send([sent])
        found = channel.lookup([sent.key, unsent.key], datetime(2026, 1, 1, tzinfo=UTC))
        if channel.capabilities.lookup:
            assert {key: type(outcome) for key, outcome in found.items()} == {
                sent.key: Accepted,
                unsent.key: Retry,
            }
        else:
            assert found == {}

    def test_a_key_sent_again_goes_once_where_the_channel_is_idempotent(self, channel: Channel) -> None:
        if channel.capabilities.idempotent:
            for batch in channel.batches(messages(1) * 2):
                assert {type(outcome) for outcome in channel.send(batch)} == {Accepted}
            assert [type(outcome) for outcome in channel.send(messages(1))] == [Accepted]
            assert self.delivered() == 1

    def test_a_setting_it_does_not_know_is_refused_by_name_without_its_value(
        self, config: ChannelConfig, options: dict[str, Any]
    ) -> None:
        with pytest.raises(SettingsError) as refused:
            open_channel("shop", config, {**options, "no_such_setting": SECRET})
        assert "channel 'shop': there is no setting 'no_such_setting'" in str(refused.value)
        assert SECRET not in f"{refused.value!r} {refused.value.hint} {refused.value.__context__!r}"

    def test_a_setting_of_the_wrong_type_is_refused_by_name_without_its_value(
        self, config: ChannelConfig, options: dict[str, Any]
    ) -> None:
        for setting in options:
            with pytest.raises(SettingsError) as refused:
                open_channel("shop", config, {**options, setting: {"secret": SECRET}})
            by_name = (
                f"{setting}: ",
                f"there is no setting '{setting}.secret'",
            )  # one that has settings itself
            assert any(f"channel 'shop': {name}" in str(refused.value) for name in by_name)
            assert SECRET not in f"{refused.value!r} {refused.value.hint} {refused.value.__context__!r}"

    def test_an_answer_that_proves_nothing_is_refused_with_what_to_do(self, channel: Channel) -> None:
        if isinstance(channel, Receiver):
            with pytest.raises(AnswerRefused) as refused:
                channel.verify({}, b"[]", datetime.now(UTC))
            assert refused.value.hint
            assert SECRET not in f"{refused.value!r} {refused.value.hint}"

    def test_its_settings_show_no_secret(self, channel: Channel, options: dict[str, Any]) -> None:
        settings = channel.Settings.model_validate(options)
        assert SECRET not in f"{settings!r} {settings} {channel!r} {channel.capabilities!r}"


class SignedContract:
    """What every channel keeps whose answers are signed, beside its own contract. Give `key_setting`, `keys`
    (what the setting takes: a new, an old and a stranger's) and `signed`."""

    key_setting: str
    keys: tuple[str, str, str]
    body = b"[]"

    def signed(self, number: int) -> dict[str, str]:
        """The headers that go with the body, signed with what belongs to the key of this number, at `NOW`."""
        raise NotImplementedError

    def believed(self, config: ChannelConfig, options: dict[str, Any], keys: Any) -> list[bool]:
        """Which of the three signatures a channel with these keys believes."""
        with closing(open_channel("shop", config, {**options, self.key_setting: keys})) as channel:
            assert isinstance(channel, Receiver)
            return [self._is_believed(channel, self.signed(number)) for number in range(3)]

    def _is_believed(self, channel: Receiver, headers: dict[str, str]) -> bool:
        try:
            channel.verify(headers, self.body, NOW)
        except AnswerRefused:
            return False
        return True

    def test_a_key_is_changed_over_without_losing_an_answer(
        self, config: ChannelConfig, options: dict[str, Any]
    ) -> None:
        new, old, _ = self.keys
        assert self.believed(config, options, old) == [False, True, False]
        assert self.believed(config, options, [new, old]) == [True, True, False]
        assert self.believed(config, options, [new]) == [True, False, False]

    def test_without_a_signature_several_keys_believe_nothing(
        self, config: ChannelConfig, options: dict[str, Any]
    ) -> None:
        keys = list(self.keys)
        with closing(open_channel("shop", config, {**options, self.key_setting: keys})) as channel:
            assert isinstance(channel, Receiver)
            empty = dict.fromkeys(self.signed(0), "")
            assert [self._is_believed(channel, headers) for headers in ({}, empty)] == [False, False]


class ConnectedContract(ChannelContract):
    """What every channel over connections keeps as well. Give `connections`, too."""

    def connections(self) -> int:
        """How many connections the other side has accepted by now."""
        raise NotImplementedError

    def test_calls_one_after_the_other_share_a_connection(self, channel: Channel) -> None:
        for start in range(1, 30, 5):
            send(channel, messages(5, start=start))
        assert self.delivered() == 30
        assert self.connections() == 1

    def test_hundreds_of_calls_of_many_threads_share_as_few_connections_as_it_wants_calls(
        self, channel: Channel
    ) -> None:
        calls = [messages(1, start=number) for number in range(1, 301)]
        with ThreadPoolExecutor(12) as threads:
            outcomes = [outcome for (outcome,) in threads.map(channel.send, calls)]
        assert {type(outcome) for outcome in outcomes} == {Accepted}
        assert self.delivered() == 300
        assert 1 <= self.connections() <= channel.capabilities.concurrency
