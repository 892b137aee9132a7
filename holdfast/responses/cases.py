"""What operators do about complaints: by the command line and the API alike, recorded with who and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from holdfast.delivery import Workspace
from holdfast.errors import CaseError, CaseUnknown
from holdfast.store import cases, casework, conversations
from holdfast.store.cases import Complaint
from holdfast.store.casework import Case
from holdfast.store.conversations import Conversation, Turn
from holdfast.store.counting import find_customer

LONGEST_TEXT = 10_000
# What was said and sent shortly before a case was opened is mostly what it is about.
_BEFORE = timedelta(days=30)
_EVER = timedelta(days=36_500)

Step = Callable[[Connection, int, str, str, datetime], None]


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A case with its conversation, the earliest first."""

    case: Case
    turns: list[Turn]


def list_cases(
    ws: Workspace, *, open_only: bool = True, after_id: int = 0, most: int | None = None
) -> list[Case]:
    """Cases with a higher id than this one, in the order of their ids."""
    with ws.database.read() as connection:
        return casework.list_cases(connection, open_only=open_only, after_id=after_id, most=most)


def show_case(ws: Workspace, case_id: int, now: datetime) -> CaseFile:
    """The case, with what was said and done from a month before it on. Raises CaseUnknown."""
    with ws.database.read() as connection:
        case = _known(connection, case_id)
        return CaseFile(
            case,
            conversations.turns(
                connection,
                casework.whose(connection, case_id),
                case_id,
                case.opened_at - _BEFORE,
                case.closed_at or now,
            ),
        )


def open_case(ws: Workspace, customer_id: str, why: str, who: str, now: datetime) -> Case:
    """Opens a case by hand; one that was closed a while ago at most is opened again, as for a complaint.

    Raises CaseUnknown for an unknown customer, CaseError where there is an open one.
    """
    text = _text(why)
    with ws.database.write(exclusive=True) as connection:
        customer = _customer(connection, customer_id)
        latest = casework.latest_case(connection, customer)
        if latest is not None and latest.closed_at is None:
            raise CaseError(
                f"this customer has an open case: {latest.id}", hint=f"holdfast cases show {latest.id}"
            )
        if latest and latest.closed_at and latest.closed_at >= now - ws.complaints.reopen_within:
            cases.open_again(connection, [latest.id], who, text, now)
            return _known(connection, latest.id)
        [id_] = cases.open_cases(connection, [Complaint(now, "", "", customer, "by_hand")], who, text, now)
        return _known(connection, id_)


def answer(ws: Workspace, case_id: int, text: str, who: str, now: datetime) -> Case:
    """Records what the customer was told. Raises CaseUnknown, and CaseError for a closed case."""
    return _work_on(ws, casework.answer, case_id, text, who, now)


def note(ws: Workspace, case_id: int, text: str, who: str, now: datetime) -> Case:
    """Records what is to be known about the case, also when it is closed. Raises CaseUnknown."""
    return _work_on(ws, casework.note, case_id, text, who, now, also_closed=True)


def close(ws: Workspace, case_id: int, why: str, who: str, now: datetime) -> Case:
    """Closes the case. Raises CaseUnknown, and CaseError where it is closed."""
    return _work_on(ws, casework.close, case_id, why, who, now)


def close_all(ws: Workspace, case_ids: Sequence[int], why: str, who: str, now: datetime) -> list[Case]:
    """Closes these cases, all or none. Raises as `close` does."""
    text = _text(why)
    with ws.database.write(exclusive=True) as connection:
        return [_step(connection, casework.close, id_, text, who, now) for id_ in dict.fromkeys(case_ids)]


def list_conversations(ws: Workspace, most: int) -> list[Conversation]:
    """What customers wrote to us, by customer and channel: those gone on with last, the latest first."""
    with ws.database.read() as connection:
        return conversations.list_conversations(connection, most)


def conversation_of(ws: Workspace, customer_id: str, now: datetime) -> list[Turn]:
    """All that was said between the customer and us, the earliest first. Raises CaseUnknown."""
    with ws.database.read() as connection:
        customer = _customer(connection, customer_id)
        return conversations.turns(connection, customer, None, now - _EVER, now)


def _work_on(
    ws: Workspace,
    step: Step,
    case_id: int,
    text: str,
    who: str,
    now: datetime,
    *,
    also_closed: bool = False,
) -> Case:
    text = _text(text)
    with ws.database.write(exclusive=True) as connection:
        return _step(connection, step, case_id, text, who, now, also_closed=also_closed)


def _step(
    connection: Connection,
    step: Step,
    case_id: int,
    text: str,
    who: str,
    now: datetime,
    *,
    also_closed: bool = False,
) -> Case:
    case = _known(connection, case_id)
    if case.closed_at is not None and not also_closed:
        raise CaseError(
            f"case {case_id} is closed", hint="what is new about it opens it again: holdfast cases open"
        )
    step(connection, case_id, who, text, now)
    return _known(connection, case_id)


def _known(connection: Connection, case_id: int) -> Case:
    case = casework.find_case(connection, case_id)
    if case is None:
        raise CaseUnknown(f"there is no case {case_id}", hint="look for it with: holdfast cases --all")
    return case


def _customer(connection: Connection, customer_id: str) -> int:
    # PostgreSQL cannot look for a text with a NUL in it.
    found = None if "\0" in customer_id else find_customer(connection, customer_id)
    if found is None:
        raise CaseUnknown("there is no such customer", hint="give the id that they were imported with")
    return found


def _text(text: str) -> str:
    """The text as databases take it. Raises CaseError for none, or too much."""
    storable = text.encode("utf-8", "replace").decode().replace("\0", "").strip()
    if not 0 < len(storable) <= LONGEST_TEXT:
        raise CaseError(f"a text of {len(storable):,} characters; expected 1 to {LONGEST_TEXT:,}")
    return storable
