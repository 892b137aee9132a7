"""The inbox, and a round of collecting: letters, polls, numbers of posts, doubt."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select
from sqlalchemy.exc import OperationalError

from holdfast.channel import InDoubt, Outcome, Polled, PostNumbers, Response, ResponseKind
from holdfast.cli import main
from holdfast.errors import ChannelUnavailable
from holdfast.responses import Collected, collect
from holdfast.settings import Project
from holdfast.store import inbox
from holdfast.store.cursors import read_cursor, write_cursor
from holdfast.store.database import Database
from holdfast.tables import inbox as letters
from holdfast.tables import metadata, posts, responses, to_microseconds
from holdfast.wiring import open_workspace
from tests.fakes.scripted_channel import ScriptedChannel, ScriptedSettings
from tests.integration.conftest import NOW, Bench

LATER = NOW + timedelta(hours=2)
# What is no matter of SQL is tried on one database.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Answering(ScriptedChannel):
    """A scripted channel that is called, asked, and publishes: `news` are the answers of the next poll."""

    def __init__(self) -> None:
        super().__init__("answering", ScriptedSettings())
        self.news: list[Response] = []
        self.asked: list[str] = []
        self.numbers: dict[str, PostNumbers] = {}
        self.is_down = False

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        pass

    def parse(self, body: bytes) -> list[Response]:
        return [
            Response(ResponseKind(kind), name, NOW + timedelta(seconds=at), key=key)
            for kind, name, at, key in json.loads(body)
        ]

    def poll(self, cursor: str) -> Polled:
        if self.is_down:
            raise ChannelUnavailable("the network does not answer")
        self.asked.append(cursor)
        return Polled(self.news, f"after {cursor or 'the start'}")

    def publish(self, text: str, key: str = "") -> Outcome:
        return InDoubt()

    def find_post(self, text: str, since: datetime) -> str | None:
        return None

    def measure(self, provider_ids: Sequence[str]) -> dict[str, PostNumbers]:
        return {id_: self.numbers[id_] for id_ in provider_ids if id_ in self.numbers}

    @classmethod
    def problem_with(cls, text: str, settings: object) -> str | None:
        return None


def answering(bench: Bench) -> Answering:
    """The bench's channel `answering`, new in its project."""
    channel = Answering()
    bench.channels["answering"] = channel
    names = [*bench.ws.project.channels, "answering"]
    channels = {name: {"adapter": "scripted"} for name in names}
    bench.ws.project = Project.model_validate({"root": bench.ws.project.root, "channels": channels})
    return channel


def body(*events: tuple[str, str, int, str]) -> bytes:
    return json.dumps(events).encode()


def clicked(message_id: int, event: str, **fields: Any) -> bytes:
    said = {"kind": "clicked", "message": message_id, "at": to_microseconds(NOW), "url": "https://a.example",
            "machine": "", "event": event, **fields}  # fmt: skip
    return json.dumps(said).encode()


def counted(database: Database, table: Any) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def key_of(bench: Bench, number: int = 0) -> str:
    return bench.ws.signer.sign("message", bench.messages()[number].id)


# --- letters --------------------------------------------------------------------------------------


def test_the_same_bytes_are_kept_once_a_channel_and_those_of_our_links_always(database: Database) -> None:
    kept = [inbox.Inbox(database).put(channel, b"[]", NOW) for channel in ("a", "a", "b", None, None)]
    assert kept == [True, False, True, True, True]
    assert counted(database, letters) == 4


@on_sqlite
def test_letters_that_come_during_a_write_share_the_next_one(database: Database) -> None:
    shared, commits = inbox.Inbox(database), []
    bodies = [b"first", b"second", b"third", b"fourth", b"third"]
    with ThreadPoolExecutor(len(bodies)) as pool:
        with database.write():
            event.listen(database.engine, "commit", commits.append)
            kept = []
            for place, body in enumerate(bodies, start=1):
                kept.append(pool.submit(shared.put, "a", body, NOW))
                while len(shared._waiting) < place:
                    os.sched_yield()
        assert [each.result() for each in kept] == [True, True, True, True, False]
    # Ours; and, of those who shared a write with one that was there already, one each.
    assert len(commits) == 1 + 4
    assert counted(database, letters) == 4


@on_sqlite
def test_a_database_that_takes_nothing_says_so_to_each_who_waits(database: Database) -> None:
    shared = inbox.Inbox(database)
    metadata.tables["inbox"].drop(database.engine)
    with ThreadPoolExecutor(3) as pool:
        for kept in [pool.submit(shared.put, "a", b"%d" % number, NOW) for number in range(3)]:
            with pytest.raises(OperationalError):
                kept.result()


def test_many_that_put_at_once_lose_nothing(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda n: inbox.Inbox(database).put("a", b"%d" % (n % 40), NOW), range(80)))
    assert sum(kept) == counted(database, letters) == 40


def test_letters_change_the_messages_they_are_of_and_are_read_once(bench: Bench) -> None:
    answering(bench)
    bench.shop.customers(2)
    bench.run(bench.campaign())
    first, second = bench.messages()
    events = [("delivered", "e1", 1, key_of(bench)), ("opened", "e2", 9, key_of(bench))]
    inbox.Inbox(bench.ws.database).put("answering", body(*events), LATER)
    inbox.Inbox(bench.ws.database).put(None, clicked(second.id, "c1"), NOW)
    inbox.Inbox(bench.ws.database).put(None, clicked(second.id, "c2", machine="scanner"), NOW)
    told: list[tuple[int, int]] = []
    collected = collect(bench.ws, LATER, lambda done, total: told.append((done, total)))
    assert (collected.letters, collected.new, collected.unknown, collected.unreadable) == (3, 4, 0, 0)
    assert told == [(3, 3)]
    first, second = bench.messages()
    assert first.opened_at == NOW + timedelta(seconds=9)
    assert second.clicked_at == second.machine_clicked_at == NOW
    assert collect(bench.ws, LATER).letters == 0


@on_sqlite
def test_what_cannot_be_read_stays_with_the_reason_and_holds_nothing_up(bench: Bench) -> None:
    answering(bench)
    for channel, text in [
        ("answering", b"not json"),
        ("sms", b"[]"),
        ("gone", b"[]"),
        (None, b'{"kind": "clicked"}'),
        (None, clicked(1, "c", kind="danced")),
        ("answering", body(("opened", "e1", 1, ""))),
    ]:
        inbox.Inbox(bench.ws.database).put(channel, text, NOW)
    collected = collect(bench.ws, LATER)
    assert (collected.letters, collected.unreadable, collected.new, collected.unknown) == (6, 5, 1, 1)
    with bench.ws.database.read() as connection:
        problems = list(connection.scalars(select(letters.c.problem).order_by(letters.c.id)))
    assert problems[1] == problems[2] == "there is no channel of this name that takes answers"
    assert problems[3] == problems[4] == "not what one of our own links writes down"
    assert problems[5] is None


@on_sqlite
def test_letters_of_a_channel_that_cannot_be_opened_wait(bench: Bench) -> None:
    answering(bench)
    opened = bench.ws.channels
    bench.ws.channels = _Shut(opened, "answering")
    inbox.Inbox(bench.ws.database).put("answering", body(("opened", "e1", 1, "")), NOW)
    inbox.Inbox(bench.ws.database).put(None, clicked(1, "c1"), NOW)
    collected = collect(bench.ws, LATER)
    assert collected.letters == 1
    assert collected.problems == ("answering: no secret",)
    bench.ws.channels = opened
    assert collect(bench.ws, LATER).letters == 1


class _Shut:
    """The project's channels, one of which cannot be opened."""

    def __init__(self, channels: Any, name: str) -> None:
        self.channels, self.name = channels, name

    def describe(self, name: str) -> Any:
        return self.channels.describe(name)

    def open(self, name: str) -> Any:
        if name == self.name:
            raise ChannelUnavailable("no secret")
        return self.channels.open(name)


def test_two_that_collect_at_once_count_every_answer_once(bench: Bench) -> None:
    answering(bench)
    bench.shop.customers(50)
    bench.run(bench.campaign())
    for number in range(50):
        key = key_of(bench, number) if number < 5 else bench.ws.signer.sign("message", number + 1)
        inbox.Inbox(bench.ws.database).put("answering", body(("delivered", f"e{number}", 1, key)), NOW)
    with ThreadPoolExecutor(2) as pool:
        rounds = list(pool.map(lambda _: collect(bench.ws, LATER), range(2)))
    assert sum(round_.new for round_ in rounds) == counted(bench.ws.database, responses) == 50
    assert all(row.delivered_at for row in bench.messages())


# --- channels that are asked ----------------------------------------------------------------------


@on_sqlite
def test_a_channel_is_asked_from_where_it_was_read_to(bench: Bench) -> None:
    channel = answering(bench)
    bench.shop.customers(1)
    bench.run(bench.campaign())
    channel.news = [Response(ResponseKind.REPLIED, "r1", NOW, address="sms1", text="hello?")]
    assert collect(bench.ws, LATER).new == 1
    assert collect(bench.ws, LATER).repeated == 1
    assert channel.asked == ["", "after the start"]
    with bench.ws.database.read() as connection:
        assert read_cursor(connection, "poll:answering") == "after after the start"


@on_sqlite
def test_a_channel_that_is_down_keeps_no_other_from_being_read(bench: Bench) -> None:
    channel = answering(bench)
    channel.is_down = True
    inbox.Inbox(bench.ws.database).put("answering", body(("opened", "e1", 1, "")), NOW)
    collected = collect(bench.ws, LATER)
    assert collected.new == 1
    assert collected.problems == ("answering: the network does not answer",)


@on_sqlite
def test_an_adapter_that_breaks_when_it_is_asked_keeps_nothing_else_from_being_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = answering(bench)
    bench.shop.customers(1)
    bench.run(bench.campaign(goal={"event": "order", "within": "14d"}))
    bench.shop.order(1, NOW + timedelta(hours=1))

    def broken(cursor: str) -> Polled:
        raise KeyError("ann@example.com")

    monkeypatch.setattr(channel, "poll", broken)
    collected = collect(bench.ws, LATER)
    assert collected.conversions == 1
    assert collected.problems == ("answering: the adapter failed (KeyError)",)


def test_numbers_of_the_last_months_posts_are_read(bench: Bench) -> None:
    channel = answering(bench)
    run_id = bench.start(bench.campaign())
    post = {"run_id": run_id, "step": "", "channel": "answering", "kind": "sms", "state": "accepted",
            "due_at": NOW}  # fmt: skip
    with bench.ws.database.write() as connection:
        connection.execute(
            insert(posts),
            [
                {**post, "step": "new", "provider_id": "1", "sent_at": NOW},
                {**post, "step": "old", "provider_id": "2", "sent_at": NOW - timedelta(days=40)},
            ],
        )
    channel.numbers = {"1": PostNumbers(impressions=900, likes=7), "2": PostNumbers(likes=1)}
    assert collect(bench.ws, LATER).posts == 1
    with bench.ws.database.read() as connection:
        new, old = connection.execute(select(posts).order_by(posts.c.step)).all()
    assert (new.impressions, new.likes, new.replies, new.measured_at) == (900, 7, None, LATER)
    assert old.measured_at is None


# --- what follows ---------------------------------------------------------------------------------


def test_doubt_is_settled_by_answers_and_by_asking(bench: Bench) -> None:
    answering(bench)
    for name in ("sms", "checked"):
        bench.channels[name].script = lambda batch: [InDoubt() for _ in batch]
        bench.channels[name].taken.clear()
    bench.shop.customers(2)
    bench.run(bench.campaign())
    checked = [{"id": "first", "channels": ["checked"], "template": "note"}]
    bench.run(bench.campaign("other", steps=checked), key="other")
    # The channel has the first customer's message after all, though the call for it broke.
    bench.channels["checked"].taken.append(
        bench.ws.signer.sign("message", bench.messages(channel="checked")[0].id)
    )
    inbox.Inbox(bench.ws.database).put("answering", body(("accepted", "e1", 1, key_of(bench))), NOW)
    collected = collect(bench.ws, bench.clock.advance(hours=1))
    assert collected == replace(Collected(), letters=1, new=1, settled=3, in_doubt=1)
    assert bench.states(channel="checked") == {("accepted", None): 1, ("planned", None): 1}
    assert bench.states(channel="sms") == {("accepted", None): 1, ("in_doubt", "no_answer"): 1}


def test_a_cursor_is_empty_at_first_and_then_what_was_written(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        assert read_cursor(connection, "source") == ""
        write_cursor(connection, "source", "7", NOW)
        write_cursor(connection, "source", "9", LATER)
        assert read_cursor(connection, "source") == "9"


# --- the command ----------------------------------------------------------------------------------


def test_the_command_says_what_came_and_fails_for_what_could_not_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "holdfast.yaml").write_text("channels: {email: {adapter: sandbox}}\n")
    with closing(open_workspace(tmp_path, lambda name: "")) as ws:
        inbox.Inbox(ws.database).put(None, clicked(7, "c1"), NOW)
        inbox.Inbox(ws.database).put("gone", b"[]", NOW)
        unheard_of = [
            {"id": f"e{n}", "key": "7.x", "event": "levitated", "at": NOW.isoformat()} for n in (1, 2)
        ]
        inbox.Inbox(ws.database).put("email", json.dumps(unheard_of).encode(), NOW)
    assert _exit_code("--project", str(tmp_path), "collect") == 1
    assert capsys.readouterr().out.splitlines()[:3] == [
        "3 letters read, 1 of them unreadable",
        "1 new answers, 1 of unknown messages; 0 repeated",
        "2 events that change nothing: 2 email: levitated",
    ]
    assert _exit_code("--project", str(tmp_path), "collect", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["letters"], told["left_out"]) == (0, {})


def _exit_code(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code
