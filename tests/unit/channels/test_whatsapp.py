from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from channels import open_channel
from channels.graph import GRAPH_CODES, Operator, Turn
from channels.whatsapp import LONGEST_TEXT, WhatsAppChannel, WhatsAppSettings
from channels.whatsapp_events import CODES
from holdfast.channel import Accepted, InDoubt, Message, Outcome, Rejected, RejectReason, Retry
from holdfast.errors import ChannelUnavailable, SettingsError
from holdfast.settings import ChannelConfig
from tests.contract import letters
from tests.contract.letters import message
from tests.servers.graph_server import PHONE_NUMBER_ID, TOKEN, GraphServer, refusal
from tests.servers.stand_in import Act, Answer

NUMBER = "+4915112345678"
TEMPLATE: dict[str, Any] = {"template": "winback_hello", "language": "en_US"}
BUSY = '{"1": [{"type": "whatsapp", "call_count": 100, "estimated_time_to_regain_access": 0}, \
{"type": "messenger", "estimated_time_to_regain_access": 19}]}'


def opened(url: str, **more: Any) -> WhatsAppChannel:
    settings = {"phone_number_id": PHONE_NUMBER_ID, "access_token": TOKEN, "base_url": url, **more}
    return WhatsAppChannel("shop", WhatsAppSettings.model_validate(settings))


@contextmanager
def whatsapp(*script: Answer | Act | None, **more: Any) -> Iterator[tuple[GraphServer, WhatsAppChannel]]:
    with GraphServer(script) as server:
        channel = opened(server.url, **more)
        yield server, channel
        channel.close()


def saying(text: str, to: str = NUMBER) -> Message:
    return letters.saying(text, to=to)


# --- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"access_token": "SECRET token"}, "access_token: not as Meta shows it; expected letters and digits"),
        ({"access_token": "SECRET\n"}, "access_token: not as Meta shows it"),
        ({"access_token": ""}, "access_token: not as Meta shows it"),
        ({"app_secret": "SECRET é"}, "app_secret: not as Meta shows it"),
        ({"phone_number_id": "+49 SECRET"}, "phone_number_id: not an id of Meta's; expected digits alone"),
        ({"phone_number_id": True}, "phone_number_id: input should be a valid string"),
        ({"version": "SECRET/../24"}, "version: not a version of the Graph API; expected one like v24.0"),
        ({"template": "SECRET hello", "language": "de"}, "template: not a template's name"),
        ({"template": "hello"}, "half a template; expected template and language, or none"),
        ({"language": "de"}, "half a template; expected template and language, or none"),
        ({"template": "hello", "language": "SECRET"}, "language: not a language of WhatsApp"),
        ({"parameters": ["name"]}, "parameters of no template; expected template and language"),
        ({"parameter_characters": 0}, "parameter_characters: input should be greater than or equal to 1"),
        ({"base_url": "SECRET"}, "base_url: not a web address"),
    ],
)
def test_settings_that_cannot_work_are_told_without_their_value(changes: dict[str, Any], what: str) -> None:
    options = {"phone_number_id": PHONE_NUMBER_ID, "access_token": TOKEN, **changes}
    with pytest.raises(SettingsError) as refused:
        open_channel("shop", ChannelConfig(adapter="whatsapp"), options)
    assert what in str(refused.value)
    assert "SECRET" not in f"{refused.value!r} {refused.value.hint}"


def test_an_id_that_yaml_read_as_a_number_is_the_same_id() -> None:
    assert opened("http://127.0.0.1:9", phone_number_id=int(PHONE_NUMBER_ID)).settings == (
        opened("http://127.0.0.1:9").settings
    )


# --- what is sent -------------------------------------------------------------------------------------


def test_free_text_goes_to_the_number_with_our_key() -> None:
    with whatsapp() as (server, channel):
        assert channel.send([message(7, to="+49 (151) 12345-678")]) == [Accepted("wamid.1")]
        assert server.calls == [f"POST /v24.0/{PHONE_NUMBER_ID}/messages"]
        assert server.messages == [
            {
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "to": NUMBER,
                "biz_opaque_callback_data": message(7).key,
                "type": "text",
                "text": {"body": "Hello Ann,\nwe kept tea & cake for you.\n"},
            }
        ]


@pytest.mark.parametrize(
    ("parameters", "text", "filled"),
    [
        ((), "Hello Ann,\n\twe kept     tea.\n", [{"text": "Hello Ann, we kept tea."}]),
        (("1", "2"), "Ann\n\n  tea \n", [{"text": "Ann"}, {"text": "tea"}]),
        (("name",), "مريم\n", [{"text": "مريم", "parameter_name": "name"}]),
    ],
)
def test_a_template_gets_the_text_as_one_parameter_or_a_line_for_each(
    parameters: tuple[str, ...], text: str, filled: list[dict[str, str]]
) -> None:
    with whatsapp(**TEMPLATE, parameters=parameters) as (server, channel):
        assert channel.send([saying(text)]) == [Accepted("wamid.1")]
        [sent] = server.messages
        assert sent["type"] == "template"
        assert sent["template"] == {
            "name": "winback_hello",
            "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": [{"type": "text", **one} for one in filled]}],
        }


@pytest.mark.parametrize("text", ["Ann", "Ann\ntea\nmore"])
def test_a_text_with_other_lines_than_there_are_parameters_is_rejected(text: str) -> None:
    with whatsapp(**TEMPLATE, parameters=("name", "what")) as (server, channel):
        refused = Rejected(RejectReason.CONTENT, "not a line for each parameter")
        assert channel.send([saying(text)]) == [refused]
        assert server.calls == []


@pytest.mark.parametrize("more", [{}, TEMPLATE])
@pytest.mark.parametrize("text", ["", " \n\t "])
def test_nothing_to_say_is_rejected(more: dict[str, Any], text: str) -> None:
    with whatsapp(**more) as (server, channel):
        assert channel.send([saying(text)]) == [Rejected(RejectReason.CONTENT, "no text")]
        assert server.calls == []


@pytest.mark.parametrize("sign", ["x", "é", "字", "ع", "😀", "\ud800"])
@pytest.mark.parametrize(
    ("more", "limit"), [({}, LONGEST_TEXT), (TEMPLATE, 1024), ({**TEMPLATE, "parameter_characters": 9}, 9)]
)
def test_the_longest_text_is_taken_and_one_character_more_is_not_sent(
    more: dict[str, Any], limit: int, sign: str
) -> None:
    with whatsapp(**more) as (server, channel):
        assert channel.send([saying(sign * limit)]) == [Accepted("wamid.1")]
        assert channel.send([saying(sign * (limit + 1))]) == [Rejected(RejectReason.TOO_LARGE)]
        assert len(server.calls) == 1


@pytest.mark.parametrize(
    "to",
    ["", "+", "0151 12345678", "4915112345678", "+0151123", "+49151", f"+{'1' * 16}", f"{NUMBER}\n", "ann",
     f"{NUMBER}\r\nX: y", "+49١٥١١٢٣٤٥", f"{NUMBER}{' ' * 30}", "+49 151 1234x678"],
)  # fmt: skip
def test_what_is_no_number_with_its_country_is_rejected_without_asking(to: str) -> None:
    with whatsapp() as (server, channel):
        refused = Rejected(RejectReason.BAD_ADDRESS, "not an E.164 number")
        assert channel.send([saying("Hello", to)]) == [refused]
        assert server.calls == []


@pytest.mark.parametrize("to", [NUMBER, "004915112345678", "+49.151-12345678", f" {NUMBER} "])
def test_a_number_is_understood_in_the_punctuation_of_people(to: str) -> None:
    with whatsapp() as (server, channel):
        assert channel.send([saying("Hello", to)]) == [Accepted("wamid.1")]
        assert server.messages[0]["to"] == NUMBER


# --- what becomes of it -------------------------------------------------------------------------------

OUTCOMES: list[tuple[Answer | Act, Outcome]] = [
    (Answer(400, {"error": "odd"}), Rejected(RejectReason.CONTENT, "400")),
    (refusal(999999), Rejected(RejectReason.UNKNOWN, "999999")),
    (refusal(100, 2494010), Rejected(RejectReason.CONTENT, "100/2494010")),
    (refusal(80007, headers={"X-Business-Use-Case-Usage": BUSY}), Retry(timedelta(minutes=19), "80007")),
    (refusal(130429, headers={"Retry-After": "7"}), Retry(timedelta(seconds=7), "130429")),
    (
        refusal(4, headers={"X-Business-Use-Case-Usage": "odd", "Retry-After": "7"}),
        Retry(timedelta(seconds=7), "4"),
    ),
    (refusal(131056, headers={"Retry-After": "7"}), Retry(timedelta(seconds=7), "131056", of_recipient=True)),
    (refusal(131049, status=429), Retry(None, "131049", of_recipient=True)),
    (refusal(131016, status=500), Retry(None, "131016")),
    (Answer(500, {"error": {"code": 999999}}), InDoubt("500")),
    (refusal(131000, status=500), InDoubt("131000")),
    (refusal(1), InDoubt("1")),
    (Answer(200, {"messages": []}), InDoubt("no id")),
    (Answer(200, {"messages": ["odd"]}), InDoubt("no id")),
    (Answer(200, {"messages": [{"id": 7}]}), InDoubt("no id")),
]  # fmt: skip


@pytest.mark.parametrize(("act", "outcome"), OUTCOMES)
def test_each_answer_is_one_of_the_outcomes(act: Answer | Act, outcome: Outcome) -> None:
    with whatsapp(act) as (server, channel):
        assert channel.send([saying("Hello")]) == [outcome]
        assert len(server.calls) == 1


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_a_refusal_has_its_outcome(code: int | tuple[int, int]) -> None:
    codes = (code, None) if isinstance(code, int) else code
    detail = str(code) if isinstance(code, int) else f"{code[0]}/{code[1]}"
    with whatsapp(refusal(*codes)) as (_, channel):
        match CODES[code]:
            case RejectReason() as reason:
                assert channel.send([saying("Hello")]) == [Rejected(reason, detail)]
            case Turn.NOBODY_KNOWS:
                assert channel.send([saying("Hello")]) == [InDoubt(detail)]
            case Turn() as turn:
                waits = Retry(None, detail, of_recipient=turn is Turn.RECIPIENT_WAITS)
                assert channel.send([saying("Hello")]) == [waits]
            case Operator(what, hint):
                with pytest.raises(ChannelUnavailable) as refused:
                    channel.send([saying("Hello")])
                assert str(refused.value) == f"channel 'shop': {what} ({codes[0]})".replace(" (0)", "")
                assert refused.value.hint == hint


def test_the_codes_mean_what_meta_documents() -> None:
    """A second list, from Meta's table of errors: one slip in the dictionary is not to go unseen."""
    meant = {
        RejectReason.BAD_ADDRESS: {131021, 131026},
        RejectReason.OPTED_OUT: {131050},
        RejectReason.BLOCKED: {130472, 130497, 131030, 131047},
        RejectReason.TOO_LARGE: {132005},
        RejectReason.CONTENT: {100, 131008, 131009, 131051, 132007},
        Turn.RECIPIENT_WAITS: {131049, 131056},
        Turn.EVERYBODY_WAITS: {4, 17, 32, 613, 80006, 80007, 130429, 131016, 131057},
        Turn.NOBODY_KNOWS: {1, 131000},
    }
    for meaning, codes in meant.items():
        assert {code for code, found in CODES.items() if found is meaning} == codes
    assert GRAPH_CODES.items() <= CODES.items()


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (Answer(403, {"error": {"message": "SECRET"}}), r"WhatsApp does not let us in \(403\)"),
        (refusal(190, 463, 401), r"Meta does not take the access token \(190\)"),
    ],
)
def test_what_needs_an_operator_stops_the_channel(act: Answer, what: str) -> None:
    with whatsapp(act) as (server, channel):
        with pytest.raises(ChannelUnavailable, match=f"channel 'shop': {what}") as refused:
            channel.send([saying("Hello")])
        assert refused.value.hint
        assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"access_token": "another"}, "Meta does not take the access token"),
        ({"phone_number_id": "999999999"}, "Meta does not know the id that messages are sent from"),
    ],
)
def test_a_wrong_token_or_number_costs_no_customer(more: dict[str, Any], what: str) -> None:
    with whatsapp(**more) as (_, channel), pytest.raises(ChannelUnavailable, match=what):
        channel.send([saying("Hello")])


def test_no_log_and_no_error_holds_a_token_a_number_or_a_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with whatsapp(None, Act.DROP, refusal(190)) as (_, channel):
        outcomes = [channel.send([saying("SECRET text")]) for _ in range(2)]
        with pytest.raises(ChannelUnavailable) as refused:
            channel.send([saying("SECRET text")])
    shown = f"{caplog.text} {outcomes} {refused.value!r} {refused.value.hint} {refused.value.__cause__!r}"
    for secret in (TOKEN, "SECRET", NUMBER.removeprefix("+")):
        assert secret not in shown
