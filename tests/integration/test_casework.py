"""What operators do about cases, and the commands that they do it by."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from holdfast import responses
from holdfast.cli import main
from holdfast.cli.cases import _lines, _printable
from holdfast.errors import CaseError, CaseUnknown
from holdfast.responses import cases as casework
from holdfast.store.conversations import Turn
from holdfast.store.schema import HEAD, VERSION_TABLE
from tests.integration.conftest import NOW, Bench
from tests.integration.test_cases import LATER, hear, said

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
HOUR = timedelta(hours=1)


def complain(bench: Bench, minute: int = 5, **more: Any) -> int:
    """A case of customer 1; its id."""
    hear(bench, said("replied", minute, "it is broken", heard=NOW + HOUR, **more), at=NOW + HOUR)
    return casework.list_cases(bench.ws)[-1].id


def test_a_case_is_answered_noted_and_closed_and_every_step_has_who_and_when(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.run(bench.campaign())
    case_id = complain(bench)
    steps = [
        (casework.note, "asked the warehouse"),
        (casework.answer, "a new one is on its way"),
        (casework.answer, "it was sent"),
        (casework.close, "got a new one"),
    ]
    for hour, (step, words) in enumerate(steps, start=2):
        case = step(bench.ws, case_id, words, "ann", NOW + hour * HOUR)
    assert (case.opened_at, case.answered_at, case.closed_at) == (
        NOW + timedelta(minutes=5),
        NOW + 3 * HOUR,
        NOW + 5 * HOUR,
    )
    assert casework.list_cases(bench.ws) == []
    assert casework.list_cases(bench.ws, open_only=False) == [case]
    file = casework.show_case(bench.ws, case_id, LATER)
    assert file.turns == [
        Turn(NOW, "us", "sent", "sms", campaign="hello", step="first"),
        Turn(
            NOW + timedelta(minutes=5), "customer", "replied", "sms", "it is broken",
            campaign="hello", step="first", case_id=case_id,
        ),
        Turn(NOW + HOUR, "us", "opened", who="holdfast", case_id=case_id),
        Turn(NOW + 2 * HOUR, "us", "noted", text="asked the warehouse", who="ann", case_id=case_id),
        Turn(NOW + 3 * HOUR, "us", "answered", text="a new one is on its way", who="ann", case_id=case_id),
        Turn(NOW + 4 * HOUR, "us", "answered", text="it was sent", who="ann", case_id=case_id),
        Turn(NOW + 5 * HOUR, "us", "closed", text="got a new one", who="ann", case_id=case_id),
    ]  # fmt: skip


def test_a_case_waits_from_what_was_not_answered_yet(bench: Bench) -> None:
    bench.shop.customers(1)
    case_id = complain(bench)

    def waiting_since() -> Any:
        [case] = casework.list_cases(bench.ws)
        return case.waiting_since

    assert waiting_since() == NOW + timedelta(minutes=5)
    casework.note(bench.ws, case_id, "hm", "ann", NOW + HOUR)
    assert waiting_since() == NOW + timedelta(minutes=5)
    casework.answer(bench.ws, case_id, "sorry", "ann", NOW + 2 * HOUR)
    assert waiting_since() is None
    hear(bench, said("replied", 40, "heard of after the answer"), at=LATER)
    hear(bench, said("replied", 200, "and now?"), at=LATER)
    assert waiting_since() == NOW + timedelta(minutes=40)


def test_a_case_is_opened_by_hand_once_and_again_soon_after_it_was_closed(bench: Bench) -> None:
    bench.shop.customers(1)
    case = casework.open_case(bench.ws, "c1", "called us", "ann", NOW)
    assert (case.customer_id, case.reason, case.channel, case.opened_at) == ("c1", "by_hand", "", NOW)
    with pytest.raises(CaseError, match=f"this customer has an open case: {case.id}"):
        casework.open_case(bench.ws, "c1", "called again", "ann", NOW)
    casework.close(bench.ws, case.id, "settled", "ann", NOW)
    again = casework.open_case(bench.ws, "c1", "called again", "ann", NOW + timedelta(days=14))
    assert (again.id, again.reopened) == (case.id, 1)
    [_] = casework.close_all(bench.ws, [case.id, case.id], "settled", "ann", NOW + timedelta(days=14))
    assert casework.open_case(bench.ws, "c1", "anew", "ann", NOW + timedelta(days=29)).id != case.id


@on_sqlite
def test_what_cannot_be_done_is_refused_and_changes_nothing(bench: Bench) -> None:
    bench.shop.customers(1)
    case = casework.open_case(bench.ws, "c1", "called us", "ann", NOW)
    with pytest.raises(CaseUnknown, match="there is no case 99"):
        casework.close(bench.ws, 99, "done", "ann", NOW)
    with pytest.raises(CaseUnknown, match="there is no such customer"):
        casework.open_case(bench.ws, "nobody\0", "called us", "ann", NOW)
    for words in ("", " \0 ", "x" * 10_001):
        with pytest.raises(CaseError, match="characters; expected 1 to 10,000"):
            casework.note(bench.ws, case.id, words, "ann", NOW)
    with pytest.raises(CaseUnknown, match="there is no case 99"):
        casework.close_all(bench.ws, [case.id, 99], "done", "ann", NOW)
    assert casework.list_cases(bench.ws) == [case]
    closed = casework.close(bench.ws, case.id, "done", "ann", NOW)
    for step in (casework.close, casework.answer):
        with pytest.raises(CaseError, match=f"case {case.id} is closed"):
            step(bench.ws, case.id, "more", "bob", LATER)
    assert casework.note(bench.ws, case.id, "a late thought", "bob", LATER) == closed


def test_a_strangers_case_shows_what_they_said(bench: Bench) -> None:
    hear(bench, said("mentioned", 3, "broken!", customer=None))
    [case] = casework.list_cases(bench.ws)
    file = casework.show_case(bench.ws, case.id, LATER)
    assert [(turn.what, turn.text) for turn in file.turns] == [("mentioned", "broken!"), ("opened", None)]


def test_pages_of_cases_go_on_after_an_id(bench: Bench) -> None:
    for minute in range(5):
        hear(bench, said("mentioned", minute, "broken", customer=None))
    ids = [case.id for case in casework.list_cases(bench.ws)]
    assert [case.id for case in casework.list_cases(bench.ws, after_id=ids[1], most=2)] == ids[2:4]


def test_conversations_are_by_customer_and_channel_the_latest_first(bench: Bench) -> None:
    bench.shop.customers(2)
    hear(
        bench,
        said("replied", 1, "hello"),
        said("replied", 9, "it is broken"),
        said("mentioned", 3, "nice shop", channel="telegram"),
        said("replied", 5, "thanks", customer=2),
        said("mentioned", 7, "who are you?", customer=None),
        said("mentioned", 8, "awful", customer=None),
        said("replied", 20, "I am away", customer=2, machine="auto_reply"),
        said("answered", 30, survey="nps", score=9),
    )
    found = casework.list_conversations(bench.ws, 10)
    assert [(one.customer_id, one.channel, one.said, one.last, len(one.cases)) for one in found] == [
        ("c1", "sms", 2, "it is broken", 1),
        (None, "sms", 1, "awful", 1),
        (None, "sms", 1, "who are you?", 0),
        ("c2", "sms", 1, "thanks", 0),
        ("c1", "telegram", 1, "nice shop", 0),
    ]
    assert found[:2] == casework.list_conversations(bench.ws, 2)
    turns = casework.conversation_of(bench.ws, "c1", LATER)
    assert [turn.text or turn.what for turn in turns] == ["hello", "nice shop", "it is broken", "answered"]


# --- making it up to them -------------------------------------------------------------------------


def test_the_recovery_campaign_is_started_once_for_new_cases(bench: Bench) -> None:
    started: list[tuple[str, str]] = []

    def start(campaign: str, key: str) -> bool:
        started.append((campaign, key))
        return True

    def recover(how: Callable[[str, str], bool] = start) -> str:
        return responses.recover(bench.ws, how, bench.clock.now)

    bench.shop.customers(2)
    case_id = complain(bench)
    assert recover() == "nothing to do"  # the project names no campaign
    cases = bench.ws.project.cases.model_copy(update={"recovery": "sorry"})
    bench.ws.project = bench.ws.project.model_copy(update={"cases": cases})
    assert recover(lambda campaign, key: False) == "not deployed"
    assert recover() == "started"
    assert recover() == "nothing to do"
    hear(bench, said("mentioned", words="broken", customer=None))
    hear(bench, said("replied", 8, "and now?"))
    assert recover() == "nothing to do"  # nobody whom we could write to; a case that was told of
    casework.close(bench.ws, case_id, "done", "ann", NOW)
    case_id = casework.open_case(bench.ws, "c2", "called us", "ann", NOW).id
    casework.close(bench.ws, case_id, "at once", "ann", NOW)
    assert recover() == "nothing to do"  # it is closed again
    casework.open_case(bench.ws, "c1", "called us", "ann", NOW)
    assert recover() == "started"
    assert [campaign for campaign, _ in started] == ["sorry", "sorry"]
    assert len({key for _, key in started}) == 2


# --- on the command line --------------------------------------------------------------------------


@pytest.fixture
def holdfast(bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Calls a command in the bench's project; its exit code and output."""
    root: Path = bench.ws.project.root
    (root / "holdfast.yaml").write_text("channels: {sms: {adapter: sandbox, kind: sms}}\n", encoding="utf-8")
    with bench.ws.database.write() as connection:
        connection.execute(text(f"CREATE TABLE {VERSION_TABLE} AS SELECT '{HEAD}' AS version_num"))
    url = bench.ws.database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", url)
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")

    def call(*arguments: str) -> tuple[int | str | None, str]:
        with pytest.raises(SystemExit) as end:
            main(["--project", str(root), *arguments])
        written = capsys.readouterr()
        return end.value.code, written.out + written.err

    return call


Call = Callable[..., tuple[int | str | None, str]]


@on_sqlite
def test_an_operator_works_on_a_case_from_the_command_line(bench: Bench, holdfast: Call) -> None:
    bench.shop.customers(2)
    assert holdfast("cases") == (0, "no open case\n")
    case_id = str(complain(bench))
    _, table = holdfast("cases")
    assert table.split("\n")[0].split() == [
        "id", "customer", "reason", "channel", "opened", "(UTC)", "waiting", "for",
    ]  # fmt: skip
    assert table.split("\n")[1].split()[:6] == [case_id, "c1", "reply", "sms", "2026-06-03", "12:05"]
    assert holdfast("cases", "answer", case_id, "--text", "sorry!") == (0, f"case {case_id}: answered\n")
    assert holdfast("cases", "note", case_id, "--text", "was a gift") == (0, f"case {case_id}: noted\n")
    assert holdfast("cases", "close", case_id, "--because", "sent") == (0, f"case {case_id}: closed\n")
    assert holdfast("cases", "close", case_id, "--because", "sent")[0] == 1
    assert holdfast("cases", "show", "99") == (
        1, "error: there is no case 99\nhint: look for it with: holdfast cases --all\n",
    )  # fmt: skip
    code, told = holdfast("cases", "open", "c2", "--because", "called us", "--json")
    assert (code, json.loads(told)["reason"]) == (0, "by_hand")
    code, told = holdfast("cases", "--all", "--json")
    assert [case["closed_at"] is None for case in json.loads(told)] == [False, True]
    _, shown = holdfast("cases", "show", case_id)
    assert "customer: replied by sms (case 1)\n    it is broken\n" in shown
    assert "  ann: closed (case" not in shown
    assert "  ann: answered\n    sorry!\n" in shown
    _, listed = holdfast("conversations")
    assert listed.split("\n")[1].split() == [
        "c1", "sms", "1", "2026-06-03", "12:05", "it", "is", "broken", case_id,
    ]  # fmt: skip
    assert "it is broken" in holdfast("conversations", "c1")[1]
    assert json.loads(holdfast("conversations", "c1", "--json")[1])[0]["what"] == "replied"


def test_what_strangers_write_does_not_command_a_terminal() -> None:
    assert _printable("a\x1b[31mb\r\u202ec\u200cd\n") == "a\ufffd[31mb\ufffd\ufffdc\u200cd\n"
    turn = Turn(NOW, "customer", "mentioned", "x", "one\x07\ntwo", case_id=3)
    assert list(_lines(turn)) == [
        "2026-06-03 12:00  customer: mentioned by x (case 3)", "    one\ufffd", "    two",
    ]  # fmt: skip
