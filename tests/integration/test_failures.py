"""What fails on the way of a message: each failure says what is wrong, and loses or repeats nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Text, cast, delete, event, text, update
from sqlalchemy.exc import OperationalError

from channels.smtp import SmtpChannel, SmtpSettings
from holdfast.channel import Accepted, Message, Outcome
from holdfast.delivery import dispatch_chunk, due, next_due, open_run, settle
from holdfast.errors import DatabaseUnreachable, SettingsError
from holdfast.responses import collect
from holdfast.store import doubt, inbox, ledger, runs
from holdfast.store.database import Database
from holdfast.tables import addresses, from_microseconds, messages, metadata
from holdfast.wiring import ProjectChannels
from tests.integration.conftest import NOW, Bench, Clock, Shop, make_bench
from tests.integration.test_sendgrid import opened, shop_by_email
from tests.servers import stand_in
from tests.servers.sendgrid_server import SendgridServer
from tests.servers.smtp_server import Act, SmtpServer

PASSWORD = "s3cret-Wort"


def said(error: BaseException) -> str:
    """Everything that a log could show of an error, what it came from included."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        parts.append(f"{current!s} {current!r} {getattr(current, 'hint', '')}")
        current = current.__cause__ or current.__context__
    return "\n".join(parts)


def run_state(bench: Bench) -> str:
    with bench.ws.database.read() as connection:
        (run,) = runs.list_runs(connection, "hello")
    return run.state


def expire_leases(bench: Bench) -> None:
    with bench.ws.database.write() as connection:
        connection.execute(
            update(messages)
            .where(messages.c.lease_owner.is_not(None))
            .values(lease_expires_at=from_microseconds(1))
        )


# --- the database ---------------------------------------------------------------------------------


def test_a_database_that_does_not_answer_is_named_without_its_password(bench: Bench) -> None:
    bench.campaign()
    nobody = Database(f"postgresql://acme:{PASSWORD}@127.0.0.1:1/shop")
    with pytest.raises(DatabaseUnreachable) as raised:
        open_run(replace(bench.ws, database=nobody), "hello", "k1", NOW, NOW)
    assert "postgresql+psycopg://acme:***@127.0.0.1:1/shop does not answer" in str(raised.value)
    assert PASSWORD not in said(raised.value)


def test_a_database_file_that_cannot_be_opened_is_named(bench: Bench, tmp_path: Path) -> None:
    bench.campaign()
    with pytest.raises(DatabaseUnreachable, match=r"the database at sqlite:///.* does not answer"):
        open_run(replace(bench.ws, database=Database(tmp_path)), "hello", "k1", NOW, NOW)


@pytest.fixture
def postgres(fresh_postgres_url: str, clock: Clock, tmp_path: Path) -> Iterator[Bench]:
    database = Database(fresh_postgres_url)
    metadata.create_all(database.engine)
    yield make_bench(database, Shop(database, clock), clock, tmp_path)
    database.close()


@dataclass
class Outage:
    """Cuts every session of the bench's database off, from a session beside it."""

    bench: Bench
    admin: Database

    def begin(self, *, refuse: bool) -> None:
        """Ends all sessions; with `refuse` there will be no new ones either."""
        name = self.bench.ws.database.engine.url.database
        self._say(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {'false' if refuse else 'true'}")
        self._say(f"SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608

    def end(self) -> None:
        self._say(f"ALTER DATABASE {self.bench.ws.database.engine.url.database} ALLOW_CONNECTIONS true")

    def freeze(self, seconds: float) -> threading.Timer:
        """Stops the server's processes in the middle of what they do; they go on after so long."""
        with self.admin.engine.connect() as connection:
            pids = list(connection.scalars(text("SELECT pid FROM pg_stat_activity WHERE pid IS NOT NULL")))

        def send_all(what: signal.Signals) -> None:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, what)

        thaw = threading.Timer(seconds, send_all, [signal.SIGCONT])
        thaw.start()
        send_all(signal.SIGSTOP)
        return thaw

    def _say(self, statement: str) -> None:
        with self.admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))


@pytest.fixture
def outage(postgres: Bench, postgres_url: str) -> Iterator[Outage]:
    admin = Database(postgres_url)
    found = Outage(postgres, admin)
    yield found
    found.end()
    admin.close()


def test_a_database_that_restarts_during_a_call_costs_nothing(postgres: Bench, outage: Outage) -> None:
    postgres.shop.customers(30)
    postgres.campaign()

    def restarted_meanwhile(batch: Sequence[Message]) -> list[Outcome]:
        outage.begin(refuse=False)
        return [Accepted() for _ in batch]

    postgres.sms.script = restarted_meanwhile
    postgres.run()
    assert postgres.states() == {("accepted", None): 30}
    assert len(set(postgres.sms.taken)) == len(postgres.sms.taken) == 30


def test_a_database_that_goes_away_during_a_call_leaves_the_call_in_doubt_and_the_rest_planned(
    postgres: Bench, outage: Outage
) -> None:
    postgres.shop.customers(30)
    postgres.campaign()
    postgres.start()

    def gone_meanwhile(batch: Sequence[Message]) -> list[Outcome]:
        outage.begin(refuse=True)
        return [Accepted() for _ in batch]

    postgres.sms.script = gone_meanwhile
    with pytest.raises(DatabaseUnreachable, match="does not answer"):
        postgres.dispatch()
    outage.end()
    postgres.sms.script = lambda batch: [Accepted() for _ in batch]
    expire_leases(postgres)
    settle(postgres.ws, "hello", NOW)
    assert postgres.states() == {("in_doubt", "sender_lost"): 10, ("planned", None): 20}
    postgres.dispatch()
    assert postgres.states() == {("in_doubt", "sender_lost"): 10, ("accepted", None): 20}
    assert len(set(postgres.sms.taken)) == len(postgres.sms.taken) == 30


def test_a_database_that_stands_still_for_a_moment_costs_nothing(postgres: Bench, outage: Outage) -> None:
    postgres.shop.customers(30)
    postgres.campaign()
    thaws: list[threading.Timer] = []

    def frozen_meanwhile(batch: Sequence[Message]) -> list[Outcome]:
        thaws.append(outage.freeze(0.2))
        return [Accepted() for _ in batch]

    postgres.sms.script = frozen_meanwhile
    postgres.run()
    for thaw in thaws:
        thaw.join()
    assert len(thaws) == 3
    assert postgres.states() == {("accepted", None): 30}
    assert len(set(postgres.sms.taken)) == len(postgres.sms.taken) == 30


@pytest.mark.parametrize("statement", ["INSERT INTO enrollments", "INSERT INTO attempts", "UPDATE attempts"])
def test_a_database_that_cuts_a_transaction_off_is_unreachable_and_the_run_goes_on_later(
    postgres: Bench, outage: Outage, statement: str
) -> None:
    postgres.shop.customers(30)
    postgres.campaign()
    cut_off: list[str] = []

    def cut_off_once(connection: Any, cursor: Any, executed: str, *_: object) -> None:
        if statement in executed and not cut_off:
            cut_off.append(executed)
            outage.begin(refuse=False)

    event.listen(postgres.ws.database.engine, "before_cursor_execute", cut_off_once)
    with pytest.raises(DatabaseUnreachable, match="broke the connection"):
        postgres.run()
    expire_leases(postgres)
    settle(postgres.ws, "hello", NOW)
    postgres.run()
    postgres.dispatch()
    # Only where the outcome was lost can nobody tell.
    in_doubt = 10 if statement == "UPDATE attempts" else 0
    assert Counter(row.state for row in postgres.messages()) == Counter(
        accepted=30 - in_doubt, in_doubt=in_doubt
    )
    assert len(set(postgres.sms.taken)) == len(postgres.sms.taken) == 30


def test_a_full_disk_stops_the_run_and_it_goes_on_when_there_is_room(clock: Clock, tmp_path: Path) -> None:
    database = Database(tmp_path / "holdfast.db")
    metadata.create_all(database.engine)
    bench = make_bench(database, Shop(database, clock), clock, tmp_path)
    bench.shop.customers(500)
    bench.campaign()
    with database.write() as connection:
        full = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {full + 2}")
    with pytest.raises(OperationalError, match="disk is full") as raised:
        bench.run()
    assert "sms1" not in said(raised.value)
    with database.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    bench.run()
    assert bench.states() == {("accepted", None): 500}
    assert len(set(bench.sms.taken)) == len(bench.sms.taken) == 500
    database.close()


# --- the channel ----------------------------------------------------------------------------------


def mail_bench(database: Database, shop: Shop, clock: Clock, root: Path, port: int) -> Bench:
    """A bench whose campaigns go out by `mail`, a real mail server, and else by `sms`."""
    configured: dict[str, Any] = {
        "mail": {"adapter": "smtp", "host": "127.0.0.1", "port": port, "security": "none"},
        "sms": {"adapter": "scripted"},
    }
    brand = {"name": "Acme", "from": "Acme <hello@acme.example>"}
    bench = make_bench(database, shop, clock, root, channels=configured, brand=brand, dispatch={"chunk": 10})
    (root / "templates" / "note.email.html").write_text(
        "{% block subject %}Hello{% endblock %}{% block body %}Hello{% endblock %}"
    )
    settings = SmtpSettings(host="127.0.0.1", port=port, security="none", batch_size=5, concurrency=1)
    bench.channels["mail"] = SmtpChannel("mail", settings)  # type: ignore[assignment]
    bench.campaign(steps=[{"id": "first", "channels": ["mail", "sms"], "template": "note"}])
    return bench


def mail_addresses(database: Database) -> None:
    with database.write() as connection:
        connection.execute(
            update(addresses)
            .where(addresses.c.kind == "email")
            .values(address="c" + cast(addresses.c.customer_id, Text) + "@shop.example")
        )


def test_a_secret_that_is_missing_is_named_and_nothing_stays_leased(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = mail_bench(database, shop, clock, tmp_path, 1)
    shop.customers(3, kinds=("email",))
    bench.start()
    mail = {"adapter": "smtp", "host": "h", "username": "acme", "password": {"env": "MAIL_PASSWORD"}}
    project = bench.ws.project.model_validate(
        {**bench.ws.project.model_dump(), "root": tmp_path, "channels": {"mail": mail}}
    )
    monkeypatch.delenv("MAIL_PASSWORD", raising=False)
    ws = replace(bench.ws, channels=ProjectChannels(project, lambda name: ""))
    with pytest.raises(SettingsError, match="environment variable MAIL_PASSWORD is not set"):
        dispatch_chunk(ws, "hello", "mail", "test", clock)
    assert bench.states() == {("planned", None): 3}


def test_a_recipient_that_the_mail_server_refuses_falls_back_and_the_others_get_theirs(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    with SmtpServer(refused={"c3@shop.example": "550 5.1.1 c3@shop.example: no such user"}) as server:
        bench = mail_bench(database, shop, clock, tmp_path, server.port)
        shop.customers(12, kinds=("email", "sms"))
        mail_addresses(database)
        bench.run()
        bench.dispatch()
        assert sorted(mail.recipient for mail in server.mails) == sorted(
            f"c{number}@shop.example" for number in range(1, 13) if number != 3
        )
    assert bench.sms.addresses == ["sms3"]
    (refused,) = bench.messages(state="rejected")
    assert (refused.customer_id, refused.reason) == (3, "bad_address")
    assert run_state(bench) == "done"


def test_a_mail_server_that_goes_in_the_middle_and_comes_back_has_each_letter_once(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    # It takes three letters, then its connection breaks before the answer to the fourth.
    first = SmtpServer({"END": [None, None, None, Act.DROP]})
    bench = mail_bench(database, shop, clock, tmp_path, first.port)
    shop.customers(23, kinds=("email",))
    mail_addresses(database)
    bench.start()
    dispatch_chunk(bench.ws, "hello", "mail", "test", clock)
    assert bench.states() == {("accepted", None): 9, ("in_doubt", "no_answer"): 1, ("planned", None): 13}
    first.close()
    bench.dispatch()
    assert bench.states() == {("accepted", None): 9, ("in_doubt", "no_answer"): 1, ("planned", None): 13}
    again_at = next_due(bench.ws, "hello", bench.clock.now)
    assert again_at == NOW + timedelta(seconds=30)
    clock.now = again_at
    with SmtpServer(port=first.port) as second:
        bench.dispatch()
        arrived = Counter(mail.recipient for mail in first.mails + second.mails)
    assert bench.states() == {("accepted", None): 22, ("in_doubt", "no_answer"): 1}
    assert (len(arrived), arrived.total()) == (22, 22)


def test_a_mail_server_that_takes_letters_and_drops_the_connection_has_each_letter_once(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    script = {"END": [None, None, Act.TAKE_AND_DROP, None, Act.TAKE_AND_DROP]}
    with SmtpServer(script) as server:
        bench = mail_bench(database, shop, clock, tmp_path, server.port)
        shop.customers(23, kinds=("email",))
        mail_addresses(database)
        bench.run()
        clock.advance(hours=1)  # what was put off in the meantime
        bench.dispatch()
        arrived = Counter(mail.recipient for mail in server.mails)
    assert bench.states() == {("accepted", None): 21, ("in_doubt", "no_answer"): 2}
    assert (len(arrived), arrived.total()) == (23, 23)


def test_sendgrid_dropping_connections_is_settled_by_its_events_and_what_it_never_took_goes_out_again(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    script = [None, stand_in.Act.TAKE_AND_DROP, stand_in.Act.DROP]
    with SendgridServer(script) as server:
        key = server.webhook_key
        with opened(server.url, webhook_key=key, batch_size=10, concurrency=1) as channel:
            bench = shop_by_email(database, shop, clock, tmp_path, channel, 40)
            steps = [{"id": "first", "channels": ["email"], "template": "note"}]
            bench.campaign(steps=steps, in_doubt="resend", in_doubt_after="1h")
            bench.run()
            assert bench.states() == {("accepted", None): 20, ("in_doubt", "no_answer"): 20}

            body = json.dumps([server.event(mail, "delivered", clock.now) for mail in server.mails]).encode()
            channel.verify(server.signed(body, clock.now), body, clock.now)
            assert inbox.Inbox(database).put("email", body, clock.now)
            assert collect(bench.ws, clock.now).problems == ()
            assert bench.states() == {("accepted", None): 30, ("in_doubt", "no_answer"): 10}

            clock.advance(hours=1)
            bench.dispatch()
            bench.dispatch()  # what settling has planned again
        arrived = Counter(mail.to for mail in server.mails)
    assert {state for state, _ in bench.states()} == {"accepted"}
    assert (len(arrived), arrived.total()) == (40, 40)
    assert run_state(bench) == "done"


# --- time and customers ---------------------------------------------------------------------------


def test_a_finished_run_that_is_run_again_sends_nothing_and_stays_done(bench: Bench) -> None:
    bench.shop.customers(5)
    bench.campaign()
    run_id = bench.run()
    before = bench.messages()
    bench.clock.advance(days=30)
    assert bench.run() == run_id
    assert bench.messages() == before
    assert len(bench.sms.calls) == 1
    assert run_state(bench) == "done"


def test_an_address_that_is_deleted_between_planning_and_sending_is_not_written_to(bench: Bench) -> None:
    ids = bench.shop.customers(3)
    bench.campaign()
    bench.start()
    with bench.ws.database.write() as connection:
        connection.execute(delete(addresses).where(addresses.c.customer_id == ids[1]))
    bench.dispatch()
    assert bench.sms.addresses == [f"sms{ids[0]}", f"sms{ids[2]}"]
    assert bench.states() == {("accepted", None): 2, ("skipped", "unreachable"): 1}


@dataclass
class SteppingClock(Clock):
    """A worker's clock that jumps after it was read for the first time."""

    jump: timedelta = timedelta()

    def __call__(self) -> datetime:
        read, self.now, self.jump = self.now, self.now + self.jump, timedelta()
        return read


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_workers_clock_that_jumps_between_lease_and_send_neither_loses_nor_lengthens_a_lease(
    bench: Bench, hours: int
) -> None:
    bench.shop.customers(20)
    bench.campaign()
    bench.start()

    def nothing_has_run_out(batch: Sequence[Message]) -> list[Outcome]:
        assert doubt.reclaim(bench.ws.database) == (0, 0)
        return [Accepted() for _ in batch]

    bench.sms.script = nothing_has_run_out
    dispatch_chunk(bench.ws, "hello", "sms", "test", SteppingClock(jump=timedelta(hours=hours)))
    assert bench.states() == {("accepted", None): 20}
    assert {row.sent_at for row in bench.messages()} == {NOW + timedelta(hours=hours)}


@dataclass
class RestlessClock(Clock):
    """A worker's clock that is set an hour back, and an hour ahead, at each reading in turn."""

    step: timedelta = timedelta(hours=-1)

    def __call__(self) -> datetime:
        self.step = -self.step
        return self.now + self.step


def test_a_clock_that_steps_back_and_forth_sends_each_message_once(bench: Bench) -> None:
    bench.shop.customers(120)
    bench.campaign()
    bench.start()
    clock = RestlessClock()

    def nothing_has_run_out(batch: Sequence[Message]) -> list[Outcome]:
        assert doubt.reclaim(bench.ws.database) == (0, 0)
        return [Accepted() for _ in batch]

    bench.sms.script = nothing_has_run_out
    while due(bench.ws, "hello", bench.clock.now):
        dispatch_chunk(bench.ws, "hello", "sms", "test", clock)
        settle(bench.ws, "hello", clock())
    assert bench.states() == {("accepted", None): 120}
    assert len(set(bench.sms.taken)) == len(bench.sms.taken) == 120
    assert run_state(bench) == "done"


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_lease_runs_out_by_the_databases_clock_whatever_the_workers_says(bench: Bench, hours: int) -> None:
    bench.shop.customers(1)
    bench.campaign()
    run_id = bench.start()
    wrong = NOW + timedelta(hours=hours)
    ledger.lease(bench.ws.database, run_id, "sms", "lost", 1, timedelta(minutes=5), max(wrong, NOW))
    settle(bench.ws, "hello", wrong)
    assert bench.states() == {("leased", None): 1}
    expire_leases(bench)
    settle(bench.ws, "hello", wrong)
    assert bench.states() == {("planned", None): 1}
