import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from holdfast.store.database import Database, database_now
from holdfast.tables import from_microseconds, suppressions


def test_times_come_back_as_they_went_in(database: Database) -> None:
    moment = datetime(2026, 3, 29, 1, 30, 0, 123_456, tzinfo=UTC)
    with database.write() as connection:
        row = {"kind": "email", "address_key": "a@b.c", "reason": "bounced", "created_at": moment}
        connection.execute(insert(suppressions).values(row))
    with database.read() as connection:
        assert connection.scalar(select(suppressions.c.created_at)) == moment
        since = select(suppressions.c.reason).where(suppressions.c.created_at >= moment)
        assert connection.scalar(since) == "bounced"


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with database.write() as connection, pytest.raises(Exception, match="time without a zone"):
        connection.execute(
            insert(suppressions).values(
                kind="email",
                address_key="a",
                reason="bounced",
                created_at=datetime(2026, 1, 1),  # noqa: DTZ001
            )
        )


def test_the_database_has_a_clock_of_its_own(database: Database) -> None:
    with database.read() as connection:
        told = connection.scalar(select(database_now()))
    assert abs(from_microseconds(told) - datetime.now(UTC)) < timedelta(seconds=30)


def test_who_waits_to_write_is_the_next_one_however_soon_another_would_write_again(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.db"
    ours, theirs, written = Database(file), Database(file), []

    def write(database: Database, name: str) -> None:
        with database.write():
            written.append(name)

    write(ours, "once")
    with ThreadPoolExecutor(1) as pool, open(f"{file}-turn", "rb") as turn:
        with ours.write():
            waiting = pool.submit(write, theirs, "theirs")
            while not is_taken(turn.fileno()):
                os.sched_yield()
        write(ours, "ours again")
        waiting.result()
    assert written == ["once", "theirs", "ours again"]
    ours.close()
    theirs.close()


def is_taken(descriptor: int) -> bool:
    """Whether somebody stands in the turnstile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def test_without_a_place_for_the_turnstile_it_is_written_all_the_same(tmp_path: Path) -> None:
    Path(tmp_path, "holdfast.db-turn").mkdir()
    database = Database(tmp_path / "holdfast.db")
    with database.write() as connection:
        assert connection.scalar(select(1)) == 1
    database.close()
