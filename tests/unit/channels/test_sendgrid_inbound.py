"""Inbound Parse: whose form it is, and what the mail in it says."""

from __future__ import annotations

import tracemalloc
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels import open_channel
from channels.sendgrid_inbound import condensed, parse
from channels.verp import BounceAddress
from holdfast.channel import Response, ResponseKind
from holdfast.errors import AnswerRefused, SettingsError
from holdfast.settings import ChannelConfig
from tests.contract.letters import message
from tests.servers.inbound_parse import Form, form, parsed, raw
from tests.servers.sendgrid_server import SendgridServer

NOW = datetime(2026, 6, 3, 15, 0, tzinfo=UTC)
REPLIES = BounceAddress("reply@in.acme.example")
KEY = message().key
TO = f"reply+{KEY}@in.acme.example"
PASSWORD = "a-password-of-tests"
QUOTED = "\r\n\r\nOn Wed, 3 Jun 2026 at 14:00, Acme <hello@acme.example> wrote:\r\n> We kept your tea.\r\n"

Post = Callable[..., Form]
both_ways = pytest.mark.parametrize("post", [raw, parsed])


def mail(text: str = "Thanks!" + QUOTED, **headers: str) -> bytes:
    written = EmailMessage()
    given = {
        "From": "Ann <ann@example.com>",
        "To": TO,
        "Subject": "Re: We kept your favourites",
        "Message-ID": "<reply-1@mail.example.com>",
        "In-Reply-To": f"<{KEY}@in.acme.example>",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    for name, value in given.items():
        if value:
            written[name] = value
    written.set_content(text)
    return written.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def told(post: Post, content: bytes, sender: str = "ann@example.com", *recipients: str) -> list[Response]:
    body, _ = post(content, sender, *(recipients or (TO,)))
    return parse(body, REPLIES)


@both_ways
def test_a_reply_is_what_a_person_wrote_in_answer_to_a_message(post: Post) -> None:
    assert told(post, mail()) == [
        Response(
            ResponseKind.REPLIED,
            event_id="<reply-1@mail.example.com>",
            occurred_at=None,
            key=KEY,
            text="Thanks!",
        )
    ]


@both_ways
@pytest.mark.parametrize(
    ("headers", "recipients"),
    [
        ({"In_Reply_To": ""}, (TO,)),
        ({"In_Reply_To": "", "To": "Acme <people@acme.example>"}, ("people@acme.example", TO)),
        ({"In_Reply_To": "", "References": f"<x@y.example> <{KEY}@in.acme.example>"}, ("in@acme.example",)),
        ({"To": "reply@in.acme.example"}, ("reply@in.acme.example",)),
    ],
    ids=["by its address", "by the envelope", "by references", "by what it answers"],
)
def test_whichever_way_it_names_its_message(
    post: Post, headers: dict[str, str], recipients: tuple[str, ...]
) -> None:
    [answer] = told(post, mail(**headers), "ann@example.com", *recipients)
    assert answer.key == KEY


@both_ways
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("STOP", ResponseKind.UNSUBSCRIBED),
        ("Unsubscribe." + QUOTED, ResponseKind.UNSUBSCRIBED),
        ("start", ResponseKind.RESUBSCRIBED),
        ("Please stop sending me coupons", ResponseKind.REPLIED),
    ],
)
def test_a_word_alone_unsubscribes_and_resubscribes(post: Post, text: str, kind: ResponseKind) -> None:
    [answer] = told(post, mail(text))
    assert answer.kind is kind


@both_ways
@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        ({"Auto_Submitted": "auto-replied"}, "ann@example.com"),
        ({"Auto_Submitted": "auto-generated (vacation)"}, "ann@example.com"),
        ({"Precedence": "bulk"}, "ann@example.com"),
        ({"Auto_Submitted": "auto-replied"}, ""),
        ({"From": "Mail Delivery Subsystem <mailer-daemon@example.com>"}, ""),
    ],
)
def test_what_machines_answer_is_no_answer(post: Post, headers: dict[str, str], sender: str) -> None:
    assert told(post, mail("STOP", **headers), sender) == []


@both_ways
def test_mail_that_answers_nothing_of_ours_is_left_alone(post: Post) -> None:
    stray = mail(To="reply@in.acme.example", In_Reply_To="<x@mail.example.com>")
    assert told(post, stray, "ann@example.com", "reply@in.acme.example") == []


@both_ways
def test_the_same_mail_is_the_same_answer_however_often_and_to_whom_it_is_posted(post: Post) -> None:
    [first] = told(post, mail())
    [again] = told(post, mail())
    [other] = told(post, mail(), "ann@example.com", "reply@in.acme.example")
    assert first.event_id == again.event_id == other.event_id
    [unnamed] = told(post, mail(Message_ID=""))
    [same] = told(post, mail(Message_ID=""))
    assert unnamed.event_id == same.event_id != first.event_id


@pytest.mark.parametrize(
    ("charset", "text"),
    [("iso-8859-1", "Schöne Grüße"), ("shift_jis", "ありがとう"), ("windows-1256", "شكرا"), ("utf-8", "🫖")],
)
def test_texts_are_read_in_the_charset_that_they_came_in(charset: str, text: str) -> None:
    written = EmailMessage()
    written["In-Reply-To"] = f"<{KEY}@in.acme.example>"
    written.set_content(text, charset=charset)
    for post in (raw, parsed):
        [answer] = told(post, written.as_bytes().replace(b"\n", b"\r\n"))
        assert answer.text == text


@pytest.mark.parametrize("charsets", [b"", b"no JSON", b"[]", b'{"text": 7}', b'{"text": "klingon"}'])
def test_a_charset_that_is_none_is_utf_8(charsets: bytes) -> None:
    head = f"In-Reply-To: <{KEY}@in.acme.example>\r\n".encode()
    body, _ = form({"headers": head, "text": "Grüße".encode(), "charsets": charsets})
    [answer] = parse(body, REPLIES)
    assert answer.text == "Grüße"


@both_ways
def test_html_is_read_where_there_is_no_text(post: Post) -> None:
    written = EmailMessage()
    written["In-Reply-To"] = f"<{KEY}@in.acme.example>"
    page = "<html><head><style>p{}</style></head><p>unsubscribe</p><blockquote>We kept</blockquote></html>"
    written.set_content(page, subtype="html")
    [answer] = told(post, written.as_bytes().replace(b"\n", b"\r\n"))
    assert (answer.kind, answer.text) == (ResponseKind.UNSUBSCRIBED, "unsubscribe")


@both_ways
def test_pictures_that_come_along_are_passed_over(post: Post) -> None:
    written = EmailMessage()
    written["In-Reply-To"] = f"<{KEY}@in.acme.example>"
    written.set_content("It came broken, see the picture")
    written.add_attachment(bytes(3_000_000), maintype="image", subtype="jpeg", filename="text")
    [answer] = told(post, written.as_bytes().replace(b"\n", b"\r\n"))
    assert answer.text == "It came broken, see the picture"


def test_a_file_that_is_named_like_a_field_is_none() -> None:
    head = f"In-Reply-To: <{KEY}@in.acme.example>\r\n".encode()
    body, _ = form({"headers": head, "text": b"Hi"}, {"email": ("x.eml", mail("STOP"), "message/rfc822")})
    [answer] = parse(body, REPLIES)
    assert answer.text == "Hi"


def test_the_envelope_cannot_make_headers() -> None:
    sender = "ann@example.com>\r\nAuto-Submitted: auto-replied\r\nX: <"
    [answer] = told(parsed, mail(), sender, "a@b.example\r\nPrecedence: bulk")
    assert answer.kind is ResponseKind.REPLIED


# --- what makes no sense --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"--",
        b"--x",
        b"--x\r\n",
        b"--x\r\n\r\n--x--\r\n",
        b"--" + b"x" * 100_000,
        b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nSTOP',
        form({"text": b"STOP"})[0],
        form({"to": TO.encode()})[0],
        form({f"f{number}": b"" for number in range(1_000)})[0],
        b"--x\r\n" + b"A: b\r\n" * 5_000 + b"\r\n",
    ],
    ids=range(10),
)
def test_a_form_that_is_no_mail_is_an_error_without_its_text(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(no form|a form without headers or email: no inbound mail)$"):
        parse(body, REPLIES)


@pytest.mark.parametrize(
    "fields",
    [
        {"email": b""},
        {"email": b"\0\xff" * 100},
        {"email": mail(), "envelope": b"[]"},
        {"email": mail(), "envelope": b'{"to": "x", "from": 7}'},
        {"email": mail(), "envelope": b'{"to": [7, null]}'},
        {"headers": b""},
        {"headers": b"From\r\n: x\r\n\xff: y", "text": b"\xff"},
        {"headers": b"Content-Type: multipart/mixed; boundary=x\r\n", "text": b"--x\r\n--x--"},
        {"email": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\nContent-Type: " * 5_000},
        {"email": b"Content-Type: message/rfc822\r\n\r\n" * 5_000},
        {"email": mail(From="x" * 50_000, References="<x@y.example> " * 5_000)},
    ],
    ids=range(11),
)
def test_odd_mail_is_an_answer_or_none(fields: dict[str, bytes]) -> None:
    body, _ = form(fields)
    assert len(parse(body, REPLIES)) <= 1


@given(st.binary(max_size=300))
def test_any_bytes_are_answers_or_a_value_error(rest: bytes) -> None:
    try:
        assert isinstance(parse(b"--" + rest, REPLIES), list)
    except ValueError:
        return


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["headers", "text", "html", "envelope", "charsets", "email"]), st.binary()
    )
)
def test_any_fields_are_answers_or_a_value_error(fields: dict[str, bytes]) -> None:
    body, _ = form(fields or {"x": b""})
    if fields.keys() & {"headers", "email"}:
        assert len(parse(body, REPLIES)) <= 1
    else:
        with pytest.raises(ValueError, match=r"^a form without headers or email: no inbound mail$"):
            parse(body, REPLIES)


# --- whether it is SendGrid's ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def sendgrid() -> SendgridServer:
    return SendgridServer()


def channel(**settings: Any) -> Any:
    options = {"api_key": "SG.x", "reply_address": "reply@in.acme.example", **settings}
    return open_channel("email", ChannelConfig(adapter="sendgrid"), options)


def basic(password: str, user: str = "sendgrid") -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


BODY = raw(mail(), "ann@example.com", TO)[0]


@pytest.mark.parametrize("field", ["headers", "email"])
def test_of_a_huge_field_no_more_is_taken_apart_than_is_kept(field: str) -> None:
    body, _ = form({field: mail() + b"\r" * 20_000_000})
    tracemalloc.start()
    kept = condensed(body)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) < 140_000
    assert most < 10_000_000


def test_the_password_of_the_address_lets_mail_in() -> None:
    opened = channel(inbound_password=PASSWORD)
    opened.verify(basic(PASSWORD), BODY, NOW)
    opened.verify(basic(PASSWORD, user=""), BODY, NOW)
    assert [answer.kind for answer in opened.parse(BODY)] == [ResponseKind.REPLIED]
    assert opened.told(BODY).announcements == ()
    opened.close()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("another-password-of-tests"),
        basic(""),
        basic(PASSWORD + "x"),
        {"authorization": f"Bearer {PASSWORD}"},
        {"authorization": "Basic"},
        {"authorization": "Basic \ud800"},
        {"authorization": "Basic not base64!"},
        {"authorization": "Basic " + b64encode(PASSWORD.encode()).decode()},
    ],
    ids=range(9),
)
def test_without_the_password_nothing_is_believed(headers: dict[str, str]) -> None:
    opened = channel(inbound_password=PASSWORD)
    with pytest.raises(AnswerRefused, match="password of inbound mail is missing or wrong"):
        opened.verify(headers, BODY, NOW)
    opened.close()


def test_a_security_policys_signature_lets_mail_in_whatever_bytes_are_in_it(sendgrid: SendgridServer) -> None:
    opened = channel(inbound_key=sendgrid.webhook_key)
    body, _ = form({"email": mail() + b"\xff\xfe\0"})
    opened.verify(sendgrid.signed(body, NOW), body, NOW)
    for wrong in ({}, SendgridServer().signed(body, NOW), sendgrid.signed(body + b" ", NOW)):
        with pytest.raises(AnswerRefused, match="signature is missing or wrong"):
            opened.verify(wrong, body, NOW)
    opened.close()


def test_with_both_both_are_wanted(sendgrid: SendgridServer) -> None:
    opened = channel(inbound_key=sendgrid.webhook_key, inbound_password=PASSWORD)
    opened.verify(sendgrid.signed(BODY, NOW) | basic(PASSWORD), BODY, NOW)
    for half in (sendgrid.signed(BODY, NOW), basic(PASSWORD)):
        with pytest.raises(AnswerRefused):
            opened.verify(half, BODY, NOW)
    opened.close()


def test_without_either_no_mail_is_believed_and_events_are_as_before(sendgrid: SendgridServer) -> None:
    opened = channel(webhook_key=sendgrid.webhook_key)
    with pytest.raises(AnswerRefused, match="neither inbound_key nor inbound_password"):
        opened.verify(sendgrid.signed(BODY, NOW), BODY, NOW)
    opened.verify(sendgrid.signed(b"[]", NOW), b"[]", NOW)
    opened.close()


def test_the_password_of_mail_lets_no_events_in() -> None:
    opened = channel(inbound_password=PASSWORD)
    form_of_events = {"content-type": "multipart/form-data; boundary=x", **basic(PASSWORD)}
    with pytest.raises(AnswerRefused, match="no webhook_key"):
        opened.verify(form_of_events, b'[{"event": "spamreport"}]', NOW)
    opened.close()


def test_a_key_that_is_none_is_told_when_the_channel_is_opened() -> None:
    with pytest.raises(SettingsError, match="channel 'email': inbound_key: not a public key"):
        channel(inbound_key="nonsense")
