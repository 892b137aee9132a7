from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError

from channels import twilio_events
from channels.twilio import NEEDS_OPERATOR, TwilioChannel, TwilioSettings
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
from tests.contract.letters import saying
from tests.servers.stand_in import Answer
from tests.servers.twilio_server import TwilioServer, refusal

TOKEN = "0123456789abcdef0123456789abcdef"
SERVICE = "MG" + "1" * 32
WEBHOOK = "https://r.acme.example/webhooks/sms"
NOW = datetime(2026, 6, 3, 12, tzinfo=UTC)
SID = "SM" + "a" * 32
ANN = "+4915112345678"


class Account(TwilioServer):
    token = TOKEN


@contextmanager
def twilio(script: Sequence[Answer | None] = (), **settings: Any) -> Iterator[tuple[Account, TwilioChannel]]:
    with Account(script) as server:
        given = {"account_sid": Account.account, "auth_token": TOKEN, "sender": "+493012345678", **settings}
        channel = TwilioChannel("sms", TwilioSettings(base_url=server.url, **given))
        yield server, channel
        channel.close()


def send(channel: TwilioChannel, text: str = "Hello", to: str = ANN) -> Outcome:
    [outcome] = channel.send([saying(text, to=to)])
    return outcome


# --- what is sent -------------------------------------------------------------------------------------


def test_a_message_is_a_form_from_a_sender() -> None:
    with twilio() as (server, channel):
        assert send(channel, "Grüße & <Tee>\n+1=2 😀\n") == Accepted(f"SM{1:032x}")
    assert server.messages == [{"To": ANN, "Body": "Grüße & <Tee>\n+1=2 😀", "From": "+493012345678"}]


def test_a_service_sends_in_a_senders_place_and_statuses_come_to_the_webhook() -> None:
    with twilio(sender=None, messaging_service_sid=SERVICE, webhook_url=WEBHOOK) as (server, channel):
        send(channel)
    expected = {"To": ANN, "Body": "Hello", "MessagingServiceSid": SERVICE, "StatusCallback": WEBHOOK}
    assert server.messages == [expected]


@pytest.mark.parametrize("written", ["+49 151 12345678", "0049 (151) 1234-5678", " +49.151.12345678 "])
def test_a_number_is_sent_without_its_punctuation(written: str) -> None:
    with twilio() as (server, channel):
        send(channel, to=written)
    assert server.messages[0]["To"] == ANN


@pytest.mark.parametrize(
    "address",
    ["4915112345678", "+0123456789", "+123456", "+1234567890123456", "+49151x", "whatsapp:+4915112345678",
     "+4915112\n345678", "+4915112345678\n+4915112345679"],
)  # fmt: skip
def test_what_is_no_number_is_not_sent_to(address: str) -> None:
    with twilio() as (server, channel):
        assert send(channel, to=address) == Rejected(RejectReason.BAD_ADDRESS, "not an E.164 number")
    assert server.requests == []


@pytest.mark.parametrize("letter", ["a", "ä", "م", "字", "😀"])
def test_a_text_of_1600_characters_is_sent_and_a_longer_one_is_not(letter: str) -> None:
    with twilio(max_segments=24) as (_, channel):
        outcomes = [send(channel, letter * 1600), send(channel, letter * 1601)]
    refused = Rejected(RejectReason.TOO_LARGE, "over 1600 characters")
    # An emoji is two units long: 1,600 of them are more than 24 messages.
    wanted = Rejected(RejectReason.TOO_LARGE, "49 segments") if letter == "😀" else Accepted(f"SM{1:032x}")
    assert outcomes == [wanted, refused]


@pytest.mark.parametrize(("letter", "fitting"), [("a", 306), ("€", 152), ("م", 134), ("字", 134), ("😀", 66)])
def test_a_text_of_more_short_messages_than_allowed_is_not_sent(letter: str, fitting: int) -> None:
    with twilio(max_segments=2) as (server, channel):
        assert send(channel, letter * fitting) == Accepted(f"SM{1:032x}")
        assert send(channel, letter * (fitting + 1)) == Rejected(RejectReason.TOO_LARGE, "3 segments")
    assert len(server.requests) == 1


def test_a_text_without_anything_in_it_is_not_sent() -> None:
    with twilio() as (server, channel):
        assert send(channel, " \n") == Rejected(RejectReason.CONTENT, "empty")
    assert server.requests == []


# --- what Twilio refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), twilio_events.REASONS.items())
def test_a_refusal_is_read_from_its_code(code: int, reason: RejectReason) -> None:
    with twilio([refusal(400, code)]) as (_, channel):
        assert send(channel) == Rejected(reason, str(code))


@pytest.mark.parametrize(("code", "said"), NEEDS_OPERATOR.items())
def test_what_is_wrong_with_the_account_stops_the_channel(code: int, said: tuple[str, str]) -> None:
    with twilio([refusal(400, code)]) as (_, channel), pytest.raises(ChannelUnavailable) as stopped:
        send(channel)
    assert str(stopped.value) == f"channel 'sms': {said[0]} ({code})"
    assert stopped.value.hint == said[1]


@pytest.mark.parametrize("sender", ["82346", "Acme"])
@pytest.mark.parametrize("code", [21606, 21659])
def test_a_country_that_the_sender_does_not_reach_is_one_numbers_matter(sender: str, code: int) -> None:
    with twilio([refusal(400, code)], sender=sender) as (_, channel):
        assert send(channel) == Rejected(RejectReason.BLOCKED, str(code))


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (refusal(400, 99999), Rejected(RejectReason.CONTENT, "400")),
        (Answer(400, {"code": "21610"}), Rejected(RejectReason.CONTENT, "400")),
        (refusal(429, 20429), Retry(None, "429")),
        (refusal(429, 21611), Retry(None, "21611")),
        (refusal(400, 21611), Retry(None, "21611")),
        (Answer(429, refusal(429, 20429).body, {"Retry-After": "2"}), Retry(timedelta(seconds=2), "429")),
    ],
)
def test_other_refusals_are_read_from_their_status(answer: Answer, outcome: Outcome) -> None:
    with twilio([answer]) as (_, channel):
        assert send(channel) == outcome


def test_a_token_that_twilio_does_not_know_is_for_an_operator() -> None:
    with twilio(auth_token="wrong") as (_, channel), pytest.raises(ChannelUnavailable) as stopped:
        send(channel)
    assert str(stopped.value) == "channel 'sms': Twilio does not let us in (401)"
    assert stopped.value.hint == "check account_sid and auth_token in Twilio's console"


# --- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("account_sid", ""),
        ("account_sid", "SK" + "0" * 32),
        ("account_sid", "AC" + "0" * 31 + "/"),
        ("auth_token", ""),
        ("auth_token", "two words"),
        ("auth_token", "line\n"),
        ("sender", ""),
        ("sender", "0151 123"),
        ("sender", "A name too long"),
        ("sender", "Ac\nme"),
        ("messaging_service_sid", "MG1"),
    ],
)
def test_what_twilio_never_gave_is_refused_without_being_shown(setting: str, value: str) -> None:
    given = {"sender": None} if setting == "messaging_service_sid" else {}
    with pytest.raises(SettingsError) as refused, twilio(**{**given, setting: value}):
        pass
    assert str(refused.value).startswith(f"channel 'sms': {setting}: expected ")
    assert not value or value not in str(refused.value)


@pytest.mark.parametrize("sender", ["+4915112345678", "82346", "Acme", "ACME 24h"])
def test_a_sender_is_a_number_a_short_code_or_a_name(sender: str) -> None:
    with twilio(sender=sender) as (server, channel):
        send(channel)
    assert server.messages[0]["From"] == sender


@pytest.mark.parametrize("given", [{}, {"sender": "Acme", "messaging_service_sid": SERVICE}])
def test_there_is_one_sender(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="expected sender or messaging_service_sid, one of them"):
        TwilioSettings(account_sid=Account.account, auth_token=TOKEN, **given)


# --- what comes back ----------------------------------------------------------------------------------


def status(status: str, **more: str) -> dict[str, str]:
    return {
        "SmsSid": SID, "SmsStatus": status, "MessageStatus": status, "To": ANN, "MessageSid": SID,
        "AccountSid": Account.account, "From": "+493012345678", "ApiVersion": "2010-04-01", **more,
    }  # fmt: skip


def incoming(text: str, **more: str) -> dict[str, str]:
    return {
        "ToCountry": "DE", "SmsMessageSid": SID, "NumMedia": "0", "FromZip": "", "SmsSid": SID,
        "SmsStatus": "received", "Body": text, "FromCountry": "DE", "To": "+493012345678", "NumSegments": "1",
        "MessageSid": SID, "AccountSid": Account.account, "From": ANN, "ApiVersion": "2010-04-01", **more,
    }  # fmt: skip


def bounced(status: str, reason: RejectReason, permanent: bool = False) -> Response:
    return Response(
        ResponseKind.BOUNCED, f"{SID}:{status}", None, provider_id=SID, address=ANN, reason=reason,
        permanent=permanent,
    )  # fmt: skip


def wrote(kind: ResponseKind, text: str) -> Response:
    return Response(kind, SID, None, address=ANN, text=text)


DEAD = {21211, 21217, 21268, 21614, 30005}
STOPPING = [
    "STOP", "sToP", " Stop.\n", "STOPALL", "Unsubscribe", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE",
]  # fmt: skip
STARTING = ["START", "start!", "UNSTOP"]
ANSWERS = [
    (status("delivered"), Response(ResponseKind.DELIVERED, f"{SID}:delivered", None, provider_id=SID)),
    *(
        (status("undelivered", ErrorCode=str(code)), bounced("undelivered", reason, code in DEAD))
        for code, reason in twilio_events.REASONS.items()
    ),
    (status("failed", ErrorCode="30008"), bounced("failed", RejectReason.UNKNOWN)),
    (status("failed", ErrorCode="many"), bounced("failed", RejectReason.UNKNOWN)),
    (status("failed"), bounced("failed", RejectReason.UNKNOWN)),
    (incoming("Wann öffnet ihr? 😀"), wrote(ResponseKind.REPLIED, "Wann öffnet ihr? 😀")),
    (incoming(""), wrote(ResponseKind.REPLIED, "")),
    (incoming("Yes"), wrote(ResponseKind.REPLIED, "Yes")),
    (incoming("stop it please"), wrote(ResponseKind.REPLIED, "stop it please")),
    (incoming("HELP", OptOutType="HELP"), wrote(ResponseKind.REPLIED, "HELP")),
    (incoming("Arrêt", OptOutType="STOP"), wrote(ResponseKind.UNSUBSCRIBED, "Arrêt")),
    (incoming("Encore", OptOutType="START"), wrote(ResponseKind.RESUBSCRIBED, "Encore")),
    *(
        (incoming(word), wrote(ResponseKind.UNSUBSCRIBED, word))
        for word in STOPPING
    ),
    *((incoming(word), wrote(ResponseKind.RESUBSCRIBED, word)) for word in STARTING),
]  # fmt: skip

LEFT_OUT = [
    *(status(word) for word in ("accepted", "scheduled", "queued", "sending", "sent", "canceled", "")),
    status("delivered", MessageSid=""),
    status("delivered", MessageSid="SM1"),
    incoming("STOP", From="whatsapp:+4915112345678"),
    incoming("STOP", From=""),
    incoming("STOP", SmsStatus="sent"),
    {"CallSid": "CA" + "0" * 32, "CallStatus": "ringing"},
]


@pytest.fixture
def channel() -> Iterator[TwilioChannel]:
    with twilio(webhook_url=WEBHOOK) as (_, opened):
        yield opened


@pytest.mark.parametrize(("fields", "expected"), ANSWERS)
def test_a_form_is_translated(channel: TwilioChannel, fields: dict[str, str], expected: Response) -> None:
    assert channel.parse(urlencode(fields).encode()) == [expected]


@pytest.mark.parametrize("fields", LEFT_OUT)
def test_other_and_malformed_forms_are_left_out(channel: TwilioChannel, fields: dict[str, str]) -> None:
    assert channel.parse(urlencode(fields).encode()) == []


@pytest.mark.parametrize("body", [b"{}", b"\xff=1", b"Body=%FF", b"STOP"])
def test_what_is_no_form_cannot_be_read(channel: TwilioChannel, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^no form$"):
        channel.parse(body)


def signed(
    fields: Mapping[str, str] | Sequence[tuple[str, str]], url: str = WEBHOOK, token: str = TOKEN
) -> Any:
    """Headers and body as Twilio sends them."""
    pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
    text = url + "".join(f"{name}{value}" for name, value in sorted(set(pairs)))
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return {"x-twilio-signature": base64.b64encode(digest).decode()}, urlencode(pairs).encode()


def test_the_signature_of_twilios_own_example_is_right() -> None:
    # "Validating requests are coming from Twilio", with the token 12345.
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+12349013030",
        "Digits": "1234",
        "From": "+12349013030",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    headers = {"x-twilio-signature": "0/KCTR6DLpKmkAf8muzZqo1nDgQ="}
    twilio_events.verify(headers, urlencode(fields).encode(), url, ["12345"])


@pytest.mark.parametrize(
    "fields",
    [
        status("delivered"),
        incoming("Grüße & +1=2 😀"),
        incoming(""),
        {**incoming("x"), "A": "1", "a": "2", "_": "3"},
        [("Body", "b"), ("Body", "a"), ("Body", "b")],
    ],
)
def test_twilios_signature_opens_the_webhook(channel: TwilioChannel, fields: Any) -> None:
    channel.verify(*signed(fields), NOW)
    channel.verify(*signed(fields, url="https://r.acme.example:443/webhooks/sms"), NOW)


def test_an_address_with_a_port_is_signed_as_it_is() -> None:
    url = "http://r.acme.example:8080/webhooks/sms"
    with twilio(webhook_url=url) as (_, channel):
        channel.verify(*signed(incoming("x"), url=url), NOW)
        with pytest.raises(AnswerRefused):
            channel.verify(*signed(incoming("x"), url="http://r.acme.example/webhooks/sms"), NOW)


@pytest.mark.parametrize(
    "forged",
    [
        signed(incoming("x"), token="another"),
        signed(incoming("x"), url="https://r.acme.example/webhooks/other"),
        (signed(incoming("x"))[0], urlencode(incoming("STOP")).encode()),
        (signed(incoming("x"))[0], urlencode({**incoming("x"), "OptOutType": "STOP"}).encode()),
        (signed(incoming("x"))[0], b""),
        (signed(incoming("x"))[0], b"{}"),
        ({}, urlencode(incoming("x")).encode()),
        ({"x-twilio-signature": ""}, urlencode(incoming("x")).encode()),
        ({"x-twilio-signature": "é\ud800"}, urlencode(incoming("x")).encode()),
    ],
)
def test_what_twilio_did_not_sign_is_refused(channel: TwilioChannel, forged: Any) -> None:
    with pytest.raises(AnswerRefused) as refused:
        channel.verify(*forged, NOW)
    assert TOKEN not in f"{refused.value} {refused.value.hint}"


def test_without_a_webhook_address_nobody_is_let_in() -> None:
    with twilio() as (_, channel), pytest.raises(AnswerRefused, match="has no webhook_url"):
        channel.verify(*signed(incoming("x")), NOW)
