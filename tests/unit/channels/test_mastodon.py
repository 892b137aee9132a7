from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from channels import open_channel
from channels.mastodon import MastodonChannel, MastodonSettings
from holdfast.channel import (
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
from tests.contract.letters import message
from tests.servers import mastodon_server
from tests.servers.mastodon_server import MastodonServer, error
from tests.servers.stand_in import Act, Answer

TOKEN = "t0ken-of-the-account"
RESET = {"X-RateLimit-Reset": "2026-06-03T12:05:00.000000Z", "Date": "Wed, 03 Jun 2026 12:03:30 GMT"}
Script = Sequence[Answer | Act | None]


def opened(url: str, kind: str = "post", **more: Any) -> MastodonChannel:
    settings = {"kind": kind, "base_url": url, "token": TOKEN, "domain": "acme.example", **more}
    return MastodonChannel("shop", MastodonSettings.model_validate(settings))


@contextmanager
def mastodon(
    *script: Answer | Act | None, kind: str = "post", reading: Script = (), **more: Any
) -> Iterator[tuple[MastodonServer, MastodonChannel]]:
    with MastodonServer(script, reading, token=TOKEN) as server:
        channel = opened(server.url, kind, **more)
        yield server, channel
        channel.close()


# --- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"token": ""}, "token: not a token; expected the one that the application shows"),
        ({"token": "t0ken\nX-Bad: 1"}, "token: not a token"),
        ({"token": "Bearer t0ken"}, "token: not a token"),
        ({"token": "t0kén"}, "token: not a token"),
        ({"base_url": "mastodon.example"}, "base_url: not a web address"),
        ({"kind": "dm"}, "kind: "),
        ({"domain": "a b"}, "domain: "),
        ({"max_characters": 0}, "max_characters: "),
    ],
)
def test_settings_that_cannot_be_are_refused_without_their_values(change: dict[str, Any], what: str) -> None:
    options = {"base_url": "https://mastodon.example", "token": TOKEN} | change
    with pytest.raises(SettingsError) as refused:
        open_channel("shop", ChannelConfig(adapter="mastodon"), options)
    assert f"channel 'shop': {what}" in str(refused.value)
    assert "t0k" not in str(refused.value)


# --- posts --------------------------------------------------------------------------------------------


def test_a_post_is_public_and_its_repeat_is_the_same_post() -> None:
    with mastodon() as (server, channel):
        first, second = channel.publish("Hello"), channel.publish("Hello")
        assert first == second == Accepted(server.statuses[0]["id"])
        assert len(server.statuses) == 1
        assert server.statuses[0]["visibility"] == "public"
        keys = {call.headers["idempotency-key"] for call in server.requests}
        assert len(keys) == 1
        assert channel.publish("Hello!") != first


def test_a_doubtful_post_is_found_and_its_repeat_is_the_same() -> None:
    with mastodon(Act.TAKE_AND_DROP) as (server, channel):
        assert channel.publish("Hello") == InDoubt("ReadError")
        id_ = server.statuses[0]["id"]
        assert channel.find_post("Hello", mastodon_server.START) == id_
        assert channel.publish("Hello") == Accepted(id_)
        assert len(server.statuses) == 1


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", Rejected(RejectReason.CONTENT)),
        (" \n", Rejected(RejectReason.CONTENT)),
        ("x" * 501, Rejected(RejectReason.TOO_LARGE)),
        ("字" * 501, Rejected(RejectReason.TOO_LARGE)),
        ("م" * 501, Rejected(RejectReason.TOO_LARGE)),
        ("x" * 478 + "https://a.example/" + "y" * 99, Rejected(RejectReason.TOO_LARGE)),
    ],
)
def test_what_does_not_fit_is_not_sent(text: str, outcome: Outcome) -> None:
    with mastodon() as (server, channel):
        assert channel.publish(text) == outcome
        assert server.requests == []


@pytest.mark.parametrize(
    "text",
    ["x" * 500, "字" * 500, "م" * 500, "x" * 476 + " https://a.example/" + "y" * 99, "\ud800"],
    ids=range(5),
)
def test_what_just_fits_is_taken(text: str) -> None:
    with mastodon() as (_, channel):
        assert isinstance(channel.publish(text), Accepted)


@pytest.mark.parametrize("text", ["x" * 900, "👨‍👩‍👧‍👦" * 200])
def test_an_instance_may_take_more(text: str) -> None:
    with MastodonServer(token=TOKEN, limit=5_000) as server:
        channel = opened(server.url, max_characters=1_000)
        assert isinstance(channel.publish(text), Accepted)
        channel.close()


def test_posts_are_found_page_by_page_and_no_further_than_asked() -> None:
    with mastodon() as (server, channel):
        for number in range(100):
            channel.publish(f"Post {number} @ann@social.example & <you>\n\nhttps://a.example/?a=1&b=2")
        server.requests.clear()
        wanted, since = server.statuses[5], mastodon_server.START
        text = "Post 5 @ann@social.example & <you>\n\nhttps://a.example/?a=1&b=2"
        assert channel.find_post(text, since) == wanted["id"]
        assert len(server.requests) == 4  # whose token it is, and three pages of 40
        assert channel.find_post(text, since + timedelta(minutes=50)) is None
        assert channel.find_post("Post 5", since) is None


def test_a_private_mention_is_no_post() -> None:
    with MastodonServer(token=TOKEN) as server:
        messages, posts = opened(server.url, "message"), opened(server.url)
        messages.send([message(1)])
        assert posts.find_post("@customer1@example.com " + message(1).text, mastodon_server.START) is None
        messages.close()
        posts.close()


def test_posts_are_measured_and_unknown_ones_left_out() -> None:
    with mastodon() as (server, channel):
        channel.publish("Hello")
        id_ = server.statuses[0]["id"]
        found = channel.measure([id_, "404", "../x"])
        assert found == {id_: PostNumbers(likes=5, reposts=2, replies=3)}


@pytest.mark.parametrize("answer", [Act.BABBLE, Answer(200, []), Answer(200, {"id": "other"})])
def test_numbers_of_something_else_are_an_error(answer: Answer | Act) -> None:
    unknown = pytest.raises(ChannelUnavailable, match="in a form that is not known")
    with mastodon(reading=[answer]) as (_, channel), unknown:
        channel.measure(["1"])


@pytest.mark.parametrize(
    ("text", "limit", "problem"),
    [
        ("x" * 500, 500, None),
        ("x" * 501, 500, "the post is 501 characters long as Mastodon counts; the instance takes 500"),
        ("x" * 501, 5_000, None),
        ("@ann@social.example " + "x" * 6, 10, "the post is 11 characters long as Mastodon counts"),
        (" \n", 500, "a post without text"),
    ],
)
def test_what_the_instance_would_refuse_is_said_in_words(text: str, limit: int, problem: str | None) -> None:
    settings = MastodonSettings.model_validate(
        {"base_url": "https://mastodon.example", "token": TOKEN, "max_characters": limit}
    )
    found = MastodonChannel.problem_with(text, settings)
    assert found == problem or (found and problem and found.startswith(problem))


# --- private mentions ---------------------------------------------------------------------------------


def test_a_message_is_a_private_mention() -> None:
    with mastodon(kind="message") as (server, channel):
        assert channel.send([message(1, to="@ann@social.example")]) == [Accepted(server.statuses[0]["id"])]
        assert json.loads(server.requests[0].body) == {
            "status": "@ann@social.example Hello Ann,\nwe kept tea & cake for you.\n",
            "visibility": "direct",
        }
        assert server.messages[0]["mentions"][0]["acct"] == "ann@social.example"


def test_a_customers_data_shows_the_message_to_nobody_else() -> None:
    with mastodon(kind="message") as (server, channel):
        channel.send([message(1, to="ann@social.example", plain=("@eve@evil.example", "@bob"))])
        assert [each["acct"] for each in server.messages[0]["mentions"]] == ["ann@social.example"]


def test_a_message_that_mentions_nobody_is_rejected() -> None:
    with mastodon(kind="message") as (server, channel):
        server.strangers.add("ann@gone.example")
        outcome = channel.send([message(1, to="ann@gone.example")])
        assert outcome == [Rejected(RejectReason.BAD_ADDRESS, "not mentioned")]


def test_a_repeated_message_goes_once() -> None:
    with mastodon(Act.TAKE_AND_DROP, kind="message") as (server, channel):
        assert channel.send([message(1)]) == [InDoubt("ReadError")]
        assert channel.send([message(1)]) == [Accepted(server.statuses[0]["id"])]
        assert len(server.messages) == 1


@pytest.mark.parametrize("to", ["", " ", "@", "a b", "@ann\n@bob", "@ann@", "x" * 321])
def test_an_address_that_is_none_is_not_asked_for(to: str) -> None:
    with mastodon(kind="message") as (server, channel):
        assert channel.send([message(1, to=to)]) == [Rejected(RejectReason.BAD_ADDRESS)]
        assert server.requests == []


def test_a_message_counts_with_the_name_of_whom_it_is_to() -> None:
    room = 500 - len("@ann Hello ,\nwe kept  for you.\n")
    with mastodon(kind="message") as (_, channel):
        to = "@ann@a-very-long-host.social.example"
        outcomes = [channel.send([message(1, to=to, plain=("x" * size, ""))])[0] for size in (room, room + 1)]
        assert isinstance(outcomes[0], Accepted)
        assert outcomes[1] == Rejected(RejectReason.TOO_LARGE)


def test_a_channel_does_one_thing() -> None:
    with mastodon() as (_, posts), mastodon(kind="message") as (_, messages):
        with pytest.raises(ChannelUnavailable, match="'shop' publishes posts, and nothing else"):
            posts.send([message(1)])
        with pytest.raises(ChannelUnavailable, match="'shop' sends private mentions, and nothing else"):
            messages.publish("Hello")


# --- what the instance answers ------------------------------------------------------------------------

ANSWERS = [
    (error(422, "Validation failed: Text can't be blank"), Rejected(RejectReason.CONTENT, "422")),
    (
        error(422, "Validation failed: Text character limit of 500 exceeded"),
        Rejected(RejectReason.TOO_LARGE, "422"),
    ),
    (error(422, "Validierung fehlgeschlagen"), Rejected(RejectReason.CONTENT, "422")),
    (Answer(422, b"<html>"), Rejected(RejectReason.CONTENT, "422")),
    (Answer(422, {"error": ["a"]}), Rejected(RejectReason.CONTENT, "422")),
    (Answer(429, {"error": "Too many requests"}, RESET), Retry(timedelta(seconds=90), "429")),
    (Answer(429, headers={"X-RateLimit-Reset": "soon"}), Retry(None, "429")),
    (Answer(503), Retry(None, "503")),
    (Answer(500, b"<html>"), InDoubt("500")),
    (Answer(200, {}), InDoubt("unreadable answer")),
    (Answer(200, {"id": "1"}), InDoubt("unreadable answer")),
    (Answer(200, {"id": 7, "mentions": []}), InDoubt("unreadable answer")),
    (Act.DROP, InDoubt("ReadError")),
]


@pytest.mark.parametrize(("answer", "outcome"), ANSWERS)
def test_an_answer_has_its_outcome(answer: Answer | Act, outcome: Outcome) -> None:
    with mastodon(answer) as (_, posts), mastodon(answer, kind="message") as (_, messages):
        assert posts.publish("Hello") == outcome
        assert messages.send([message(1)]) == [outcome]


@pytest.mark.parametrize(
    ("answer", "what", "hint"),
    [
        (error(401, "The access token is invalid"), "Mastodon does not let us in (401)", "check the token"),
        (error(403, "This action is not allowed"), "Mastodon does not let us in (403)", "its scopes"),
        (error(404, "Record not found"), "there is no Mastodon API at base_url (404)", "check base_url"),
    ],
)
def test_what_an_operator_has_to_do_is_said(answer: Answer, what: str, hint: str) -> None:
    with mastodon(answer) as (server, channel):
        with pytest.raises(ChannelUnavailable) as why:
            channel.publish("Hello")
        assert what in str(why.value)
        assert hint in why.value.hint
        assert TOKEN not in f"{why.value!r} {why.value.hint} {why.value.__context__!r}"
        assert len(server.requests) == 1


def test_a_wrong_token_is_for_an_operator_whatever_is_asked() -> None:
    with MastodonServer(token="another") as server:
        channel = opened(server.url)
        for ask in (
            lambda: channel.publish("Hello"),
            lambda: channel.find_post("Hello", mastodon_server.START),
            lambda: channel.measure(["1"]),
            lambda: channel.poll(""),
            lambda: channel.poll("1"),
        ):
            with pytest.raises(ChannelUnavailable, match=r"does not let us in \(401\)"):
                ask()
        channel.close()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(429, headers=RESET), "does not answer now (429)"),
        (Answer(503), "does not answer now (503)"),
        (Answer(500), "does not answer now (500)"),
        (Answer(404), "in a form that is not known"),
        (Answer(200, {"a": 1}), "in a form that is not known"),
        (Answer(200, [1]), "in a form that is not known"),
        (Answer(200, [{}]), "in a form that is not known"),
        (Act.DROP, "does not answer now (ReadError)"),
        (Act.HANG, "does not answer now (ReadTimeout)"),
        (Act.BABBLE, "in a form that is not known"),
    ],
)
def test_no_answer_is_never_taken_for_nothing_new(answer: Answer | Act, what: str) -> None:
    wait = timedelta(seconds=0.3 if answer is Act.HANG else 60)
    with mastodon(reading=[answer, None, answer], timeout=wait) as (_, channel):
        for ask in (lambda: channel.poll("1"), lambda: channel.find_post("Hello", mastodon_server.START)):
            with pytest.raises(ChannelUnavailable) as why:
                ask()
            assert what in str(why.value)


def test_a_page_that_comes_again_for_ever_is_an_error() -> None:
    page = Answer(200, [{"id": "5", "created_at": "2026-06-03T12:00:00.000Z", "content": "x"}])
    unknown = pytest.raises(ChannelUnavailable, match="in a form that is not known")
    with mastodon(reading=[None, page, page]) as (_, channel), unknown:
        channel.find_post("Hello", mastodon_server.START)


@pytest.mark.parametrize("created_at", [None, "yesterday", "2026-06-03T12:00:00"])
def test_a_post_without_a_time_is_an_error(created_at: str | None) -> None:
    page = Answer(200, [{"id": "5", "created_at": created_at, "content": "x"}])
    unknown = pytest.raises(ChannelUnavailable, match="in a form that is not known")
    with mastodon(reading=[None, page]) as (_, channel), unknown:
        channel.find_post("Hello", mastodon_server.START)


# --- what comes back ----------------------------------------------------------------------------------


def test_polling_begins_now_and_goes_on_where_it_ended() -> None:
    with mastodon() as (server, channel):
        assert channel.poll("") == channel.poll("0")  # nothing yet: its cursor is 0
        server.mention("ann@social.example", "<p>before</p>")
        start = channel.poll("")
        assert (list(start.responses), start.cursor) == ([], server.notifications[-1]["id"])
        for number in range(200):
            server.mention("ann@social.example", f"<p>@acme {number}</p>")
        polled = channel.poll(start.cursor)
        assert [response.text for response in polled.responses] == [str(number) for number in range(200)]
        assert polled.cursor == server.notifications[-1]["id"]
        again = channel.poll(polled.cursor)
        assert (list(again.responses), again.cursor) == ([], polled.cursor)


def test_a_mention_says_who_what_and_of_which_post() -> None:
    with mastodon() as (server, channel):
        id_ = server.mention(
            "ann", "<p><span>@<span>acme</span></span> Nice &amp; warm<br />!</p>", replying_to="77"
        )
        (response,) = channel.poll("1").responses
        assert response.kind is ResponseKind.MENTIONED
        assert response.event_id == id_
        assert response.provider_id == "77"
        assert response.address == "ann@acme.example"
        assert response.text == "Nice & warm\n!"
        assert response.occurred_at > mastodon_server.START


@pytest.mark.parametrize(
    ("kind", "visibility", "expected"),
    [
        ("post", "public", ResponseKind.MENTIONED),
        ("post", "unlisted", ResponseKind.MENTIONED),
        ("post", "private", ResponseKind.MENTIONED),
        ("post", "direct", None),
        ("message", "direct", ResponseKind.REPLIED),
        ("message", "public", None),
    ],
)
def test_what_is_private_belongs_to_the_messages(
    kind: str, visibility: str, expected: ResponseKind | None
) -> None:
    with mastodon(kind=kind) as (server, channel):
        server.mention("ann@social.example", "<p>Hi</p>", visibility=visibility)
        polled = channel.poll("1")
        assert [response.kind for response in polled.responses] == ([expected] if expected else [])
        assert polled.cursor == server.notifications[-1]["id"]


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        ("message", "stop", ResponseKind.UNSUBSCRIBED),
        ("message", "START!", ResponseKind.RESUBSCRIBED),
        ("message", "Stop by my shop", ResponseKind.REPLIED),
        ("post", "STOP", ResponseKind.MENTIONED),
    ],
)
def test_one_word_ends_the_messages(kind: str, said: str, expected: ResponseKind) -> None:
    with mastodon(kind=kind) as (server, channel):
        visibility = "direct" if kind == "message" else "public"
        content = f"<p><span>@<span>acme</span></span> {said}</p>"
        server.mention("ann@social.example", content, visibility=visibility)
        (response,) = channel.poll("1").responses
        assert (response.kind, response.address) == (expected, "ann@social.example")


OTHER_NOTIFICATIONS = (
    *("status", "reblog", "follow", "follow_request", "favourite", "poll", "update", "quote"),
    *("quoted_update", "severed_relationships", "moderation_warning", "admin.sign_up", "admin.report"),
)


def test_other_notifications_and_malformed_ones_are_left_out() -> None:
    whole = {"id": "9", "type": "mention", "created_at": "2026-06-03T12:00:00.000Z"}
    broken = [
        {**whole, "account": {"acct": "ann"}},
        {**whole, "status": {"content": "x"}},
        {**whole, "status": {}, "account": {}, "created_at": "soon"},
        {**whole, "status": "x", "account": []},
    ]
    with mastodon(reading=[Answer(200, broken), Answer(200, [])]) as (server, channel):
        assert channel.poll("1").responses == []
        for type_ in OTHER_NOTIFICATIONS:
            server.notify(type_, "ann", {})
        assert channel.poll("1").responses == []


@pytest.mark.parametrize("kind", ["post", "message"])
def test_an_instance_that_lists_all_it_has_is_understood_too(kind: str) -> None:
    # Before 3.5 none knew `types[]`.
    visibility = "direct" if kind == "message" else "public"
    status = {"id": "5", "content": "<p>stop</p>", "visibility": visibility, "in_reply_to_id": None}
    common = {"created_at": "2026-06-03T12:00:00.000Z", "account": {"acct": "ann"}, "status": status}
    listed = [
        {"id": str(number), "type": type_, **common}
        for number, type_ in enumerate([*OTHER_NOTIFICATIONS, "mention"], start=10)
    ]
    with mastodon(kind=kind, reading=[Answer(200, listed[::-1]), Answer(200, [])]) as (_, channel):
        [response] = channel.poll("1").responses
    assert response.event_id == listed[-1]["id"]


def test_the_hosts_name_is_base_urls_unless_it_is_said() -> None:
    with mastodon(domain="") as (server, channel):
        server.mention("ann", "<p>Hi</p>")
        assert channel.poll("1").responses[0].address == f"ann@127.0.0.1:{server.port}"
