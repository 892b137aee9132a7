"""What every channel over HTTP keeps, whatever goes wrong on the way."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme

from channels import open_channel
from holdfast.channel import Accepted, Channel, InDoubt, Outcome, Rejected, RejectReason, Retry
from holdfast.errors import ChannelUnavailable
from holdfast.settings import ChannelConfig
from tests.contract import letters
from tests.contract.channel_contract import HOSTILE, SECRET, ConnectedContract, send
from tests.contract.letters import message
from tests.servers.stand_in import Act, Answer, StandIn

# Two of these in one message are more than the providers take.
LONG = [text for text in HOSTILE if len(text) >= 3000]
FITTING = [text for text in HOSTILE if text not in LONG]
HTML = b"<html><h1>It works!</h1></html>"


class HttpContract(ConnectedContract):
    """Inherit, and give `settings` (all but base_url, which ends with `path`) and the stand-in.

    `address` is one that it takes, `no_addresses` are none to it; `of_unreadable` is what a yes is whose
    answer cannot be read.
    """

    stand_in: ClassVar[Callable[..., StandIn]]
    settings: Mapping[str, Any]
    path: ClassVar[str] = ""
    address: ClassVar[str]
    no_addresses: ClassVar[Sequence[str]] = (
        "", " ", "nobody", "+", "4711\r\nX: y", "\n", "9" * 400, "１２３４５６７", "4711;4712", "\ud800"
    )  # fmt: skip
    of_unreadable: ClassVar[type[Outcome]] = InDoubt
    server: Any

    def connections(self) -> int:
        return int(self.server.connections)

    @pytest.fixture(autouse=True)
    def _addressed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(letters, "ADDRESS", self.address)

    @pytest.fixture
    def options(self) -> Iterator[dict[str, Any]]:
        with self.stand_in() as self.server:
            address = self.server.url + self.path
            yield {"base_url": address, "concurrency": 4, "timeout": "30s", **self.settings}

    @pytest.fixture
    def opened(self, options: dict[str, Any]) -> Iterator[Callable[..., Channel]]:
        """Opens the channel before a stand-in with a script of its own, or at another address."""
        servers: list[StandIn] = []
        channels: list[Channel] = []

        def open_before(
            *script: Answer | Act | None, tls: ssl.SSLContext | None = None, **more: Any
        ) -> Channel:
            self.server = self.stand_in(script, tls=tls)
            servers.append(self.server.__enter__())
            given = {**options, "base_url": self.server.url + self.path, **more}
            channels.append(open_channel("shop", ChannelConfig(adapter=self.adapter), given))
            return channels[-1]

        yield open_before
        for channel in channels:
            channel.close()
        for server in servers:
            server.__exit__()

    @pytest.mark.parametrize(
        ("answer", "outcome"),
        [
            (Answer(400), Rejected(RejectReason.CONTENT, "400")),
            (Answer(400, HTML), Rejected(RejectReason.CONTENT, "400")),
            (Answer(413), Rejected(RejectReason.TOO_LARGE, "413")),
            (Answer(413, HTML), Rejected(RejectReason.TOO_LARGE, "413")),
            (Answer(429), Retry(None, "429")),
            (Answer(429, HTML, {"Retry-After": "7"}), Retry(timedelta(seconds=7), "429")),
            (Answer(429, None, {"Retry-After": "soon"}), Retry(None, "429")),
            (Answer(503), Retry(None, "503")),
            (Answer(503, None, {"Retry-After": "30"}), Retry(timedelta(seconds=30), "503")),
            (Answer(500), InDoubt("500")),
            (Answer(502, HTML), InDoubt("502")),
            (Answer(504), InDoubt("504")),
        ],
        ids=lambda given: given.status if isinstance(given, Answer) else "",
    )
    def test_a_status_means_the_same_as_everywhere(
        self, opened: Callable[..., Channel], answer: Answer, outcome: Outcome
    ) -> None:
        channel = opened(answer)
        assert channel.send([message(1)]) == [outcome]
        assert [type(sent) for sent in channel.send([message(2)])] == [Accepted]
        assert self.delivered() == 1

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(301, None, {"Location": "/elsewhere"}),
            Answer(307, HTML, {"Location": "https://elsewhere.example/"}),
            Answer(401),
            Answer(401, HTML),
            Answer(403),
            Answer(403, HTML),
            Answer(404),
            Answer(405, HTML),
            Answer(410),
        ],
        ids=lambda answer: f"{answer.status}",
    )
    def test_an_operators_error_stops_the_channel_and_says_what_to_do(
        self, opened: Callable[..., Channel], answer: Answer, caplog: pytest.LogCaptureFixture
    ) -> None:
        channel = opened(answer)
        with caplog.at_level(logging.DEBUG), pytest.raises(ChannelUnavailable) as stopped:
            channel.send([message(1)])
        assert str(stopped.value).startswith("channel 'shop': ")
        assert str(answer.status) in str(stopped.value)
        assert stopped.value.hint
        assert len(self.server.requests) == 1  # no redirect is followed
        self.assert_no_secret(stopped.value, caplog)

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(200),
            Answer(200, HTML),
            Answer(201, []),
            Answer(200, {}),
            Answer(200, b"[" * 9999),
            Act.BABBLE,
        ],
        ids=["empty", "html", "list", "object", "deep", "after it was taken"],
    )
    def test_a_yes_that_cannot_be_read_is_in_doubt_unless_any_yes_will_do(
        self, opened: Callable[..., Channel], answer: Answer | Act
    ) -> None:
        assert [type(sent) for sent in opened(answer).send([message(1)])] == [self.of_unreadable]

    def test_a_yes_is_known_whatever_it_calls_itself(self, opened: Callable[..., Channel]) -> None:
        assert [type(sent) for sent in opened(Act.MISLABEL).send([message(1)])] == [Accepted]

    @pytest.mark.parametrize("act", [Act.DROP, Act.TAKE_AND_DROP, Act.HANG, Act.STALL, Act.DRIP, Act.FLOOD])
    def test_no_answer_is_in_doubt(
        self, opened: Callable[..., Channel], act: Act, caplog: pytest.LogCaptureFixture
    ) -> None:
        channel = opened(act, timeout="1s")
        with caplog.at_level(logging.DEBUG):
            outcomes = channel.send([message(1)])
        assert [type(outcome) for outcome in outcomes] == [InDoubt]
        assert len(self.server.requests) == 1
        self.assert_no_secret(outcomes, caplog)

    def test_a_connection_that_is_reset_before_anything_was_read_is_in_doubt_and_no_other_is_tried(
        self, opened: Callable[..., Channel]
    ) -> None:
        channel = opened(Act.RESET)
        assert [type(outcome) for outcome in channel.send([message(1)])] == [InDoubt]
        assert self.server.requests == []
        assert [type(outcome) for outcome in channel.send([message(2)])] == [Accepted]

    def test_a_connection_that_the_provider_has_closed_meanwhile_costs_nothing(
        self, opened: Callable[..., Channel]
    ) -> None:
        channel = opened(Act.TAKE_AND_CLOSE)
        assert [type(outcome) for outcome in channel.send([message(1)])] == [Accepted]
        assert self.server.has_closed.wait(30)
        assert [type(outcome) for outcome in channel.send([message(2)])] == [Accepted]
        assert self.connections() == 2

    def test_what_never_left_may_be_sent_again(
        self, opened: Callable[..., Channel], caplog: pytest.LogCaptureFixture
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        with caplog.at_level(logging.DEBUG):
            outcomes = opened(base_url=f"http://127.0.0.1:{port}").send([message(1)])
        assert [(type(outcome), getattr(outcome, "after", "")) for outcome in outcomes] == [(Retry, None)]
        self.assert_no_secret(outcomes, caplog)

    @pytest.mark.parametrize(
        ("host", "more", "fault"),
        [
            ("127.0.0.1", {"not_after": datetime(2020, 1, 2, tzinfo=UTC)}, "has expired"),
            ("elsewhere.example", {}, "is for another host"),
            ("127.0.0.1", None, "is signed by nobody who is trusted here"),
        ],
    )
    def test_a_certificate_that_proves_nothing_stops_the_channel_and_is_told(
        self,
        opened: Callable[..., Channel],
        host: str,
        more: Mapping[str, Any] | None,
        fault: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        trusted, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority = trustme.CA() if more is None else trusted
        authority.issue_cert(host, **more or {}).configure_cert(tls)
        trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
        for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
        told = f"^channel 'shop': the certificate of .* {fault}$"
        with (
            caplog.at_level(logging.DEBUG),
            pytest.raises(ChannelUnavailable, match=told) as stopped,
        ):
            opened(tls=tls).send([message(1)])
        assert stopped.value.hint
        assert self.server.requests == []
        self.assert_no_secret(stopped.value, caplog)

    def test_a_message_that_is_taken_leaves_no_secret_in_the_logs(
        self, channel: Channel, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            outcomes = channel.send([message(1)])
        assert [type(outcome) for outcome in outcomes] == [Accepted]
        self.assert_no_secret(outcomes, caplog)

    def test_what_is_no_address_is_not_called(self, channel: Channel) -> None:
        for address in self.no_addresses:
            [outcome] = channel.send([message(1, to=address)])
            assert isinstance(outcome, Rejected), address
            assert outcome.reason is RejectReason.BAD_ADDRESS
        assert self.server.requests == []

    def assert_no_secret(self, given: Any, caplog: pytest.LogCaptureFixture) -> None:
        assert message(1).to not in caplog.text
        hint = getattr(given, "hint", "")
        assert SECRET not in f"{given!r} {given} {hint} {getattr(given, '__context__', None)!r} {caplog.text}"


class ShortTextContract(HttpContract):
    """Of those whose texts are short, too."""

    @pytest.mark.parametrize("text", FITTING, ids=range(len(FITTING)))
    def test_hostile_content_is_one_message_and_leaves_the_others_alone(
        self, channel: Channel, text: str
    ) -> None:
        super().test_hostile_content_is_one_message_and_leaves_the_others_alone(channel, text)

    @pytest.mark.parametrize("text", LONG, ids=len)
    def test_what_is_longer_than_the_provider_takes_is_refused_and_the_others_go(
        self, channel: Channel, text: str
    ) -> None:
        long = message(2, subject=text, plain=(text, text))
        outcomes = send(channel, [message(1), long, message(3)])
        assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Accepted]
        assert isinstance(outcomes[1], Rejected)
        assert outcomes[1].reason is RejectReason.TOO_LARGE
        assert self.delivered() == 2
