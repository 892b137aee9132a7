from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from channels.telegram import REFUSALS, TelegramChannel, TelegramSettings
from holdfast.channel import (
    Accepted,
    Outcome,
    Rejected,
    RejectReason,
    Response,
    ResponseKind,
    Retry,
)
from holdfast.errors import AnswerRefused, ChannelUnavailable, SettingsError
from tests.contract.letters import message, saying
from tests.servers.stand_in import Answer
from tests.servers.telegram_server import START, TelegramServer, refusal

TOKEN = "4711:AAE-a_bot's-token-of-35-characters_".replace("'", "")
SECRET = "a-Secret_1"
NOW = datetime.fromtimestamp(START, UTC)


class Bot(TelegramServer):
    token = TOKEN


@contextmanager
def bot(script: Sequence[Answer | None] = (), **settings: Any) -> Iterator[tuple[Bot, TelegramChannel]]:
    with Bot(script) as server:
        given = TelegramSettings(base_url=server.url, **{"token": TOKEN, **settings})
        channel = TelegramChannel("chat", given)
        yield server, channel
        channel.close()


def send(server: TelegramServer, channel: TelegramChannel, text: str = "Hello", to: str = "11") -> Outcome:
    [outcome] = channel.send([message(to=to, plain=(text, "x"))])
    return outcome


# --- what is sent -------------------------------------------------------------------------------------


def test_a_message_is_plain_text_without_a_preview() -> None:
    with bot() as (server, channel):
        channel.send([message(to=" 11 ", plain=("Ann *_[`", "<tea> & cake"))])
    assert server.messages == [
        {
            "chat_id": 11,
            "text": "Hello Ann *_[`,\nwe kept <tea> & cake for you.",
            "link_preview_options": {"is_disabled": True},
        }
    ]


def test_messages_are_named_by_chat_and_number_for_each_chat_has_its_own_numbers() -> None:
    with bot() as (server, channel):
        named = [send(server, channel, to=chat) for chat in ("11", "12", "11", "-1001234567890")]
    assert named == [Accepted("11:1"), Accepted("12:1"), Accepted("11:2"), Accepted("-1001234567890:1")]


@pytest.mark.parametrize("letter", ["a", "é", "字", "م", "😀"])
def test_a_text_of_4096_characters_is_sent_and_a_longer_one_is_not(letter: str) -> None:
    around = len("Hello ,\nwe kept x for you.")
    with bot() as (server, channel):
        assert send(server, channel, letter * (4096 - around)) == Accepted("11:1")
        assert send(server, channel, letter * (4097 - around)) == Rejected(RejectReason.TOO_LARGE)
    assert len(server.requests) == 1


def test_a_text_without_anything_in_it_is_not_sent() -> None:
    with bot() as (server, channel):
        outcomes = channel.send([saying(" \n\t", to="11")])
    assert outcomes == [Rejected(RejectReason.CONTENT, "empty")]
    assert server.requests == []


@pytest.mark.parametrize(
    "address", ["@ann", "0", "-0", "+11", "11.0", "1e5", "0x11", "12345678901234567", "--1"]
)
def test_an_address_is_a_chat_id(address: str) -> None:
    with bot() as (server, channel):
        assert send(server, channel, to=address) == Rejected(RejectReason.BAD_ADDRESS, "not a chat id")
    assert server.requests == []


# --- what Telegram refuses ----------------------------------------------------------------------------

DESCRIBED = [
    (403, "Forbidden: bot was blocked by the user", RejectReason.OPTED_OUT),
    (403, "Forbidden: bot was kicked from the supergroup chat", RejectReason.OPTED_OUT),
    (403, "Forbidden: user is deactivated", RejectReason.BAD_ADDRESS),
    (403, "Forbidden: bot can't send messages to bots", RejectReason.BAD_ADDRESS),
    (403, "Forbidden: bot can't initiate conversation with a user", RejectReason.BLOCKED),
    (400, "Bad Request: chat not found", RejectReason.BAD_ADDRESS),
    (400, "Bad Request: PEER_ID_INVALID", RejectReason.BAD_ADDRESS),
    (400, "Bad Request: user not found", RejectReason.BAD_ADDRESS),
    (400, "Bad Request: group chat was upgraded to a supergroup chat", RejectReason.BAD_ADDRESS),
    (400, "Bad Request: not enough rights to send text messages to the chat", RejectReason.BLOCKED),
    (400, "Bad Request: have no rights to send a message", RejectReason.BLOCKED),
    (400, "Bad Request: CHAT_WRITE_FORBIDDEN", RejectReason.BLOCKED),
    (400, "Bad Request: message is too long", RejectReason.TOO_LARGE),
    (400, "Bad Request: MESSAGE_TOO_LONG", RejectReason.TOO_LARGE),
    (400, "Bad Request: can't parse entities", RejectReason.CONTENT),
    (400, "Something that Telegram has not said before", RejectReason.CONTENT),
]


@pytest.mark.parametrize(("status", "description", "reason"), DESCRIBED)
def test_a_refusal_is_read_from_its_description(status: int, description: str, reason: RejectReason) -> None:
    with bot([refusal(status, description)]) as (server, channel):
        assert send(server, channel) == Rejected(reason, str(status))


def test_every_description_that_is_known_is_tried_here() -> None:
    tried = [description.lower() for _, description, _ in DESCRIBED]
    assert [start for start in REFUSALS if not any(words.startswith(start) for words in tried)] == []


@pytest.mark.parametrize(
    ("more", "headers", "after"),
    [
        ({"parameters": {"retry_after": 35}}, {}, timedelta(seconds=35)),
        ({"parameters": {"retry_after": 35}}, {"Retry-After": "3"}, timedelta(seconds=35)),
        ({"parameters": {"retry_after": 10**30}}, {}, timedelta(seconds=10**9)),
        ({"parameters": {"retry_after": "35"}}, {"Retry-After": "3"}, timedelta(seconds=3)),
        ({"parameters": None}, {}, None),
        ({}, {}, None),
    ],
)
def test_it_waits_as_long_as_telegram_asks(
    more: dict[str, Any], headers: dict[str, str], after: timedelta | None
) -> None:
    said = refusal(429, "Too Many Requests: retry after 35", **more)
    with bot([Answer(429, said.body, headers)]) as (server, channel):
        assert send(server, channel) == Retry(after, "429")


def test_a_token_that_telegram_does_not_know_is_for_an_operator() -> None:
    with bot(token=f"{TOKEN}x") as (server, channel), pytest.raises(ChannelUnavailable) as stopped:
        send(server, channel)
    assert str(stopped.value) == "channel 'chat': Telegram does not let us in (401)"
    assert stopped.value.hint == "take a new token from @BotFather, and set it"


# --- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["", "s3cret", "4711:", "4711:short", f"{TOKEN}/x", f"{TOKEN}\n", f"bot{TOKEN}"]
)
def test_what_is_no_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(SettingsError) as refused, bot(token=token):
        pass
    expected = "token: not a bot's token; expected a number, a colon and a long word"
    assert str(refused.value) == f"channel 'chat': {expected}"


@pytest.mark.parametrize("secret", ["", "two words", "é", "x" * 257, "line\n"])
def test_what_telegram_takes_for_no_secret_token_is_refused(secret: str) -> None:
    expected = "channel 'chat': webhook_secret: expected up to 256"
    with pytest.raises(SettingsError, match=expected), bot(webhook_secret=secret):
        pass


# --- what comes back ----------------------------------------------------------------------------------

ANN = {"id": 11, "is_bot": False, "first_name": "Ann", "language_code": "de"}
CHAT = {"id": 11, "first_name": "Ann", "type": "private"}


def said(text: str | None = None, **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"message_id": 8, "from": ANN, "chat": CHAT, "date": START, **more}
    return {"message": content if text is None else {**content, "text": text}}


def became(status: str, chat: Mapping[str, Any] = CHAT) -> dict[str, Any]:
    own = {"id": 4711, "is_bot": True, "first_name": "Acme"}
    change = {"chat": chat, "from": ANN, "date": START}
    return {
        "my_chat_member": {
            **change,
            "old_chat_member": {"user": own, "status": "member"},
            "new_chat_member": {"user": own, "status": status, "until_date": 0},
        }
    }


def response(kind: ResponseKind, **more: Any) -> Response:
    return Response(kind, **{"event_id": "900", "occurred_at": NOW, "address": "11", **more})


STOPPING = [
    "/stop", "/STOP@AcmeBot", "/stop now", "stop", " Stop. ", "STOPALL", "unsubscribe", "Cancel", "end",
    "QUIT", "optout", "revoke",
]  # fmt: skip
STARTING = ["/start", "/start@AcmeBot", "START", "unstop", "/start c.4711", f"/start {65 * 'a'}"]
INVITED = {"/start c_4711": "c_4711", "/START@AcmeBot  A-b_9 ": "A-b_9", f"/start {64 * 'a'}": 64 * "a"}
ANSWERS = [
    (said("Do you deliver to Graz?"), response(ResponseKind.REPLIED, text="Do you deliver to Graz?")),
    (said("stop it, Ann!"), response(ResponseKind.REPLIED, text="stop it, Ann!")),
    (
        said("Yes", reply_to_message={"message_id": 7, "chat": CHAT, "date": START}),
        response(ResponseKind.REPLIED, text="Yes", provider_id="11:7"),
    ),
    (said(caption="Look", photo=[]), response(ResponseKind.REPLIED, text="Look")),
    (said(sticker={"emoji": "👍"}), response(ResponseKind.REPLIED)),
    (said("/help"), response(ResponseKind.REPLIED, text="/help")),
    *((said(word), response(ResponseKind.UNSUBSCRIBED, text=word)) for word in STOPPING),
    *((said(word), response(ResponseKind.RESUBSCRIBED, text=word)) for word in STARTING),
    *(
        (said(text), response(ResponseKind.RESUBSCRIBED, text=text, invitation=i))
        for text, i in INVITED.items()
    ),
    (said("/stop c_4711"), response(ResponseKind.UNSUBSCRIBED, text="/stop c_4711")),
    (became("kicked"), response(ResponseKind.UNSUBSCRIBED)),
]

LEFT_OUT = [
    became("member"),
    said("Hello all", chat={"id": -1001, "type": "supergroup", "title": "Tea"}),
    said("I am one", **{"from": {**ANN, "is_bot": True}}),
    {"edited_message": said("Hello")["message"]},
    {"callback_query": {"id": "1", "from": ANN}},
    {"message": {"message_id": 8}},
    {"message": {**said("x")["message"], "date": "yesterday"}},
    {"message": {**said("x")["message"], "date": 10**20}},
    {"message": {**said("x")["message"], "chat": []}},
    {"my_chat_member": {"chat": CHAT, "date": START}},
    {"message": "Hello"},
    {},
]


@pytest.fixture
def channel() -> Iterator[TelegramChannel]:
    with bot(webhook_secret=SECRET) as (_, opened):
        yield opened


@pytest.mark.parametrize(("update", "expected"), ANSWERS)
def test_an_update_is_translated(
    channel: TelegramChannel, update: dict[str, Any], expected: Response
) -> None:
    assert channel.parse(json.dumps({"update_id": 900, **update}).encode()) == [expected]


@pytest.mark.parametrize("update", LEFT_OUT)
def test_other_and_malformed_updates_are_left_out(channel: TelegramChannel, update: dict[str, Any]) -> None:
    assert channel.parse(json.dumps({"update_id": 900, **update}).encode()) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"<html>", b"[]", b"{}", b'{"update_id": "900"}', b'{"update_id": -1}', b"[" * 99999],
)
def test_what_is_no_update_cannot_be_read(channel: TelegramChannel, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^no (JSON|update)$"):
        channel.parse(body)


def test_the_secret_opens_the_webhook(channel: TelegramChannel) -> None:
    channel.verify({"x-telegram-bot-api-secret-token": SECRET}, b"{}", NOW)


@pytest.mark.parametrize("given", ["", "a-Secret_2", SECRET.lower(), f"{SECRET} ", "é", "\ud800"])
def test_a_secret_that_is_missing_or_wrong_is_refused(channel: TelegramChannel, given: str) -> None:
    with pytest.raises(AnswerRefused, match="missing or wrong"):
        channel.verify({"x-telegram-bot-api-secret-token": given} if given else {}, b"{}", NOW)


def test_a_bot_with_a_name_invites_people_to_it() -> None:
    assert TelegramChannel.describe(TelegramSettings(token=TOKEN)).invitation == ""
    named = TelegramSettings(token=TOKEN, bot="AcmeTeaBot")
    assert TelegramChannel.describe(named).invitation == "https://t.me/AcmeTeaBot?start="


@pytest.mark.parametrize("name", ["@AcmeBot", "acme", "acme-bot", "acme?start=x", "a" * 33, "9tails"])
def test_what_is_no_bots_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TelegramSettings(token=TOKEN, bot=name)


def test_without_a_secret_nobody_is_let_in() -> None:
    with bot() as (_, channel), pytest.raises(AnswerRefused, match="has no webhook_secret"):
        channel.verify({"x-telegram-bot-api-secret-token": ""}, b"{}", NOW)


def test_updates_are_asked_for_page_by_page_and_confirmed_by_the_next_cursor() -> None:
    with bot() as (server, channel):
        for number in range(130):
            server.tell(**said(f"Hello {number}"))
        first = channel.poll("")
        assert (len(first.responses), first.cursor, len(server.waiting)) == (100, "1000", 130)
        second = channel.poll(first.cursor)
        assert (len(second.responses), second.cursor, len(server.waiting)) == (30, "1030", 30)
        third = channel.poll(second.cursor)
        assert (list(third.responses), third.cursor, server.waiting) == ([], "1030", [])
    assert server.requests[0].json == {
        "offset": 0,
        "limit": 100,
        "timeout": 0,
        "allowed_updates": ["message", "my_chat_member"],
    }


def test_an_update_of_no_interest_moves_the_cursor() -> None:
    with bot() as (server, channel):
        server.tell(poll={"id": "1"})
        polled = channel.poll("")
    assert (list(polled.responses), polled.cursor) == ([], "901")


def test_with_a_webhook_nobody_is_asked() -> None:
    with bot(webhook_secret=SECRET) as (server, channel):
        polled = channel.poll("901")
    assert (list(polled.responses), polled.cursor, server.requests) == ([], "901", [])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(409, "Conflict: terminated by other getUpdates request"), r"to somebody else \(409\)"),
        (refusal(401, "Unauthorized"), r"does not know the bot \(401\)"),
        (refusal(404, "Not Found"), r"does not know the bot \(404\)"),
        (refusal(429, "Too Many Requests: retry after 5"), r"gives no updates \(429\)"),
        (Answer(500), r"gives no updates \(500\)"),
        (Answer(200, b"<html>"), r"gives no updates \(200\)"),
        (Answer(200, {"ok": True, "result": {}}), r"gives no updates \(200\)"),
    ],
)
def test_no_updates_are_a_problem_of_the_channel(answer: Answer, words: str) -> None:
    with bot([answer]) as (_, channel), pytest.raises(ChannelUnavailable, match=words) as stopped:
        channel.poll("")
    assert stopped.value.hint


def test_a_bot_with_a_webhook_says_so_when_it_is_asked() -> None:
    with bot() as (server, channel):
        server.has_webhook = True
        with pytest.raises(ChannelUnavailable) as stopped:
            channel.poll("")
    assert "deleteWebhook" in str(stopped.value.hint)


def test_nobody_there_to_ask_is_a_problem_of_the_channel() -> None:
    with bot() as (server, channel):
        server.__exit__()
        with pytest.raises(ChannelUnavailable, match=r"does not answer now \(ConnectError\)"):
            channel.poll("")
