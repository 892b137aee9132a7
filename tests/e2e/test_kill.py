"""SIGKILL, at each named point of a message's way and at random moments: nothing twice, nothing lost.

HOLDFAST_KILLS=200 makes each test that kills do it so many times, instead of the usual number.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from holdfast.responses import collect
from holdfast.store.database import Database
from holdfast.web import create_app
from tests.e2e.kill.driver import POINTS, Life, open_channel, open_workspace
from tests.e2e.kill.lives import (
    IN_FLIGHT,
    RANDOM,
    Lives,
    Process,
    Sink,
    everyone_is_enrolled_once_a_run_and_written_to,
    ledger_ids,
    location,
    populate,
)
from tests.servers.web_server import serving

KILLS = int(os.environ.get("HOLDFAST_KILLS", "8"))
CUSTOMERS = 2500
FEW = 600

pytestmark = pytest.mark.timeout(300 + 10 * KILLS)


def lives_of(database: Database, sink: Sink, root: Path, provider: str) -> Lives:
    life = Life(root, location(database), provider=provider, **sink.address)
    return Lives(life, database, sink, Random(20_260_603))  # noqa: S311


def compare(lives: Lives) -> tuple[set[int], set[int]]:
    """What arrived with the ledger, after a clean end: (ids at the provider, ids in doubt)."""
    taken = lives.sink.taken
    assert len(set(taken)) == len(taken), "a message went out twice"
    arrived, found = set(taken), ledger_ids(lives.database)
    doubtful, accepted = found.pop(("in_doubt", "sender_lost")), found.pop(("accepted", None))
    left = {key: len(ids) for key, ids in found.items() if key[0] != "rejected"}
    assert left == {}, "something is left after a clean run"
    assert arrived.isdisjoint(*found.values())
    assert accepted <= arrived <= accepted | doubtful
    assert len(doubtful) <= lives.dead * IN_FLIGHT
    everyone_is_enrolled_once_a_run_and_written_to(lives.database)
    assert doubtful & arrived, "no kill came between the provider's taking and the ledger's writing"
    assert doubtful - arrived, "no kill came between the ledger's writing and the provider's taking"
    return arrived, doubtful


def everything_was_sent_once(lives: Lives) -> None:
    taken, found = lives.sink.taken, ledger_ids(lives.database)
    assert len(set(taken)) == len(taken), "a message went out twice"
    assert {state for state, _ in found} == {"accepted", "rejected"}
    assert found["accepted", None] == set(taken)


def test_senders_killed_at_each_point_repeat_nothing_and_lose_nothing(
    database: Database, tmp_path: Path
) -> None:
    populate(database, tmp_path, "sms", FEW)
    moments = (*POINTS, *[RANDOM] * 5)
    with Sink.serving("batch", tmp_path / "journal") as sink:
        lives = lives_of(database, sink, tmp_path, "batch")
        for number in range(max(KILLS, len(moments))):
            lives.kill(moments[number % len(moments)])
        lives.finish()
        assert [moment for moment in moments if not lives.killed_at[moment]] == [], "never killed there"
        compare(lives)
        # Who can ask the provider ends the doubt: what it has is accepted, what it never saw goes out now.
        lives.finish(lookup=True)
        everything_was_sent_once(lives)


ONE = ("before the call", "mid-response", "before settle", "mid-bisect", RANDOM, RANDOM, RANDOM)
TWO = (RANDOM, "mid-response", RANDOM, "before settle", RANDOM, "before the call", RANDOM)


# Each database and each provider; how they are crossed is for the long tests too.
PAIRS = [
    ("sqlite", "sendgrid"),
    ("postgresql", "smtp"),
    pytest.param("sqlite", "smtp", marks=pytest.mark.long),
    pytest.param("postgresql", "sendgrid", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("database", "provider"), PAIRS, indirect=["database"])
def test_workers_killed_alone_and_beside_another_repeat_nothing_and_their_doubt_ends(
    database: Database, tmp_path: Path, provider: str
) -> None:
    populate(database, tmp_path, "email", CUSTOMERS)
    # A mail server takes its letters one by one: no batch is refused whole.
    ways = {"sendgrid": ONE, "smtp": tuple(point for point in ONE if point != "mid-bisect")}
    with Sink.serving(provider, tmp_path / "journal") as sink:
        lives = lives_of(database, sink, tmp_path, provider)
        for number in range(KILLS // 2):
            lives.kill(ways[provider][number % len(ways[provider])])
        for number in range(KILLS // 2):
            lives.kill(TWO[number % len(TWO)], two=True)
        lives.finish()
        arrived, doubtful = compare(lives)

        # What the provider tells of the messages it has ends the doubt about them, and about no others.
        replay(lives, doubtful if provider == "smtp" else arrived)
        found = ledger_ids(database)
        assert found["accepted", None] == arrived
        assert found["in_doubt", "sender_lost"] == doubtful - arrived

        # These never went out: by the policy they do now.
        lives.finish(resend=True)
        everything_was_sent_once(lives)


def replay(lives: Lives, ids: set[int]) -> None:
    """The provider tells the web app, and that is collected."""
    ws = open_workspace(lives.life, lambda point: None, open_channel(lives.life))
    with serving(create_app(ws, lambda: datetime.now(UTC), lambda name: "")) as web:
        lives.sink.replay(web, ids)
    collected = collect(ws, datetime.now(UTC))
    assert (collected.unreadable, collected.unknown, collected.problems) == (0, 0, ())
    ws.close()


def test_two_processes_that_run_the_same_occurrence_at_once_send_nothing_twice(
    database: Database, tmp_path: Path
) -> None:
    populate(database, tmp_path, "sms", FEW)
    with Sink.serving("batch", tmp_path / "journal") as sink:
        lives = lives_of(database, sink, tmp_path, "batch")
        both = [Process(lives.life), Process(lives.life)]
        for process in both:
            process.finish()
        # Who came to the end first saw the other's messages still on their way.
        lives.finish()
        everything_was_sent_once(lives)
    everyone_is_enrolled_once_a_run_and_written_to(database)
