from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from channels import open_channel
from channels.graph import GRAPH_CODES, Operator, Turn
from channels.messenger import LONGEST_TEXT, MessengerChannel, MessengerSettings
from channels.messenger_events import CODES
from holdfast.channel import Accepted, InDoubt, Message, Outcome, Rejected, RejectReason, Retry
from holdfast.errors import ChannelUnavailable, SettingsError
from holdfast.settings import ChannelConfig
from tests.contract import letters
from tests.contract.letters import message
from tests.servers.graph_server import PAGE_ID, TOKEN, GraphServer, refusal
from tests.servers.stand_in import Act, Answer

PSID = "25441234567890123"


def opened(url: str, **more: Any) -> MessengerChannel:
    settings = {"page_id": PAGE_ID, "access_token": TOKEN, "base_url": url, **more}
    return MessengerChannel("shop", MessengerSettings.model_validate(settings))


@contextmanager
def messenger(*script: Answer | Act | None, **more: Any) -> Iterator[tuple[GraphServer, MessengerChannel]]:
    with GraphServer(script) as server:
        channel = opened(server.url, **more)
        yield server, channel
        channel.close()


def saying(text: str, to: str = PSID) -> Message:
    return letters.saying(text, to=to)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"page_id": "@SECRET"}, "page_id: not an id of Meta's; expected digits alone"),
        ({"access_token": "SECRET token"}, "access_token: not as Meta shows it"),
        ({"messaging_type": "SECRET"}, "messaging_type: input should be 'UPDATE' or 'RESPONSE'"),
    ],
)
def test_settings_that_cannot_work_are_told_without_their_value(changes: dict[str, Any], what: str) -> None:
    options = {"page_id": PAGE_ID, "access_token": TOKEN, **changes}
    with pytest.raises(SettingsError) as refused:
        open_channel("shop", ChannelConfig(adapter="messenger"), options)
    assert what in str(refused.value)
    assert "SECRET" not in f"{refused.value!r} {refused.value.hint}"


# --- what is sent -------------------------------------------------------------------------------------


@pytest.mark.parametrize("messaging_type", ["UPDATE", "RESPONSE"])
def test_the_text_goes_to_the_customer_with_our_key(messaging_type: str) -> None:
    with messenger(messaging_type=messaging_type) as (server, channel):
        assert channel.send([message(7, to=PSID)]) == [Accepted("m_1")]
        assert server.calls == [f"POST /v24.0/{PAGE_ID}/messages"]
        assert server.messages == [
            {
                "recipient": {"id": PSID},
                "messaging_type": messaging_type,
                "message": {
                    "text": "Hello Ann,\nwe kept tea & cake for you.\n",
                    "metadata": message(7).key,
                },
            }
        ]


@pytest.mark.parametrize("sign", ["x", "é", "字", "ع", "😀", "\ud800"])
def test_the_longest_text_is_taken_and_one_character_more_is_not_sent(sign: str) -> None:
    with messenger() as (server, channel):
        assert channel.send([saying(sign * LONGEST_TEXT)]) == [Accepted("m_1")]
        assert channel.send([saying(sign * (LONGEST_TEXT + 1))]) == [Rejected(RejectReason.TOO_LARGE)]
        assert len(server.calls) == 1


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_nothing_to_say_is_rejected(text: str) -> None:
    with messenger() as (server, channel):
        assert channel.send([saying(text)]) == [Rejected(RejectReason.CONTENT, "no text")]
        assert server.calls == []


@pytest.mark.parametrize(
    "to",
    [
        "",
        "ann",
        "1234",
        f"{PSID}\n",
        f" {PSID}",
        f"{PSID}\r\nX: y",
        "1" * 26,
        "١٢٣٤٥٦٧",
        "../12345",
        "-12345",
    ],
)
def test_what_is_no_id_of_a_customer_is_rejected_without_asking(to: str) -> None:
    with messenger() as (server, channel):
        assert channel.send([saying("Hello", to)]) == [Rejected(RejectReason.BAD_ADDRESS)]
        assert server.calls == []


# --- what becomes of it -------------------------------------------------------------------------------

OUTCOMES: list[tuple[Answer | Act, Outcome]] = [
    (refusal(10, 2018278, 403), Rejected(RejectReason.BLOCKED, "10/2018278")),
    (refusal(551, 1545041), Rejected(RejectReason.BLOCKED, "551/1545041")),
    (refusal(551), Rejected(RejectReason.BLOCKED, "551")),
    (refusal(100), Rejected(RejectReason.BAD_ADDRESS, "100")),
    (refusal(100, 2018001), Rejected(RejectReason.BAD_ADDRESS, "100/2018001")),
    (refusal(100, 2018048), Rejected(RejectReason.CONTENT, "100/2018048")),
    (refusal(999999), Rejected(RejectReason.UNKNOWN, "999999")),
    (refusal(4, headers={"Retry-After": "30"}), Retry(timedelta(seconds=30), "4")),
    (refusal(613, 1893016, 429), Retry(None, "613/1893016")),
    (refusal(1200, status=500), Retry(None, "1200")),
    (refusal(2, status=500), InDoubt("500")),
    (refusal(1, 1357046, 500), InDoubt("1/1357046")),
    (Answer(200, {"recipient_id": PSID}), InDoubt("no id")),
    (Answer(200, {"message_id": 7}), InDoubt("no id")),
]


@pytest.mark.parametrize(("act", "outcome"), OUTCOMES)
def test_each_answer_is_one_of_the_outcomes(act: Answer | Act, outcome: Outcome) -> None:
    with messenger(act) as (server, channel):
        assert channel.send([saying("Hello")]) == [outcome]
        assert len(server.calls) == 1


@pytest.mark.parametrize("code", [code for code in CODES if code not in GRAPH_CODES])
def test_every_code_of_messengers_own_has_its_outcome(code: int | tuple[int, int]) -> None:
    number, subcode = (code, 7) if isinstance(code, int) else code
    detail = f"{number}/{subcode}" if subcode else str(number)
    with messenger(refusal(number, subcode)) as (_, channel):
        match CODES[code]:
            case RejectReason() as reason:
                assert channel.send([saying("Hello")]) == [Rejected(reason, detail)]
            case Turn():
                assert channel.send([saying("Hello")]) == [Retry(None, detail)]
            case Operator(what):
                with pytest.raises(ChannelUnavailable, match=what):
                    channel.send([saying("Hello")])


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (Answer(403), r"Messenger does not let us in \(403\)"),
        (refusal(190, 463, 401), r"Meta does not take the access token \(190\)"),
        (refusal(10, status=403), r"Meta forbids this to the app \(10\)"),
        (refusal(200, 2018028, 403), r"Meta forbids this to the app \(200\)"),
        (refusal(230), r"Meta forbids this to the app \(230\)"),
        (refusal(368), r"Meta has restricted the account \(368\)"),
    ],
)
def test_what_needs_an_operator_stops_the_channel(act: Answer, what: str) -> None:
    with messenger(act) as (server, channel):
        with pytest.raises(ChannelUnavailable, match=what) as refused:
            channel.send([saying("Hello")])
        assert refused.value.hint
        assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"access_token": "another"}, "Meta does not take the access token"),
        ({"page_id": "999999999"}, "Meta does not know the id that messages are sent from"),
    ],
)
def test_a_wrong_token_or_page_costs_no_customer(more: dict[str, Any], what: str) -> None:
    with messenger(**more) as (_, channel), pytest.raises(ChannelUnavailable, match=what):
        channel.send([saying("Hello")])
