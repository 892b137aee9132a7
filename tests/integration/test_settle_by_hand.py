"""Doubt that a person ends, and the record of it; and the command that asks them."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, insert, literal, select, update

from holdfast.channel import Accepted, InDoubt, Message, Outcome
from holdfast.cli import main
from holdfast.delivery import dispatch_chunk, enroll, open_run, resume_runs, settle, stop_runs
from holdfast.delivery.by_hand import choose, count_doubt, settle_by_hand
from holdfast.errors import RunError
from holdfast.responses import collect
from holdfast.store import runs
from holdfast.store.decisions import Decision, list_decisions
from holdfast.store.doubt import Chosen, resend
from holdfast.store.doubt import InDoubt as Doubt
from holdfast.tables import from_microseconds, messages, posts
from holdfast.wiring import open_workspace
from tests.integration.conftest import NOW, Bench

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
LEASE = timedelta(minutes=5)


def doubtful(batch: Sequence[Message]) -> list[Outcome]:
    return [InDoubt() for _ in batch]


@pytest.fixture
def stuck(bench: Bench) -> Bench:
    """Three messages in doubt, which the campaign would hold for ever."""
    bench.shop.customers(3)
    bench.sms.script = doubtful
    bench.run(bench.campaign())
    bench.sms.script = lambda batch: [Accepted() for _ in batch]
    return bench


def expire_leases(bench: Bench) -> None:
    with bench.ws.database.write() as connection:
        connection.execute(
            update(messages)
            .where(messages.c.lease_owner.is_not(None))
            .values(lease_expires_at=from_microseconds(1))
        )


def run_states(bench: Bench) -> dict[str, str]:
    with bench.ws.database.read() as connection:
        return {run.occurrence: run.state for run in runs.list_runs(connection)}


def decided(bench: Bench) -> list[Decision]:
    with bench.ws.database.read() as connection:
        return list_decisions(connection, "hello")


def settled(bench: Bench, how: Any, occurrence: str | None = None, channel: str | None = None) -> Doubt:
    chosen = choose(bench.ws, "hello", occurrence, channel)
    return settle_by_hand(bench.ws, chosen, how, who="ann", why="asked them", now=bench.clock.now)


def test_what_somebody_says_was_taken_is_accepted_and_recorded(stuck: Bench) -> None:
    assert settled(stuck, "accepted") == Doubt(3, 0)
    assert stuck.states() == {("accepted", "settled_by_hand"): 3}
    assert decided(stuck) == [Decision("hello", None, "settled", "accepted", 3, "ann", "asked them", NOW)]
    assert settled(stuck, "accepted") == settled(stuck, "resend") == Doubt(0, 0)
    assert len(decided(stuck)) == 1


def test_what_is_to_be_sent_again_goes_out_once_more_and_its_run_goes_on(stuck: Bench) -> None:
    assert run_states(stuck) == {"k1": "done"}
    stuck.clock.now = NOW + LEASE
    assert settled(stuck, "resend") == Doubt(3, 0)
    assert stuck.states() == {("planned", "resent"): 3}
    assert run_states(stuck) == {"k1": "running"}
    stuck.dispatch()
    assert len(stuck.sms.addresses) == 6
    assert {row.state for row in stuck.messages()} == {"accepted"}
    assert run_states(stuck) == {"k1": "done"}


@pytest.mark.parametrize("left", [messages, posts])
def test_what_was_planned_again_by_somebody_who_was_broken_off_is_found(stuck: Bench, left: Table) -> None:
    [run] = {row.run_id for row in stuck.messages()}
    with stuck.ws.database.write() as connection:
        if left is posts:
            post = {"run_id": run, "step": "shout", "channel": "wall", "kind": "wall", "attempts": 1}
            connection.execute(insert(posts).values(**post, state="in_doubt", due_at=NOW, sent_at=NOW))
        connection.execute(update(messages).where(literal(left is posts)).values(state="accepted"))
        resend(connection, Chosen("hello", sent_until=NOW), NOW)
    assert run_states(stuck) == {"k1": "done"}
    collect(stuck.ws, stuck.clock.advance(hours=1))
    assert run_states(stuck) == {"k1": "running"}


def test_nothing_is_sent_again_whose_call_may_still_be_under_way(stuck: Bench) -> None:
    stuck.clock.now = NOW + LEASE - timedelta(seconds=1)
    chosen = choose(stuck.ws, "hello")
    assert count_doubt(stuck.ws, chosen, "resend", stuck.clock.now) == (Doubt(0, 0), 3)
    assert count_doubt(stuck.ws, chosen, "accepted", stuck.clock.now) == (Doubt(3, 0), 0)
    assert settled(stuck, "resend") == Doubt(0, 0)
    assert stuck.states() == {("in_doubt", "no_answer"): 3}


def test_what_came_into_doubt_after_they_were_asked_is_not_what_they_decided_about(stuck: Bench) -> None:
    """A question stands on a terminal for an hour, and the campaign goes on."""
    chosen, asked_at = choose(stuck.ws, "hello"), stuck.clock.now
    stuck.campaign(re_entry="always")
    stuck.clock.advance(hours=1)
    stuck.sms.script = doubtful
    later = stuck.run(key="k2")
    told = settle_by_hand(stuck.ws, chosen, "accepted", who="ann", why="asked them", now=asked_at)
    assert told == Doubt(3, 0)
    assert {row.run_id for row in stuck.messages(state="in_doubt")} == {later}


def test_an_outcome_that_comes_late_is_still_the_truth(stuck: Bench) -> None:
    """The call comes back after somebody had the message planned again: then it does not go out twice."""

    def slow(batch: Sequence[Message]) -> list[Outcome]:
        expire_leases(stuck)
        settle(stuck.ws, "hello", stuck.clock.advance(minutes=10))
        assert settled(stuck, "resend", "k2") == Doubt(3, 0)
        return [Accepted() for _ in batch]

    stuck.sms.script = slow
    stuck.campaign(re_entry="always")
    stuck.clock.advance(hours=1)
    run_id = stuck.start(key="k2")
    dispatch_chunk(stuck.ws, "hello", "sms", "slow", stuck.clock)
    assert {row.state for row in stuck.messages(run_id=run_id)} == {"accepted"}


def test_a_run_that_was_stopped_keeps_what_is_to_be_sent_again_until_it_is_resumed(bench: Bench) -> None:
    bench.shop.customers(20)

    def then_stop(batch: Sequence[Message]) -> list[Outcome]:
        stop_runs(bench.ws, "hello", "stopped", NOW)
        return doubtful(batch)

    bench.sms.script = then_stop
    bench.run(bench.campaign())
    bench.sms.script = lambda batch: [Accepted() for _ in batch]
    bench.clock.now = NOW + LEASE
    assert settled(bench, "resend") == Doubt(10, 0)
    bench.dispatch()
    assert run_states(bench) == {"k1": "stopped"}
    assert {row.state for row in bench.messages()} == {"planned"}
    resume_runs(bench.ws, "hello", bench.clock.now)
    bench.dispatch()
    assert {row.state for row in bench.messages()} == {"accepted"}


def test_one_occurrence_or_one_channel_can_be_decided_about_alone(stuck: Bench) -> None:
    stuck.campaign(re_entry="always")
    stuck.clock.advance(hours=1)
    stuck.sms.script = doubtful
    second = stuck.run(key="k2")
    assert settled(stuck, "accepted", channel="telegram") == Doubt(0, 0)
    assert settled(stuck, "accepted", "k2", "sms") == Doubt(3, 0)
    assert {row.run_id for row in stuck.messages(state="accepted")} == {second}
    [decision] = decided(stuck)
    assert (decision.occurrence, decision.detail) == ("k2", "accepted on sms")


@on_sqlite
def test_what_there_is_not_is_named(stuck: Bench) -> None:
    with pytest.raises(RunError, match="hello has no occurrence 'june'"):
        choose(stuck.ws, "hello", "june")
    with pytest.raises(RunError, match="there is no channel 'mail'"):
        choose(stuck.ws, "hello", channel="mail")


def test_posts_in_doubt_are_settled_too_and_what_they_said_is_kept(stuck: Bench) -> None:
    [run] = [row.run_id for row in stuck.messages()[:1]]
    with stuck.ws.database.write() as connection:
        connection.execute(
            insert(posts),
            [
                {"run_id": run, "step": step, "channel": "wall", "kind": "wall", "state": "in_doubt",
                 "due_at": NOW, "sent_at": NOW, "text": "Hello", "attempts": 1}
                for step in ("one", "two")
            ],
        )  # fmt: skip
    stuck.clock.now = NOW + LEASE
    assert settled(stuck, "resend") == Doubt(3, 2)
    with stuck.ws.database.read() as connection:
        found = connection.execute(select(posts.c.state, posts.c.text, posts.c.sent_at)).all()
    assert [tuple(row) for row in found] == [("planned", "Hello", NOW)] * 2
    assert run_states(stuck) == {"k1": "running"}


# --- the command ------------------------------------------------------------------------------------

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, the working directory, with two messages that went out an hour ago and are in doubt."""
    for variable in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    for folder in ("campaigns", "templates"):
        (tmp_path / folder).mkdir()
    (tmp_path / "holdfast.yaml").write_text("channels: {sms: {adapter: sandbox, kind: sms}}\n")
    (tmp_path / "campaigns" / "hello.yaml").write_text(
        "campaign: hello\naudience: {country: DE}\nsteps: [{id: first, channels: [sms], template: note}]\n"
    )
    (tmp_path / "templates" / "note.sms.txt").write_text("{% block body %}Hello{% endblock %}")
    (tmp_path / "customers.csv").write_text(
        "customer_id,phone,country,consent.sms\na,+4915112345678,DE,yes\nb,+4915112345679,DE,yes\n"
    )
    with pytest.raises(SystemExit, match="0"):
        main(["import", "customers", "customers.csv"])
    ws, now = open_workspace(tmp_path, str), datetime.now(UTC)
    enroll(ws, open_run(ws, "hello", "june", now, now), now)
    with ws.database.write() as connection:
        hour_ago = now - timedelta(hours=1)
        connection.execute(update(messages).values(state="in_doubt", reason="no_answer", sent_at=hour_ago))
    ws.close()
    return tmp_path


@pytest.fixture
def holdfast(project: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Calls the program as its console script does: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        return int(end.value.code or 0), *capsys.readouterr()

    return call


def test_the_command_settles_and_status_shows_who_decided_what_and_why(holdfast: Command) -> None:
    code, told, hint = holdfast("status", "hello")
    assert (code, hint) == (0, "doubt can be ended with: holdfast settle hello --as accepted|resend\n")
    assert "Decided" not in told
    because = ("--because", "none was on their list")
    assert holdfast("settle", "hello", "--as", "resend", *because) == (
        0,
        "planned again: 2 messages\n",
        "send now with: holdfast run hello --resume\n",
    )
    code, told, hint = holdfast("status", "hello")
    assert (code, hint) == (0, "")
    assert re.search(rf"all +settled: resend +2 +{getpass.getuser()} +none was on their list", told)
    [decision] = json.loads(holdfast("status", "hello", "--json")[1])["decisions"]
    assert (decision["what"], decision["detail"], decision["messages"]) == ("settled", "resend", 2)


def test_the_command_says_so_where_nothing_is_in_doubt(holdfast: Command) -> None:
    assert holdfast("settle", "hello", "--as", "accepted") == (0, "taken for accepted: 2 messages\n", "")
    assert holdfast("settle", "hello", "--as", "accepted") == (0, "", "nothing is in doubt\n")
    code, told, _ = holdfast("settle", "hello", "--as", "resend", "--json")
    nothing = {"messages": 0, "posts": 0, "under_way": 0}
    assert (code, json.loads(told)) == (0, {"campaign": "hello", "settled_as": "resend", **nothing})


def test_the_command_without_an_end_is_wrong_use(holdfast: Command) -> None:
    assert holdfast("settle", "hello")[0] == holdfast("settle", "hello", "--as", "lost")[0] == 2


def test_on_a_terminal_the_command_asks_first_and_takes_no_for_an_answer(project: Path) -> None:
    keyboard, terminal = os.openpty()
    with open(keyboard, "w"):
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.cli", "settle", "hello", "--as", "accepted"],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(terminal)
        os.write(keyboard, b"n\n")
        _, told = process.communicate(timeout=60)
    assert "take 2 messages for accepted? What was not taken is never sent then [y/N]" in told
    assert process.returncode == 1
    ws = open_workspace(project, str)
    with ws.database.read() as connection:
        assert set(connection.scalars(select(messages.c.state))) == {"in_doubt"}
    ws.close()
