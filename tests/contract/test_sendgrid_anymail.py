"""What we tell SendGrid and understand of it, beside django-anymail: where both say something, they agree.

Django is there for these tests alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings as django_settings

if not django_settings.configured:
    django_settings.configure(USE_TZ=True, ALLOWED_HOSTS=["testserver"], DEFAULT_CHARSET="utf-8")

from anymail.backends.sendgrid import EmailBackend
from anymail.exceptions import AnymailWebhookValidationFailure
from anymail.message import AnymailMessage
from anymail.signals import AnymailInboundEvent, AnymailTrackingEvent, EventType, inbound, tracking
from anymail.signals import RejectReason as Theirs
from anymail.webhooks.sendgrid import SendGridInboundWebhookView, SendGridTrackingWebhookView
from django.http import HttpResponse
from django.test import RequestFactory

from channels.mime import address
from channels.sendgrid_email import SendgridChannel, SendgridSettings
from channels.sendgrid_payload import Account, body
from channels.sendgrid_signature import PublicKeys
from holdfast.channel import Attachment, Message, RejectReason, Response, ResponseKind
from holdfast.errors import AnswerRefused
from tests.contract.letters import message
from tests.servers.inbound_parse import parsed, raw
from tests.servers.sendgrid_server import SendgridServer

pytestmark = pytest.mark.filterwarnings(
    "ignore::anymail.exceptions.AnymailWarning", "ignore::anymail.exceptions.AnymailInsecureWebhookWarning"
)

NOW = datetime(2026, 6, 3, 15, 0, tzinfo=UTC)


# --- what we post ---------------------------------------------------------------------------------

TERMS = Attachment("terms.pdf", "application/pdf", bytes(range(256)))
MENU = Attachment("メニュー.png", "image/png", b"\x89PNG\r\n")
LABELS = ("winback", "winback/hello")

MESSAGES = {
    "plain": message(1),
    "in other scripts": message(
        1, to_name="مريم العلي", subject="Für Sie: 🫖", sender="Köln GmbH <hi@acme.example>"
    ),
    "an internationalised domain": message(1, to="ann@köln.example"),
    "no name": message(1, to_name="", sender="hello@acme.example"),
    "an address for answers": message(1, reply_to="Leute <people@acme.example>"),
    "categories": message(1, labels=LABELS),
    "attachments": message(1, attachments=(TERMS, MENU)),
    "no headers of its own": message(1, headers={}),
    "everything": message(1, reply_to="people@acme.example", labels=LABELS, attachments=(TERMS,)),
}


def ours(account: Account, *batch: Message) -> dict[str, Any]:
    recipients = [at for sent in batch if (at := address(sent.to))]
    found: dict[str, Any] = json.loads(body(batch, recipients, account))
    return found


def theirs(account: Account, sent: Message) -> dict[str, Any]:
    """The payload that anymail makes of the same message, for the same account."""
    mail = AnymailMessage(
        subject=sent.subject,
        body=sent.text,
        from_email=sent.sender,
        to=[f'"{sent.to_name}" <{sent.to}>' if sent.to_name else sent.to],
        reply_to=[sent.reply_to] if sent.reply_to else None,
        headers={
            "Message-ID": f"<{sent.key}@acme.example>",
            "Auto-Submitted": "auto-generated",
            **sent.headers,
        },
        tags=list(sent.labels) or None,
        metadata={"hf": sent.key},
        track_clicks=False,
        track_opens=False,
        esp_extra={"asm": {"group_id": account.group}} if account.group and sent.headers else {},
    )
    mail.attach_alternative(sent.html, "text/html")
    for file in sent.attachments:
        mail.attach(file.name, file.content, file.media_type)
    backend = EmailBackend(api_key="SG.x", generate_message_id=False)
    found: dict[str, Any] = json.loads(backend.build_message_payload(mail, {}).serialize_data())
    return found


@pytest.mark.parametrize("account", [Account(), Account(group=7)], ids=["no group", "a group"])
@pytest.mark.parametrize("sent", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_message_is_told_as_anymail_tells_it(sent: Message, account: Account) -> None:
    us, them = ours(account, sent), theirs(account, sent)
    [own], [their_own] = us["personalizations"], them["personalizations"]
    assert own["to"] == their_own["to"]
    assert us["from"] == them["from"]
    assert us["content"] == them["content"]
    # What anymail says once for all, we say of each: SendGrid takes both.
    assert own["subject"] == them["subject"]
    assert own["headers"] == them["headers"]
    assert own["custom_args"] == them["custom_args"]
    assert us.get("categories") == them.get("categories")
    assert us.get("asm") == them.get("asm")
    assert [us[name] for name in ("reply_to",) if name in us] == them.get("reply_to_list", [])
    assert [
        {name: file[name] for name in ("content", "type", "filename")} for file in us.get("attachments", [])
    ] == them.get("attachments", [])
    for setting, value in them["tracking_settings"].items():
        assert us["tracking_settings"][setting].items() >= value.items()


def test_a_batch_is_told_as_anymail_tells_it() -> None:
    batch = [message(1, to_name="Ann"), message(2, to_name="Bob", escaped=("Bob", "x"), plain=("Bob", "x"))]
    us = ours(Account(), *batch)
    text, html = (part["value"] for part in us["content"])
    mail = AnymailMessage(
        subject=batch[0].subject,
        body=text,
        from_email=batch[0].sender,
        to=[f"{sent.to_name} <{sent.to}>" for sent in batch],
        merge_data={
            sent.to: own["substitutions"] for sent, own in zip(batch, us["personalizations"], strict=True)
        },
        merge_metadata={sent.to: {"hf": sent.key} for sent in batch},
        merge_headers={
            sent.to: own["headers"] for sent, own in zip(batch, us["personalizations"], strict=True)
        },
    )
    mail.attach_alternative(html, "text/html")
    backend = EmailBackend(api_key="SG.x", generate_message_id=False, merge_field_format="{}")
    them = json.loads(backend.build_message_payload(mail, {}).serialize_data())
    assert [{**own, "subject": None} for own in us["personalizations"]] == [
        {**own, "subject": None} for own in them["personalizations"]
    ]
    assert us["content"] == them["content"]


# --- what events say ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sendgrid() -> SendgridServer:
    return SendgridServer()


@pytest.fixture
def channel(sendgrid: SendgridServer) -> Iterator[SendgridChannel]:
    settings = {
        "api_key": "SG.x",
        "webhook_key": sendgrid.webhook_key,
        "reply_address": "reply@in.acme.example",
        "inbound_password": "a-password-of-tests",
    }
    opened = SendgridChannel("email", SendgridSettings.model_validate(settings))
    yield opened
    opened.close()


KINDS = {
    EventType.QUEUED: ResponseKind.ACCEPTED,
    EventType.DEFERRED: ResponseKind.DEFERRED,
    EventType.DELIVERED: ResponseKind.DELIVERED,
    EventType.BOUNCED: ResponseKind.BOUNCED,
    EventType.REJECTED: ResponseKind.BOUNCED,
    EventType.OPENED: ResponseKind.OPENED,
    EventType.CLICKED: ResponseKind.CLICKED,
    EventType.COMPLAINED: ResponseKind.COMPLAINED,
    EventType.UNSUBSCRIBED: ResponseKind.UNSUBSCRIBED,
    EventType.SUBSCRIBED: ResponseKind.RESUBSCRIBED,
}
# Where anymail has a word of its own; its OTHER is whatever it knows nothing of.
REASONS = {
    Theirs.INVALID: RejectReason.BAD_ADDRESS,
    Theirs.BOUNCED: RejectReason.BAD_ADDRESS,
    Theirs.UNSUBSCRIBED: RejectReason.OPTED_OUT,
}

EVENTS: list[dict[str, Any]] = [
    {"event": "processed"},
    {"event": "deferred", "attempt": "5", "response": "451 4.7.1 later"},
    {"event": "delivered", "response": "250 OK", "tls": 1},
    {"event": "bounce", "type": "bounce", "reason": "550 5.1.1 unknown", "status": "5.1.1"},
    {"event": "bounce", "type": "blocked", "reason": "550 5.7.1 spam"},
    {"event": "dropped", "reason": "Bounced Address"},
    {"event": "dropped", "reason": "Invalid"},
    {"event": "dropped", "reason": "Unsubscribed Address"},
    {"event": "dropped", "reason": "Spam Reporting Address"},
    {"event": "open", "useragent": "Mozilla/5.0", "ip": "192.0.2.1"},
    {"event": "click", "url": "https://shop.example/?a=1&b=2", "useragent": "Mozilla/5.0"},
    {"event": "spamreport"},
    {"event": "unsubscribe"},
    {"event": "group_unsubscribe", "asm_group_id": 7},
    {"event": "group_resubscribe", "asm_group_id": 7},
    {"event": "account_status_change", "type": "compliance_suspend"},
    {"event": "brand_new"},
]


def tracked(sendgrid: SendgridServer, posted: bytes, headers: dict[str, str]) -> tuple[int, list[Any]]:
    """The status that anymail's webhook answers with, and the events that it tells of."""
    told: list[AnymailTrackingEvent] = []

    def tell(sender: Any, event: AnymailTrackingEvent, esp_name: str, **_: Any) -> None:
        told.append(event)

    tracking.connect(tell)
    try:
        view = SendGridTrackingWebhookView.as_view(tracking_webhook_verification_key=sendgrid.webhook_key)
        request = RequestFactory().post(
            "/webhook", data=posted, content_type="application/json", headers=headers
        )
        response: HttpResponse = view(request)
    except AnymailWebhookValidationFailure:
        return 400, told  # what Django makes of it
    finally:
        tracking.disconnect(tell)
    return response.status_code, told


@pytest.mark.parametrize("has_key", [True, False], ids=["with our key", "without"])
def test_events_mean_what_anymail_takes_them_for(
    sendgrid: SendgridServer, channel: SendgridChannel, has_key: bool
) -> None:
    base = {"email": "ann@example.com", "timestamp": 1780498800, "sg_message_id": "abc.recvd-1.0"}
    key = {"hf": "17.signature"} if has_key else {}
    told = [{**base, **key, "sg_event_id": f"ev-{n}", **each} for n, each in enumerate(EVENTS)]
    posted = json.dumps(told).encode()
    signed = sendgrid.signed(posted, NOW)
    channel.verify(signed, posted, NOW)
    us: dict[str, Response] = {response.event_id: response for response in channel.parse(posted)}
    status, them = tracked(sendgrid, posted, {k: v for k, v in signed.items() if k != "content-type"})
    assert (status, len(them)) == (200, len(EVENTS))
    for event in them:
        response = us.pop(event.event_id, None)
        if event.event_type == EventType.UNKNOWN:
            assert response is None
            continue
        assert response is not None
        assert response.kind is KINDS[event.event_type]
        assert response.occurred_at == event.timestamp
        assert response.key == event.metadata.get("hf", "")
        assert response.url == (event.click_url or "")
        if not has_key:
            assert response.address == event.recipient
        if event.reject_reason in REASONS:
            assert response.reason is REASONS[event.reject_reason]
    assert us == {}


@pytest.mark.parametrize("what", ["right", "mutated", "unsigned", "another's", "no base64"])
def test_signatures_are_believed_as_anymail_believes_them(sendgrid: SendgridServer, what: str) -> None:
    posted = b"[]\r\n"
    headers = {
        "right": sendgrid.signed(posted, NOW),
        "mutated": sendgrid.signed(posted + b" ", NOW),
        "unsigned": {},
        "another's": SendgridServer().signed(posted, NOW),
        "no base64": {**sendgrid.signed(posted, NOW), "x-twilio-email-event-webhook-signature": "x"},
    }[what]
    status, _ = tracked(sendgrid, posted, {k: v for k, v in headers.items() if k != "content-type"})
    try:
        PublicKeys(sendgrid.webhook_key).verify(headers, posted, NOW)
        is_believed = True
    except AnswerRefused:
        is_believed = False
    assert is_believed == (status == 200) == (what == "right")


# --- what comes in by mail ------------------------------------------------------------------------

KEY = message().key
HEAD = (
    "From: Ann Müller <ann@example.com>\r\n"
    f"To: Acme <reply+{KEY}@in.acme.example>\r\n"
    "Subject: =?utf-8?q?Re=3A_F=C3=BCr_Sie?=\r\n"
    "Message-ID: <reply-1@mail.example.com>\r\n"
    f"In-Reply-To: <{KEY}@in.acme.example>\r\n"
    "MIME-Version: 1.0\r\n"
)
PLAIN = "Content-Type: text/plain; charset={}\r\n\r\n"
MAILS = {
    "text": (PLAIN.format("utf-8") + "Schöne Grüße\r\nAnn\r\n").encode(),
    "encoded": b"Content-Transfer-Encoding: base64\r\n"
    + PLAIN.format("utf-8").encode()
    + b"R3LDvMOfZQ==\r\n",
    "alternatives": (
        b'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\nThank you\r\n"
        b"--b\r\nContent-Type: text/html\r\n\r\n<p>Thank <b>you</b></p>\r\n--b--\r\n"
    ),
    "a picture": (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\nSee the picture\r\n"
        b"--b\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename=a.png\r\n\r\n"
        b"PNG\r\n--b--\r\n"
    ),
}
# As it came, anymail has Django read it as UTF-8; by its fields, it looks at their charsets.
MAILS_BY_FIELDS = {
    "latin": (PLAIN.format("iso-8859-1") + "Schöne Grüße\r\n").encode("latin-1"),
    "japanese": (PLAIN.format("shift_jis") + "ありがとう\r\n").encode("shift_jis"),
}


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize(
    ("post", "content"),
    [
        *(
            pytest.param(post, MAILS[name], id=f"{name}-{post.__name__}")
            for post in (raw, parsed)
            for name in MAILS
        ),
        *(pytest.param(parsed, content, id=name) for name, content in MAILS_BY_FIELDS.items()),
    ],
)
def test_mail_says_what_anymail_reads_in_it(channel: SendgridChannel, post: Any, content: bytes) -> None:
    posted, headers = post(HEAD.encode() + content, "ann@example.com", f"reply+{KEY}@in.acme.example")
    told: list[AnymailInboundEvent] = []

    def tell(sender: Any, event: AnymailInboundEvent, esp_name: str, **_: Any) -> None:
        told.append(event)

    inbound.connect(tell)
    try:
        request = RequestFactory().post("/inbound", data=posted, content_type=headers["content-type"])
        assert SendGridInboundWebhookView.as_view()(request).status_code == 200
    finally:
        inbound.disconnect(tell)
    [them], [us] = [event.message for event in told], channel.parse(posted)
    assert us.kind is ResponseKind.REPLIED
    assert us.event_id == them["Message-ID"]
    assert f"<{us.key}@in.acme.example>" == them["In-Reply-To"]
    assert f"reply+{us.key}@in.acme.example" == them.envelope_recipient
    assert us.text.splitlines() == them.text.strip().splitlines()
