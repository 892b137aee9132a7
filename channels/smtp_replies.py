"""What a mail server's refusals mean: from reply codes to outcomes."""

from __future__ import annotations

import re
from enum import Enum, auto

from holdfast.channel import Outcome, Rejected, RejectReason, Retry

_ENHANCED = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}(?!\d)")

# Enhanced status codes (RFC 3463 and its registry) say more than the three digits; the longest prefix wins.
_BY_STATUS = {
    "5.1": RejectReason.BAD_ADDRESS,
    "5.2": RejectReason.BAD_ADDRESS,  # 5.2.1: the mailbox is disabled
    "5.2.2": RejectReason.MAILBOX_FULL,
    "5.2.3": RejectReason.TOO_LARGE,
    "5.3.4": RejectReason.TOO_LARGE,
    "5.4.1": RejectReason.BAD_ADDRESS,  # Microsoft's word for a recipient who is not in its directory
    "5.4.4": RejectReason.BAD_ADDRESS,
    "5.6": RejectReason.CONTENT,
    "5.6.7": RejectReason.BAD_ADDRESS,  # an address that is not ASCII, on a way that cannot carry it
    "5.7": RejectReason.BLOCKED,
}


class Stage(Enum):
    """Where in the conversation about a letter the server refused."""

    SENDER = auto()
    RECIPIENT = auto()
    CONTENT = auto()


_BY_CODE = {
    Stage.SENDER: {552: RejectReason.TOO_LARGE},
    Stage.RECIPIENT: {
        **dict.fromkeys((501, 510, 511, 550, 551, 553, 556), RejectReason.BAD_ADDRESS),
        552: RejectReason.MAILBOX_FULL,
    },
    Stage.CONTENT: {
        **dict.fromkeys((550, 554), RejectReason.CONTENT),
        552: RejectReason.TOO_LARGE,
    },
}

# Servers commonly tell only at RCPT what they hold against the sender: the recipient is not to blame.
_SENDER_STATUSES = frozenset(("5.1.7", "5.1.8"))
_LOGIN_WANTED = 530


class ServerNotReady(Exception):
    """No connection at the moment; nothing was taken. `detail` is a code or a word of ours."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def reply_code(code: int, text: bytes) -> str:
    """The code and the enhanced status ("550 5.1.1"), without the server's free text."""
    status = _status(text)
    return f"{code} {status}" if status else str(code)


def refusal(stage: Stage, code: int, text: bytes) -> Outcome:
    """The outcome for a reply that is not the one hoped for."""
    detail, status = reply_code(code, text), _status(text)
    if code >= 500:
        return Rejected(_reason(stage, code, status), detail)
    # RFC 3463: 4.1 is of an address, 4.2 of a mailbox. Others may be told to everybody.
    of_recipient = status.startswith(("4.1.", "4.2.")) or (code == 450 and not status)
    return Retry(detail=detail, of_recipient=stage is Stage.RECIPIENT and of_recipient)


def failure(status: str, code: int) -> tuple[RejectReason, bool]:
    """Why a notice says a letter was given up, and whether its address is dead.

    `status` is the enhanced status code, '' where the notice has none, and `code` the reply's, or 0.
    """
    if status.startswith("4"):
        return RejectReason.RETRIES_EXHAUSTED, False
    # The notice does not say at which stage: the code counts where it means the same at all of them.
    by_stage = {by_code[code] for by_code in _BY_CODE.values() if code in by_code}
    by_code = by_stage.pop() if len(by_stage) == 1 else RejectReason.UNKNOWN
    reason = _by_status(status) or by_code
    # 5.0.x says nothing but that it is for good; others without a reason are a fault on the way.
    is_dead = reason is RejectReason.BAD_ADDRESS or (
        reason is RejectReason.UNKNOWN and status.startswith("5.0.")
    )
    return reason, is_dead


def blames_sender(stage: Stage, code: int, text: bytes) -> bool:
    """Whether the server refuses us, whoever the recipient: for an operator, and no fault of the letter."""
    if code < 500:
        return False
    if code == _LOGIN_WANTED or _status(text) in _SENDER_STATUSES:
        return True
    return stage is Stage.SENDER and _reason(stage, code, _status(text)) is not RejectReason.TOO_LARGE


def _status(text: bytes) -> str:
    found = _ENHANCED.match(text)
    return found[0].decode("ascii") if found else ""


def _reason(stage: Stage, code: int, status: str) -> RejectReason:
    by_code = RejectReason.UNKNOWN if status else _BY_CODE[stage].get(code, RejectReason.UNKNOWN)
    return _by_status(status) or by_code


def _by_status(status: str) -> RejectReason | None:
    return _BY_STATUS.get(status) or _BY_STATUS.get(status.rpartition(".")[0])
