"""What comes back by mail: notices of various mail systems, people's replies, and what is neither."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.returned_mail import response
from channels.verp import BounceAddress
from holdfast.channel import RejectReason, Response, ResponseKind
from holdfast.tokens import Signer

AT = datetime(2026, 6, 3, 12, 5, tzinfo=UTC)
BOUNCES = BounceAddress("bounce@r.acme.example")
KEY = Signer(b"a secret of the tests, 32 bytes.").sign("message", 17)
LETTERS = {file.stem: file.read_bytes() for file in (Path(__file__).parents[2] / "notices").glob("*.eml")}

BAD_ADDRESS, UNKNOWN = RejectReason.BAD_ADDRESS, RejectReason.UNKNOWN
BOUNCED, REPLIED = ResponseKind.BOUNCED, ResponseKind.REPLIED


def letter(name: str, key: str = KEY) -> bytes:
    """The letter as it is in the mailbox, of the message with this key."""
    return LETTERS[name].replace(b"KEY", key.encode()).replace(b"\n", b"\r\n")


def told(content: bytes) -> Response | None:
    return response(content, AT, BOUNCES)


def what(content: bytes) -> dict[str, Any]:
    """What it tells, without its name and time."""
    found = told(content)
    assert found is not None
    assert (found.key, found.occurred_at, found.address, found.provider_id) == (KEY, AT, "", "")
    fields = ("kind", "reason", "permanent", "text")
    return {name: value for name in fields if (value := getattr(found, name))}


@pytest.mark.parametrize(
    ("name", "tells"),
    [
        ("postfix_unknown_user", {"kind": BOUNCED, "reason": BAD_ADDRESS, "permanent": True}),
        ("postfix_delayed", {"kind": ResponseKind.DEFERRED}),
        ("postfix_gave_up", {"kind": BOUNCED, "reason": RejectReason.RETRIES_EXHAUSTED}),
        ("postfix_without_enhanced_code", {"kind": BOUNCED, "reason": UNKNOWN, "permanent": True}),
        ("exchange_recipient_not_found", {"kind": BOUNCED, "reason": BAD_ADDRESS, "permanent": True}),
        ("office365_blocked", {"kind": BOUNCED, "reason": RejectReason.BLOCKED}),
        ("gmail_over_quota", {"kind": BOUNCED, "reason": RejectReason.MAILBOX_FULL}),
        ("sendmail_generic_status", {"kind": BOUNCED, "reason": BAD_ADDRESS, "permanent": True}),
        ("qmail", {"kind": BOUNCED, "reason": UNKNOWN}),
        ("exim_plain", {"kind": BOUNCED, "reason": UNKNOWN}),
        ("feedback_report", {"kind": ResponseKind.COMPLAINED}),
        ("reply_gmail", {"kind": REPLIED, "text": "Do you have the blue one in Größe 40?"}),
        (
            "reply_outlook_stop",
            {"kind": ResponseKind.UNSUBSCRIBED, "text": "Unsubscribe."},
        ),
        ("reply_phone_stop", {"kind": ResponseKind.UNSUBSCRIBED, "text": "STOP\n\nSent from my phone"}),
    ],
)
def test_a_letter_of_this_shape_tells(name: str, tells: dict[str, Any]) -> None:
    assert what(letter(name)) == tells


def test_every_sample_is_of_a_letter_that_is_tested() -> None:
    assert len(LETTERS) == 16
    assert all(b"KEY" in content for content in LETTERS.values())


@pytest.mark.parametrize("name", ["vacation", "old_responder"])
def test_what_a_responder_on_holiday_answers_is_no_reply(name: str) -> None:
    assert told(letter(name)) is None


@pytest.mark.parametrize(
    ("header", "is_reply"),
    [
        ("Auto-Submitted: no", True),
        ("Auto-Submitted: auto-generated", False),
        ("Auto-Submitted: Auto-Replied; owner-email=x", False),
        ("Precedence: BULK", False),
        ("Precedence: first-class", True),
        ("Return-Path: <>", False),
        ("Return-Path: <ann@example.com>", True),
    ],
)
def test_only_people_reply(header: str, is_reply: bool) -> None:
    reply = f"{header}\r\nFrom: ann@example.com\r\nIn-Reply-To: <{KEY}@r.acme.example>\r\n\r\nHello\r\n"
    assert (told(reply.encode()) is not None) is is_reply


@pytest.mark.parametrize(
    ("headers", "is_bounce"),
    [
        ("From: MAILER-DAEMON (Mail Delivery System)", True),
        ("From: Mailer-Daemon@mx.example.com\r\nAuto-Submitted: auto-replied", True),
        ("From: <postmaster@example.com>\r\nPrecedence: junk", True),
        ("From: mail@example.com\r\nX-Failed-Recipients: a@b.example", True),
        ("From: mail@example.com\r\nReturn-Path: <>", True),
        ("From: ann@example.com\r\nReturn-Path: <>\r\nX-Auto-Response-Suppress: All", False),
        ("From: ann@example.com\r\nReturn-Path: <>\r\nAuto-Submitted: auto-generated", False),
        ("From: ann@example.com\r\nReturn-Path: <>\r\nPrecedence: bulk", False),
        ("From: ann@example.com\r\nReturn-Path: <ann@example.com>", False),
    ],
)
def test_what_a_mail_system_writes_to_the_envelope_sender_is_a_bounce(headers: str, is_bounce: bool) -> None:
    found = told(f"{headers}\r\nTo: bounce+{KEY}@r.acme.example\r\n\r\nHello\r\n".encode())
    assert (found is not None and found.kind is BOUNCED) is is_bounce
    if is_bounce:
        assert (found.reason, found.permanent) == (UNKNOWN, False)  # type: ignore[union-attr]
    not_to_us = told(f"{headers}\r\nTo: bounce@r.acme.example\r\n\r\nHello\r\n".encode())
    assert not_to_us is None


@pytest.mark.parametrize(
    ("old", "new", "tells"),
    [
        ("Action: failed", "Action: delivered", ResponseKind.DELIVERED),
        ("Action: failed", "Action: relayed", None),
        ("Action: failed", "Action: expanded", None),
        ("Action: failed", "X-None: 1", BOUNCED),
        ("Action: failed\nStatus: 5.1.1", "Status: 4.4.7", ResponseKind.DEFERRED),
        ("Action: failed\nStatus: 5.1.1", "Action: failed", BOUNCED),
        ("Action: failed\nStatus: 5.1.1", "Action:\nStatus: nonsense", BOUNCED),
    ],
)
def test_the_action_of_a_notice_counts_and_the_status_where_there_is_none(
    old: str, new: str, tells: ResponseKind | None
) -> None:
    content = letter("postfix_unknown_user").replace(
        old.replace("\n", "\r\n").encode(), new.replace("\n", "\r\n").encode()
    )
    found = told(content)
    assert (found and found.kind) == tells


@pytest.mark.parametrize(
    ("status", "diagnostic", "reason", "is_permanent"),
    [
        ("5.1.1", "", BAD_ADDRESS, True),
        ("5.1.2", "", BAD_ADDRESS, True),
        ("5.2.1", "", BAD_ADDRESS, True),
        ("5.4.1", "", BAD_ADDRESS, True),
        ("5.2.2", "", RejectReason.MAILBOX_FULL, False),
        ("5.3.4", "", RejectReason.TOO_LARGE, False),
        ("5.6.0", "", RejectReason.CONTENT, False),
        ("5.7.1", "", RejectReason.BLOCKED, False),
        ("5.3.0", "", UNKNOWN, False),
        ("5.4.6", "", UNKNOWN, False),
        ("5.0.0", "", UNKNOWN, True),
        ("5.0.0", "smtp; 551 moved", BAD_ADDRESS, True),
        ("5.0.0", "smtp; 554 no", RejectReason.CONTENT, False),
        ("5.0.0", "smtp; 550-5.7.1 no", RejectReason.BLOCKED, False),
        ("5.1.1", "smtp; 550 5.7.1 no", BAD_ADDRESS, True),
        ("5.0.0", "x-other; 551 5.1.1", UNKNOWN, True),
        ("4.2.2", "smtp; 452 4.2.2 full", RejectReason.RETRIES_EXHAUSTED, False),
        ("5.9999.1", "smtp; 999", UNKNOWN, False),
        ("", "smtp; 550 5.1.1 unknown", BAD_ADDRESS, True),
    ],
)
def test_the_status_says_why_and_whether_the_address_is_dead(
    status: str, diagnostic: str, reason: RejectReason, is_permanent: bool
) -> None:
    content = re.sub(
        rb"Status: 5.1.1\r\n(.*\r\n)Diagnostic-Code: .*\r\n.*\r\n",
        rb"Status: %b\r\n\1Diagnostic-Code: %b\r\n" % (status.encode(), diagnostic.encode()),
        letter("postfix_unknown_user"),
    )
    found = told(content)
    assert found is not None
    assert (found.reason, found.permanent) == (reason, is_permanent)


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("abuse", ResponseKind.COMPLAINED),
        ("fraud", ResponseKind.COMPLAINED),
        ("Opt-Out", ResponseKind.UNSUBSCRIBED),
        ("opt-out-list", ResponseKind.UNSUBSCRIBED),
        ("not-spam", None),
        ("auth-failure", None),
        ("virus", None),
        ("other", None),
        ("something-new", None),
    ],
)
def test_a_feedback_report_is_taken_at_its_type(type_: str, kind: ResponseKind | None) -> None:
    content = letter("feedback_report").replace(b"type: abuse", b"type: x")
    found = told(content.replace(b"abuse", type_.encode()))
    assert (None if found is None else found.kind) == kind


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("failed", BOUNCED),
        ("delayed", ResponseKind.DEFERRED),
        ("delivered", ResponseKind.DELIVERED),
        ("relayed", None),
        ("expanded", None),
        ("something-new", None),
    ],
)
def test_a_notice_is_taken_at_its_action(action: str, kind: ResponseKind | None) -> None:
    found = told(letter("postfix_unknown_user").replace(b"Action: failed", f"Action: {action}".encode()))
    assert (None if found is None else found.kind) == kind


# --- whose it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in LETTERS if name not in ("vacation", "old_responder")])
def test_a_letter_that_names_no_message_of_ours_is_left_alone(name: str) -> None:
    foreign = letter(name).replace(b"r.acme.example", b"other.example")
    assert told(foreign) is None
    assert told(foreign.replace(b"bounce+", b"").replace(KEY.encode() + b"@", b"")) is None


def test_a_key_whose_capitals_were_lost_on_the_way_is_read_from_what_came_back() -> None:
    content = letter("postfix_unknown_user").replace(
        f"To: bounce+{KEY}@r.acme.example".encode(), f"To: bounce+{KEY.lower()}@R.ACME.example".encode()
    )
    found = told(content)
    assert found is not None
    assert found.key == KEY


def test_the_same_letter_is_the_same_event_and_another_one_is_another() -> None:
    names = {told(letter("qmail")).event_id for _ in range(2)}  # type: ignore[union-attr]
    assert len(names) == 1
    assert told(letter("qmail") + b"more\r\n").event_id not in names  # type: ignore[union-attr]


def test_the_address_in_a_notice_counts_for_nothing() -> None:
    content = letter("postfix_unknown_user").replace(b"customer1@example.com", b"stranger@example.net")
    assert what(content) == {"kind": BOUNCED, "reason": BAD_ADDRESS, "permanent": True}


# --- what nobody sends by accident ----------------------------------------------------------------


def many_parts(content: bytes) -> bytes:
    return content.replace(
        b"\r\n\r\n--", b"\r\n\r\n" + b"--9F8E7D.1780488302/mx.acme.example\r\n\r\nx\r\n" * 5000 + b"--", 1
    )


def deep(content: bytes) -> bytes:
    parts = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(2000)
    )
    return b"From: a@b.example\r\n" + parts


def many_recipients(content: bytes) -> bytes:
    return content.replace(
        b"\r\n\r\nFinal", b"\r\n\r\nAction: relayed\r\nStatus: 2.0.0" * 5000 + b"\r\n\r\nFinal"
    )


def many_headers(content: bytes) -> bytes:
    return b"To: bounce+a@r.acme.example, bounce+\r\n" * 5000 + content


HOSTILE: list[Callable[[bytes], bytes]] = [
    many_parts,
    deep,
    many_recipients,
    many_headers,
    lambda content: content[: len(content) // 2],
    lambda content: content.replace(b"\r\n", b"\n"),
    lambda content: content.replace(b"\r\n", b"\r"),
    lambda content: content.replace(b"boundary=", b"boundery="),
    lambda content: content.replace(b"multipart/report", b"multipart/report; charset*0*=x''%ff; x"),
    lambda content: content.replace(b"boundary=", b"charset*0*=utf-16''x; b=").replace(b"e", b"\xe9"),
    lambda content: content.replace(b"text/plain", b"text/plain; charset*0*=utf-16''x; a=") + b"\xe9",
    lambda content: b"\xff\xfe\x00" * 1000 + content,
    lambda content: content.replace(b"failed", b"\xff\x00failed\xe9"),
    lambda content: content.replace(b"Status: ", b"Status: " + b"5." * 10000),
    lambda content: content + b"=?utf-8?b?" * 10000,
    lambda content: content.replace(b"From: ", b"From: =?utf-8?q?" + b"=41" * 10000 + b"?= "),
    lambda content: b"Subject: " + b" " * 100_000 + b"\r\n" + content,
    lambda content: b"bounce+" * 15_000 + content,
    lambda content: b"Received: " + b"x+" * 50_000 + b"\r\n" + content,
    lambda content: b"In-Reply-To: " + b"<a" * 50_000 + b"\r\n" + content,
    lambda content: b"",
    lambda content: b"\r\n\r\n",
]


@pytest.mark.parametrize("damage", HOSTILE)
@pytest.mark.parametrize("name", sorted(LETTERS))
@pytest.mark.timeout(20)
def test_a_hostile_letter_is_read_or_left_alone_in_time(name: str, damage: Callable[[bytes], bytes]) -> None:
    found = told(damage(letter(name))[:131_072])
    assert found is None or "\r" not in found.key + found.event_id


@given(st.data())
def test_no_letter_breaks_its_reader(data: st.DataObject) -> None:
    content = letter(data.draw(st.sampled_from(sorted(LETTERS))))
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 40)))
        content = content[:start] + data.draw(st.binary(max_size=20)) + content[end:]
    found = told(content)
    assert found is None or found.key


@pytest.mark.parametrize("line_break", ["\r\n", "\n", "\r\n "])
def test_a_key_holds_no_line_break(line_break: str) -> None:
    content = f"To: bounce+{KEY}{line_break}x@r.acme.example\r\nReturn-Path: <>\r\n\r\nfailed\r\n"
    assert told(content.encode()) is None
