from __future__ import annotations

import pytest

from channels.smtp_replies import Stage, blames_sender, refusal
from holdfast.channel import Outcome, Rejected, RejectReason, Retry

SENDER, RECIPIENT, CONTENT = Stage.SENDER, Stage.RECIPIENT, Stage.CONTENT


@pytest.mark.parametrize(
    ("stage", "code", "text", "expected"),
    [
        (RECIPIENT, 550, b"5.1.1 <ann@example.com> unknown", Rejected(RejectReason.BAD_ADDRESS, "550 5.1.1")),
        (RECIPIENT, 550, b"no such user", Rejected(RejectReason.BAD_ADDRESS, "550")),
        (RECIPIENT, 551, b"gone", Rejected(RejectReason.BAD_ADDRESS, "551")),
        (RECIPIENT, 553, b"5.1.3 syntax", Rejected(RejectReason.BAD_ADDRESS, "553 5.1.3")),
        (RECIPIENT, 556, b"5.1.10 null MX", Rejected(RejectReason.BAD_ADDRESS, "556 5.1.10")),
        (RECIPIENT, 550, b"5.2.1 disabled", Rejected(RejectReason.BAD_ADDRESS, "550 5.2.1")),
        (RECIPIENT, 550, b"5.4.1 access denied", Rejected(RejectReason.BAD_ADDRESS, "550 5.4.1")),
        (RECIPIENT, 552, b"5.2.2 over quota", Rejected(RejectReason.MAILBOX_FULL, "552 5.2.2")),
        (RECIPIENT, 552, b"over quota", Rejected(RejectReason.MAILBOX_FULL, "552")),
        (RECIPIENT, 554, b"5.7.1 relay denied", Rejected(RejectReason.BLOCKED, "554 5.7.1")),
        (RECIPIENT, 550, b"5.5.0 what", Rejected(RejectReason.UNKNOWN, "550 5.5.0")),
        (RECIPIENT, 503, b"bad sequence", Rejected(RejectReason.UNKNOWN, "503")),
        (
            RECIPIENT,
            450,
            b"4.2.0 greylisted, ann@example.com",
            Retry(detail="450 4.2.0", of_recipient=True),
        ),
        (RECIPIENT, 452, b"later", Retry(detail="452")),
        (SENDER, 552, b"5.3.4 too big", Rejected(RejectReason.TOO_LARGE, "552 5.3.4")),
        (SENDER, 451, b"4.3.0 try later", Retry(detail="451 4.3.0")),
        (CONTENT, 552, b"5.3.4 too big", Rejected(RejectReason.TOO_LARGE, "552 5.3.4")),
        (CONTENT, 552, b"too big", Rejected(RejectReason.TOO_LARGE, "552")),
        (CONTENT, 554, b"5.6.0 malformed", Rejected(RejectReason.CONTENT, "554 5.6.0")),
        (CONTENT, 554, b"spam", Rejected(RejectReason.CONTENT, "554")),
        (CONTENT, 550, b"5.7.1 spam", Rejected(RejectReason.BLOCKED, "550 5.7.1")),
        (CONTENT, 554, b"5.6.7 not internationalised", Rejected(RejectReason.BAD_ADDRESS, "554 5.6.7")),
        (CONTENT, 421, b"4.4.2 closing", Retry(detail="421 4.4.2")),
    ],
)
def test_a_refusal_keeps_the_code_and_drops_the_servers_words(
    stage: Stage, code: int, text: bytes, expected: Outcome
) -> None:
    assert refusal(stage, code, text) == expected


@pytest.mark.parametrize(
    ("stage", "code", "text", "expected"),
    [
        (RECIPIENT, 450, b"mailbox busy", True),
        (RECIPIENT, 450, b"4.2.0 greylisted", True),
        (RECIPIENT, 452, b"4.2.2 over quota", True),
        (RECIPIENT, 451, b"4.1.1 cannot be looked up now", True),
        (RECIPIENT, 451, b"4.3.0 out of disk space", False),
        (RECIPIENT, 421, b"closing", False),
        (RECIPIENT, 421, b"4.3.2 shutting down", False),
        (RECIPIENT, 450, b"4.7.1 too much mail from you", False),
        (RECIPIENT, 452, b"4.5.3 too many recipients", False),
        (RECIPIENT, 451, b"local error", False),
        (SENDER, 450, b"busy", False),
        (SENDER, 450, b"4.2.0 greylisted", False),
        (SENDER, 451, b"4.1.8 sender's domain cannot be looked up", False),
        (CONTENT, 450, b"busy", False),
        (CONTENT, 452, b"4.2.2 over quota", False),
    ],
)
def test_only_an_answer_to_the_recipients_address_or_mailbox_asks_for_time_for_that_one_alone(
    stage: Stage, code: int, text: bytes, expected: bool
) -> None:
    outcome = refusal(stage, code, text)
    assert isinstance(outcome, Retry)
    assert outcome.of_recipient is expected


@pytest.mark.parametrize(
    ("stage", "code", "text", "expected"),
    [
        (SENDER, 550, b"5.7.1 sender not yours", True),
        (SENDER, 553, b"no", True),
        (SENDER, 530, b"5.7.0 log in first", True),
        (RECIPIENT, 530, b"5.7.0 log in first", True),
        (RECIPIENT, 550, b"5.1.8 sender's domain not found", True),
        (SENDER, 552, b"5.3.4 too big", False),
        (SENDER, 451, b"4.7.1 later", False),
        (RECIPIENT, 550, b"5.1.1 unknown", False),
        (RECIPIENT, 450, b"4.1.8 sender's domain not found", False),
        (CONTENT, 554, b"5.7.1 spam", False),
    ],
)
def test_what_is_held_against_the_sender_is_not_the_recipients_fault(
    stage: Stage, code: int, text: bytes, expected: bool
) -> None:
    assert blames_sender(stage, code, text) is expected
