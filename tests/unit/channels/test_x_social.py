from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme

from channels import open_channel
from channels.x_social import XChannel, XSettings
from holdfast.channel import (
    DUPLICATE,
    Accepted,
    InDoubt,
    Outcome,
    PostNumbers,
    Rejected,
    RejectReason,
    ResponseKind,
    Retry,
)
from holdfast.errors import ChannelUnavailable, SettingsError
from holdfast.settings import ChannelConfig
from tests.contract.letters import message, saying
from tests.servers import x_server
from tests.servers.stand_in import Act, Answer
from tests.servers.x_server import XServer, problem

TOKEN = "t0ken-of-the-user"
KEYS: dict[str, Any] = dict.fromkeys(("api_key", "api_secret", "access_token", "access_secret"), TOKEN)
RESET = int(datetime(2026, 6, 3, 12, 15, tzinfo=UTC).timestamp())


def opened(url: str, kind: str = "post", **more: Any) -> XChannel:
    settings = {"user_token": TOKEN, **more} if "api_key" not in more else more
    return XChannel("shop", XSettings.model_validate({"kind": kind, "base_url": url, **settings}))


@contextmanager
def x(
    *script: Answer | Act | None,
    kind: str = "post",
    reading: Sequence[Answer | Act | None] = (),
    **more: Any,
) -> Iterator[tuple[XServer, XChannel]]:
    with XServer(script, reading) as server:
        channel = opened(server.url, kind, **more)
        yield server, channel
        channel.close()


# --- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "no way in; expected api_key, api_secret, access_token and access_secret, or user_token alone"),
        ({"api_key": TOKEN}, "no way in; expected api_key, api_secret, access_token and access_secret"),
        ({"api_key": TOKEN, "user_token": TOKEN}, "two ways in; expected user_token alone"),
        ({"user_token": TOKEN, "timeout": "0s"}, "timeout: no time at all; expected a duration like 60s"),
    ],
)
def test_an_account_has_one_way_in(options: dict[str, str], what: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_channel("shop", ChannelConfig(adapter="x"), options)
    assert what in str(refused.value)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("keys", [KEYS, {"user_token": TOKEN}])
def test_both_ways_in_serve(keys: dict[str, Any]) -> None:
    with x(**keys) as (server, channel):
        assert isinstance(channel.publish("Hello"), Accepted)
        assert channel.find_post("Hello", x_server.START) == server.posts[0]["id"]


# --- what becomes of a post -----------------------------------------------------------------------------

OUTCOMES: list[tuple[Answer | Act, Outcome]] = [
    (Answer(400, {"title": "Invalid Request"}), Rejected(RejectReason.CONTENT, "400")),
    (x_server.DUPLICATE, Rejected(RejectReason.CONTENT, DUPLICATE)),
    (
        Answer(403, {"errors": [{"code": 187, "message": "Status is a duplicate."}]}),
        Rejected(RejectReason.CONTENT, DUPLICATE),
    ),
    (problem(403, "Your Tweet text is too long."), Rejected(RejectReason.TOO_LARGE, "403")),
    (Answer(429), Retry(None, "429")),
    (
        Answer(
            429, {}, {"x-rate-limit-reset": str(RESET), "Date": "Wed, 03 Jun 2026 12:05:00 GMT"}
        ),
        Retry(timedelta(minutes=10), "429"),
    ),
    (Answer(429, {}, {"x-rate-limit-reset": "soon"}), Retry(None, "429")),
    (Answer(503), Retry(None, "503")),
    (Answer(500, {"title": "Internal Error"}), InDoubt("500")),
    (Answer(502, ["not", "an", "object"]), InDoubt("502")),
    (Answer(200, {"errors": [{"title": "odd"}]}), InDoubt("no id")),
    (Answer(200, ["odd"]), InDoubt("unreadable answer")),
    (Act.DROP, InDoubt("ConnectionError")),
    (Act.TAKE_AND_DROP, InDoubt("ConnectionError")),
    (Act.BABBLE, InDoubt("JSONDecodeError")),
]  # fmt: skip


@pytest.mark.parametrize(("act", "outcome"), OUTCOMES)
def test_each_answer_is_one_of_the_outcomes(act: Answer | Act, outcome: Outcome) -> None:
    with x(act) as (server, channel):
        assert channel.publish("Hello") == outcome
        assert server.calls == ["POST /2/tweets"]


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (Answer(401, {"title": "Unauthorized"}), r"X does not take the tokens \(401\)"),
        (Answer(402), r"X wants to be paid \(402\)"),
        (problem(403, "Forbidden"), r"X forbids this to the app \(403\)"),
        (Answer(404), r"there is no X API at base_url \(404\)"),
        (
            Answer(301, None, {"Location": "https://elsewhere.example/"}),
            r"there is no X API .* \(301\)",
        ),
        (problem(429, "", "https://api.twitter.com/2/problems/usage-capped"), "X wants to be paid"),
    ],
)
def test_what_needs_an_operator_stops_the_channel(act: Answer, what: str) -> None:
    with x(act) as (server, channel):
        with pytest.raises(ChannelUnavailable, match=f"channel 'shop': {what}"):
            channel.publish("Hello")
        assert len(server.calls) == 1


def test_a_post_that_gets_no_answer_in_time_is_in_doubt() -> None:
    with x(Act.HANG, timeout="1s") as (_, channel):
        assert channel.publish("Hello") == InDoubt("ReadTimeout")


def test_a_connection_that_is_refused_has_taken_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        channel = opened(f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert channel.publish("Hello") == Retry(detail="not connected")


def test_a_certificate_that_is_not_trusted_stops_the_channel() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with XServer(tls=context) as server:
        with pytest.raises(ChannelUnavailable, match="the certificate of X's address is signed by nobody"):
            opened(server.url).publish("Hello")
        assert server.calls == []


def test_a_text_that_x_would_refuse_is_not_sent() -> None:
    with x() as (server, channel):
        assert channel.publish("字" * 141) == Rejected(RejectReason.TOO_LARGE)
        assert channel.publish(" ") == Rejected(RejectReason.CONTENT)
        assert server.calls == []


def test_a_post_taken_without_an_answer_is_found_page_by_page() -> None:
    text = "Tea & cake: https://acme.example/back?a=1&b=2"
    with x(Act.TAKE_AND_DROP) as (server, channel):
        server.page_size = 2
        channel.publish(text)
        for number in range(5):
            channel.publish(f"Post {number}")
        assert channel.find_post(text, x_server.START) == server.posts[0]["id"]
        assert channel.find_post(text, x_server.START + timedelta(minutes=1)) is None
        assert server.calls.count("GET /2/users/me") == 1


@pytest.mark.parametrize("act", [Answer(429), Answer(503), Answer(401), Act.DROP, Act.BABBLE, Answer(400)])
def test_who_cannot_be_asked_says_so_and_never_that_there_is_no_post(act: Answer | Act) -> None:
    with x(reading=[act]) as (_, channel):
        channel.publish("Hello")
        with pytest.raises(ChannelUnavailable):
            channel.find_post("Hello", x_server.START)


def test_numbers_are_told_of_each_post_as_far_as_the_token_may_know() -> None:
    with x() as (server, channel):
        new, old = (str(server_id(channel.publish(text))) for text in ("Hello", "Long ago"))
        server.not_told.add(old)
        public = PostNumbers(impressions=900, likes=5, replies=3, reposts=3)
        told = PostNumbers(impressions=900, likes=5, replies=3, reposts=3, clicks=17)
        assert channel.measure([new, old, "404"]) == {new: told, old: public}
        assert channel.measure([]) == {}


def test_ids_are_asked_for_by_the_hundred() -> None:
    with x() as (server, channel):
        channel.measure([str(number) for number in range(250)])
        assert server.calls.count("GET /2/tweets") == 6  # three, and three for what is public


def server_id(outcome: Outcome) -> str:
    assert isinstance(outcome, Accepted)
    return outcome.provider_id


# --- direct messages ------------------------------------------------------------------------------------


def test_messages_go_to_ids_and_to_handles_that_are_asked_for_once() -> None:
    with x(kind="message") as (server, channel):
        batch = [message(1, to="@Ann"), message(2, to="12"), message(3, to="nobody"), message(4, to="ann")]
        outcomes = channel.send(batch)
        assert outcomes[2] == Rejected(RejectReason.BAD_ADDRESS, "no such user")
        assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, Rejected, Accepted]
        channel.send([message(5, to="Ann")])
        assert [sent["to"] for sent in server.messages] == ["11", "12", "11", "11"]
        assert server.calls.count("GET /2/users/by") == 1


@pytest.mark.parametrize("to", ["", "a b", "ann@example.com", "../../tweets", "١٢", "@", "a" * 16])
def test_what_is_no_address_is_rejected_without_asking(to: str) -> None:
    with x(kind="message") as (server, channel):
        [outcome, other] = channel.send([message(1, to=to), message(2, to="12")])
        assert outcome == Rejected(RejectReason.BAD_ADDRESS, "no such user")
        assert isinstance(other, Accepted)
        assert len(server.messages) == 1


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (x_server.NO_DMS, Rejected(RejectReason.OPTED_OUT, "403")),
        (Answer(403, {"errors": [{"code": 349}]}), Rejected(RejectReason.BLOCKED, "349")),
        (Answer(403, {"errors": [{"code": 150}]}), Rejected(RejectReason.OPTED_OUT, "150")),
        (
            Answer(400, {"errors": [{"parameters": {"participant_id": ["1"]}}]}),
            Rejected(RejectReason.BAD_ADDRESS, "400"),
        ),
        (Act.DROP, InDoubt("ConnectionError")),
    ],
)
def test_one_refusal_costs_the_others_nothing(act: Answer | Act, outcome: Outcome) -> None:
    with x(None, act, kind="message") as (server, channel):
        outcomes = channel.send([message(number, to=f"1{number}") for number in range(3)])
        assert outcomes[1] == outcome
        assert [isinstance(found, Accepted) for found in outcomes] == [True, False, True]
        assert len(server.messages) == 2


def test_what_the_account_is_told_once_holds_for_the_rest_of_the_batch() -> None:
    with x(None, Answer(429), kind="message") as (server, channel):
        outcomes = channel.send([message(number, to="12") for number in range(4)])
        assert [type(outcome) for outcome in outcomes] == [Accepted, Retry, Retry, Retry]
        assert len(server.calls) == 2


def test_an_account_that_is_locked_out_midway_loses_no_outcome() -> None:
    with x(None, Answer(401), kind="message") as (server, channel):
        outcomes = channel.send([message(number, to="12") for number in range(3)])
        assert [type(outcome) for outcome in outcomes] == [Accepted, Retry, Retry]
        assert len(server.messages) == 1


def test_handles_that_x_does_not_tell_now_wait() -> None:
    with x(kind="message", reading=[Act.DROP]) as (server, channel):
        assert channel.send([message(1, to="ann")]) == [Retry(detail="no ids")]
        assert server.messages == []


@pytest.mark.parametrize("sign", ["x", "é", "字", "ع", "😀", "\ud800"])
def test_the_longest_message_is_taken_and_one_character_more_is_not_sent(sign: str) -> None:
    with x(kind="message") as (server, channel):
        [taken, refused] = channel.send([saying(sign * length, to="12") for length in (10_000, 10_001)])
        assert isinstance(taken, Accepted)
        assert refused == Rejected(RejectReason.TOO_LARGE)
        assert len(server.messages) == 1


def test_an_account_for_messages_publishes_nothing() -> None:
    with (
        x(kind="message") as (_, channel),
        pytest.raises(ChannelUnavailable, match="'shop' sends direct messages"),
    ):
        channel.publish("Hello")


# --- what comes back --------------------------------------------------------------------------------------


def test_mentions_come_once_oldest_first_and_only_from_now_on() -> None:
    with x() as (server, channel):
        server.mention("11", "before we asked")
        first = channel.poll("")
        assert (list(first.responses), first.cursor) == ([], server.mentions[0]["id"])
        assert list(channel.poll(first.cursor).responses) == []
        server.page_size = 2
        post = server_id(channel.publish("Hello"))
        ids = [server.mention("11", f"@acme {number}", post) for number in range(5)]
        server.mention(x_server.ME["id"], "we, about ourselves")
        polled = channel.poll(first.cursor)
        assert [response.event_id for response in polled.responses] == ids
        response = polled.responses[0]
        assert (response.kind, response.provider_id) == (ResponseKind.MENTIONED, post)
        assert (response.address, response.text) == ("11", "@acme 0")
        assert response.occurred_at == x_server.START + timedelta(minutes=2)
        assert list(channel.poll(polled.cursor).responses) == []


def test_who_quotes_has_written_and_who_reposts_has_not() -> None:
    with x() as (server, channel):
        cursor = server.mention("11", "before we asked")
        ids = {
            how: server.mention("11", "@acme hm", "5", how) for how in ("quoted", "retweeted", "replied_to")
        }
        polled = channel.poll(cursor)
    assert [response.event_id for response in polled.responses] == [ids["quoted"], ids["replied_to"]]
    assert polled.cursor == ids["replied_to"]


def test_direct_messages_are_replies_of_who_wrote_them() -> None:
    with x(kind="message") as (server, channel):
        first = channel.poll("")
        assert first.cursor == "0"
        channel.send([message(1, to="12")])
        id_ = server.message("12", "Stop writing to me")
        polled = channel.poll(first.cursor)
        [response] = polled.responses
        assert (response.kind, response.event_id) == (ResponseKind.REPLIED, id_)
        assert (response.address, response.text) == ("12", "Stop writing to me")
        assert (polled.cursor, list(channel.poll(polled.cursor).responses)) == (id_, [])


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("STOP", ResponseKind.UNSUBSCRIBED),
        ("Abmelden!", ResponseKind.UNSUBSCRIBED),
        ("start", ResponseKind.RESUBSCRIBED),
        ("Where does it stop?", ResponseKind.REPLIED),
    ],
)
def test_one_word_ends_the_direct_messages(said: str, kind: ResponseKind) -> None:
    with x(kind="message") as (server, channel):
        cursor = channel.poll("").cursor
        channel.send([message(1, to="12")])
        server.message("12", said)
        [response] = channel.poll(cursor).responses
        assert (response.kind, response.address, response.text) == (kind, "12", said)


@pytest.mark.parametrize("kind", ["post", "message"])
@pytest.mark.parametrize(
    "act", [Answer(429), Answer(401), Act.DROP, Act.BABBLE, Answer(200, {"data": [{"id": "5"}]})]
)
def test_an_account_that_cannot_be_asked_says_so(kind: str, act: Answer | Act) -> None:
    with x(kind=kind, reading=[None, act]) as (_, channel), pytest.raises(ChannelUnavailable):
        channel.poll("1")


# --- secrets ----------------------------------------------------------------------------------------------


def test_no_log_and_no_error_holds_a_token_or_a_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with x(None, Act.DROP, problem(403, "SECRET detail"), **KEYS) as (server, channel):
        channel.publish("SECRET text")
        channel.publish("SECRET text")
        with pytest.raises(ChannelUnavailable) as refused:
            channel.publish("SECRET text")
    said = f"{caplog.text} {refused.value!r} {refused.value.hint} {refused.value.__cause__!r}"
    assert TOKEN not in said
    assert "SECRET" not in said
    assert len(server.calls) == 3
