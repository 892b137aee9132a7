"""`erase`, `export`, and what `collect` throws away by itself."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from holdfast.cli import main
from holdfast.responses import collect
from holdfast.settings import Privacy
from holdfast.store import erasing, inbox
from holdfast.store.database import Database
from holdfast.tables import customers
from holdfast.tables import inbox as letters
from tests.integration.conftest import SECRET, Bench, Clock, Shop, make_bench

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def bodies(bench: Bench) -> list[bytes]:
    with bench.ws.database.read() as connection:
        return list(connection.scalars(select(letters.c.body).order_by(letters.c.id)))


def test_bodies_are_emptied_when_they_were_read_long_enough_ago_and_still_known(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    bench = make_bench(database, shop, clock, tmp_path, privacy={"keep_answers": "2d"})
    for body in (b"no answer of ours", b"nor this"):
        inbox.Inbox(database).put(None, body, clock.now)
        collect(bench.ws, clock.now)
        clock.advance(days=1)
    assert collect(bench.ws, clock.now - timedelta(seconds=1)).emptied == 0
    assert collect(bench.ws, clock.now).emptied == 1
    assert bodies(bench) == [b"", b"nor this"]
    assert collect(bench.ws, clock.now).emptied == 0
    inbox.Inbox(database).put("sms", b"of a provider", clock.now)
    with database.write() as connection:
        connection.execute(update(letters).values(handled_at=clock.now))
    collect(bench.ws, clock.advance(days=2))
    assert bodies(bench) == [b"", b"", b""]
    assert not inbox.Inbox(database).put("sms", b"of a provider", clock.now)


@on_sqlite
def test_a_letter_that_nobody_could_read_yet_is_not_emptied_however_old(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    inbox.Inbox(database).put("gone", b"of a channel that is away", clock.now)
    with database.write() as connection:
        assert inbox.empty_bodies(connection, clock.advance(days=400), 10) == 0


@on_sqlite
def test_very_many_old_bodies_are_emptied_slice_by_slice(bench: Bench) -> None:
    for number in range(5):
        inbox.Inbox(bench.ws.database).put(None, str(number).encode(), bench.clock.now)
    with bench.ws.database.write() as connection:
        connection.execute(update(letters).values(handled_at=bench.clock.now))
        assert [inbox.empty_bodies(connection, bench.clock.now, 2) for _ in range(4)] == [2, 2, 1, 0]


def test_who_asked_long_enough_ago_is_erased_by_itself_where_that_is_set(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    bench = make_bench(database, shop, clock, tmp_path)
    for id_ in shop.customers(2):
        with database.write() as connection:
            erasing.ask(connection, id_, SECRET, "test", clock.now)
        clock.advance(days=1)
    assert collect(bench.ws, clock.advance(days=300)).erased == 0
    clock.advance(days=-300)
    bench.ws.project = bench.ws.project.model_copy(
        update={"privacy": Privacy.model_validate({"erase_after": "2d"})}
    )
    assert collect(bench.ws, clock.now).erased == 1
    with database.read() as connection:
        names = connection.scalars(select(customers.c.external_id).order_by(customers.c.id)).all()
    assert names == ["erased-1", "c2"]


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three customers; the first two asked to be erased."""
    (tmp_path / "holdfast.yaml").write_text("brand: {name: Acme}\n")
    people = "customer_id,email,first_name\n" + "".join(f"C{n},c{n}@shop.example,Zoe{n}\n" for n in (1, 2, 3))
    (tmp_path / "customers.csv").write_text(people)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDFAST_SECRET", SECRET.decode())
    called("import", "customers", "customers.csv")
    database = Database(tmp_path / ".holdfast" / "holdfast.db")
    for id_ in (1, 2):
        with database.write() as connection:
            erasing.ask(connection, id_, SECRET, f"preferences page, message {id_}", Clock().now)
    database.close()
    return tmp_path


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_erasing_lists_asks_and_does_nothing_without_a_yes(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody is at the keyboard
    assert called("erase", "--requested") == 1
    said = capsys.readouterr()
    assert "C1  asked 2026-06-03 12:00 UTC, preferences page, message 1\nC2  asked" in said.err
    assert "erase 2 customers? Nobody can undo it" in said.err
    assert called("erase", "C2", "--keep") == 0
    capsys.readouterr()
    assert called("erase", "--requested", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"done": 1, "put_off": 0}
    assert called("erase", "C3", "--yes") == 0
    assert capsys.readouterr().out == "erased: 1 customer\n"
    assert called("erase", "--requested") == 0
    assert capsys.readouterr().err == "nobody waits to be erased\n"
    assert called("erase", "C3", "--yes") == 1
    assert "there is no customer of this id" in capsys.readouterr().err
    assert called("erase", "nobody") == 1
    assert capsys.readouterr().err.startswith("error: there is no customer of this id")  # and no question
    assert called("import", "customers", "customers.csv") == 1
    refused = (project / "customers.rejects.csv").read_text().splitlines()
    assert [row.split(",")[1:3] for row in refused[1:]] == [
        ["customer_id: erased", "C1"],
        ["customer_id: erased", "C3"],
    ]


def test_one_customer_or_all_who_asked_never_both_or_neither(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ((), ("C1", "--requested"), ("--requested", "--keep"), ("--keep",)):
        assert called("erase", *arguments, "--yes") == 2
        assert "either one CUSTOMER, or --requested" in capsys.readouterr().err


def test_an_export_is_json_on_the_screen_or_in_a_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert called("export", "C1") == 0
    exported = json.loads(capsys.readouterr().out)
    assert (exported["customers"][0]["first_name"], exported["customer_id"]) == ("Zoe1", "C1")
    assert exported["addresses"][0]["address"] == "c1@shop.example"
    assert called("export", "C1", "-o", "c1.json") == 0
    written = json.loads((project / "c1.json").read_text())
    assert written.keys() == exported.keys()
    assert oct((project / "c1.json").stat().st_mode)[-3:] == "600"
