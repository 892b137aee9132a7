"""Syncing from a real second database and from files. The source is of the engine that ours is not of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import Engine, create_engine, event, select, text

from holdfast.cli import main
from holdfast.errors import SettingsError, StoreError
from holdfast.store import imports
from holdfast.store.database import Database
from holdfast.store.imports import queries
from holdfast.sync import SyncReport, sync
from holdfast.tables import customers, events, metadata, orders
from tests.integration.conftest import NOW, Clock, Shop, make_bench

MONDAY = datetime(2026, 6, 1, 8, tzinfo=UTC)
PEOPLE = "select id as customer_id, first_name, email, updated_at from people"
SALES = "select id as order_id, person as customer_id, sold_at as ordered_at, total, updated_at from sales"
TABLES = """
    create table people (id int primary key, first_name text, email text, updated_at timestamptz);
    create table sales (id int primary key, person int, sold_at timestamptz, total numeric(9, 2),
        updated_at timestamptz)
"""


def no_block(name: str) -> str:
    raise SettingsError(f"there is no Prefect Secret block named {name!r}")


@dataclass
class Source:
    """A shop's own database, and what Holdfast makes of it."""

    engine: Engine
    database: Database
    root: Path
    clock: Clock

    def execute(self, statement: str, *rows: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), list(rows) or None)

    def people(self, *numbers: int, at: datetime = MONDAY, name: str = "Ann") -> None:
        self.execute(
            "insert into people values (:id, :name, :email, :at)",
            *({"id": n, "name": name, "email": f"{n}@b.example", "at": self.moment(at)} for n in numbers),
        )

    def sales(self, *pairs: tuple[int, int], at: datetime = MONDAY) -> None:
        self.execute(
            "insert into sales values (:id, :person, :at, 12.5, :at)",
            *({"id": n, "person": person, "at": self.moment(at)} for n, person in pairs),
        )

    def moment(self, at: datetime) -> Any:
        return at.isoformat() if self.engine.dialect.name == "sqlite" else at

    def sync(self, *, only: str | None = None, **parts: Any) -> list[SyncReport]:
        """Syncs the source `shop` with these parts."""
        return self.sync_all({"shop": {"url": {"env": "SHOP_DATABASE_URL"}, **parts}}, only=only)

    def sync_all(self, sources: Any, *, only: str | None = None) -> list[SyncReport]:
        shop = Shop(self.database, self.clock)
        bench = make_bench(self.database, shop, self.clock, self.root, sources=sources)
        return sync(bench.ws, NOW, no_block, only)

    def names(self) -> dict[str, str | None]:
        with self.database.read() as connection:
            return dict(
                connection.execute(select(customers.c.external_id, customers.c.first_name)).tuples().all()
            )

    def count(self, column: Any) -> int:
        with self.database.read() as connection:
            return len(connection.scalars(select(column)).all())


@pytest.fixture(params=["sqlite from postgresql", "postgresql from sqlite"])
def source(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Source]:
    def url(engine: str, name: str) -> str:
        return (
            f"sqlite:///{tmp_path / name}"
            if engine == "sqlite"
            else request.getfixturevalue("fresh_postgres_url")
        )

    ours, _, theirs = request.param.partition(" from ")
    monkeypatch.setenv("SHOP_DATABASE_URL", url(theirs, "shop.db"))
    database = Database(url(ours, "holdfast.db"))
    metadata.create_all(database.engine)
    found = Source(create_engine(url(theirs, "shop.db")), database, tmp_path, clock)
    for statement in TABLES.split(";"):
        found.execute(statement)
    yield found
    found.engine.dispose()
    database.close()


# For what has nothing to do with the engines.
on_sqlite = pytest.mark.parametrize("source", ["sqlite from sqlite"], indirect=True)


def read(report: SyncReport) -> int:
    assert report.report, str(report)
    return report.report.read


CUSTOMERS = {"customers": {"sql": PEOPLE, "cursor": "updated_at"}}
ORDERS = {"orders": {"sql": SALES, "cursor": "updated_at"}}


# --- queries ----------------------------------------------------------------------------------------


def test_customers_and_orders_come_from_their_queries_in_the_order_they_need(source: Source) -> None:
    source.people(1, 2)
    source.sales((7, 1), (8, 2))
    reports = source.sync(**ORDERS, **CUSTOMERS)
    assert [str(report) for report in reports] == [
        "shop.customers: 2 rows read, 2 kept, 0 refused",
        "shop.orders: 2 rows read, 2 kept, 0 refused",
    ]
    assert source.names() == {"1": "Ann", "2": "Ann"}
    with source.database.read() as connection:
        assert connection.execute(select(orders.c.total, orders.c.ordered_at)).all() == [(1250, MONDAY)] * 2
        assert connection.scalars(select(customers.c.attributes)).all() == [{}, {}]


def test_only_what_the_cursor_has_not_passed_is_read_again(source: Source) -> None:
    source.people(1, 2)
    source.people(3, at=MONDAY + timedelta(days=1))
    source.sync(**CUSTOMERS)
    source.people(4, at=MONDAY + timedelta(days=2))
    source.execute("update people set first_name = 'Bob' where id = 1")  # and forgets to say so
    (report,) = source.sync(**CUSTOMERS)
    assert (read(report), report.report and report.report.written) == (2, 2)
    assert source.names() == {"1": "Ann", "2": "Ann", "3": "Ann", "4": "Ann"}


def test_rows_that_come_late_with_the_value_of_the_cursor_are_not_missed(source: Source) -> None:
    source.people(1)
    source.sync(**CUSTOMERS)
    source.people(2)
    source.sync(**CUSTOMERS)
    assert set(source.names()) == {"1", "2"}


@pytest.mark.parametrize("source", ["sqlite from postgresql"], indirect=True)
def test_a_change_that_was_committed_late_is_not_missed(source: Source) -> None:
    source.people(1)
    source.sync(**CUSTOMERS)
    source.people(2, at=MONDAY - timedelta(minutes=4))
    source.sync(**CUSTOMERS)
    assert set(source.names()) == {"1", "2"}


@pytest.mark.parametrize("source", ["sqlite from postgresql"], indirect=True)
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_change_dated_into_the_future_hides_no_change_before_it(source: Source, kind: str) -> None:
    source.people(1, at=NOW + timedelta(days=365))
    part = {"sql": PEOPLE.replace("updated_at", f"updated_at::{kind} as updated_at"), "cursor": "updated_at"}
    source.sync(customers=part)
    source.people(2, at=NOW + timedelta(days=1))
    source.sync(customers=part)
    assert set(source.names()) == {"1", "2"}


def test_rows_without_a_cursor_value_are_read_each_time(source: Source) -> None:
    source.people(1)
    source.execute("insert into people values (2, 'Ann', null, null)")
    source.sync(**CUSTOMERS)
    source.execute("update people set first_name = 'Bob' where id = 2")
    source.sync(**CUSTOMERS)
    assert source.names() == {"1": "Ann", "2": "Bob"}


@on_sqlite
def test_a_query_without_a_cursor_is_read_whole_each_time(source: Source) -> None:
    source.people(1, 2)
    for _ in range(2):
        (report,) = source.sync(customers={"sql": "select id as customer_id, first_name from people;\n"})
        assert read(report) == 2


@on_sqlite
def test_a_query_that_was_edited_is_read_from_its_start(source: Source) -> None:
    source.people(1)
    source.people(2, at=MONDAY + timedelta(days=1))
    source.sync(**CUSTOMERS)
    edited = PEOPLE.replace("email,", "email, 'gold' as tier,")
    (report,) = source.sync(customers={"sql": edited, "cursor": "updated_at"})
    assert read(report) == 2


@pytest.mark.parametrize("cursor", ["customer_id", "number", "share"])
def test_a_cursor_may_be_a_number_and_a_column_of_the_import(source: Source, cursor: str) -> None:
    source.people(1, 2, 10)
    sql = "select id as customer_id, id as number, id * 0.5 as share, 'x' as tier from people"
    part = {"sql": sql, "cursor": cursor}
    source.sync(customers=part)
    source.people(9, 11)
    (report,) = source.sync(customers=part)
    assert set(source.names()) == {"1", "2", "10", "11"}
    assert read(report) == 2
    with source.database.read() as connection:
        kept = connection.scalar(select(customers.c.attributes))
    assert kept == {
        name: value for name, value in {"number": 1, "share": 0.5, "tier": "x"}.items() if name != cursor
    }


def test_a_sync_that_dies_goes_on_where_it_was(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "_CHUNK", 10)
    for n in range(100):
        source.people(n, at=MONDAY + timedelta(hours=n))
    chunks = iter(range(100))

    def dies(connection: Any, *statement: Any) -> None:
        if (
            "staged_customers" in statement[1]
            and "INSERT INTO customers" in statement[1]
            and next(chunks) == 4
        ):
            raise KeyboardInterrupt

    event.listen(source.database.engine, "before_cursor_execute", dies)
    with pytest.raises(KeyboardInterrupt):
        source.sync(**CUSTOMERS)
    event.remove(source.database.engine, "before_cursor_execute", dies)
    assert source.count(customers.c.id) == 40
    (report,) = source.sync(**CUSTOMERS)
    assert read(report) == 61  # the last one again
    assert source.count(customers.c.id) == 100


def test_the_source_is_only_read(source: Source) -> None:
    source.people(1)
    if source.engine.dialect.name == "sqlite":
        sql = "select 1 as customer_id from people); delete from people; select * from (select 1"
    else:
        source.execute(
            "create function gone() returns int as 'delete from people returning id' language sql volatile"
        )
        sql = "select gone() as customer_id"
    (report,) = source.sync(customers={"sql": sql})
    assert isinstance(report.problem, StoreError)
    with source.engine.connect() as connection:
        assert connection.scalar(text("select count(*) from people")) == 1


def test_colons_percents_and_comments_in_a_query_are_its_own(source: Source) -> None:
    source.people(1)
    sql = """
        select id as customer_id, ':noon 12:30 %s %(x)s \\: 100%' as note,
        cast(first_name as text) as "First"
        from people where first_name like 'A%' -- the people;
    """
    (report,) = source.sync(customers={"sql": sql})
    assert report.is_clean
    with source.database.read() as connection:
        assert connection.scalar(select(customers.c.attributes)) == {
            "note": ":noon 12:30 %s %(x)s \\: 100%",
            "First": "Ann",
        }


def test_hostile_values_are_values(source: Source) -> None:
    names = ["x'); drop table customers;--", "{{ 7 * 7 }}", "\u202eevil", "a\nb", ":cursor", "%s"]
    for number, name in enumerate(names):
        source.people(number, name=name)
    source.sync(**CUSTOMERS)
    assert sorted(map(str, source.names().values())) == sorted(names)


def test_types_of_a_database_are_read_as_their_text(source: Source) -> None:
    source.people(1)
    if source.engine.dialect.name == "sqlite":
        sql = "select 1 as customer_id, '1990-05-17' as birthday, 2.5 as score, null as tier, 1 = 1 as vip"
    else:
        sql = """
            select 1::bigint as customer_id, '1990-05-17'::timestamp as birthday, 2.5::float8 as score,
            null::jsonb as tier, true as vip, 'x'::varchar(9) as kind, gen_random_uuid() as token
        """
    source.sync(customers={"sql": sql})
    with source.database.read() as connection:
        birthday, attributes = connection.execute(select(customers.c.birthday, customers.c.attributes)).one()
    assert (str(birthday), attributes["score"]) == ("1990-05-17", 2.5)
    assert attributes["vip"] in (True, 1)


# --- refusals and problems --------------------------------------------------------------------------


@on_sqlite
def test_refused_rows_are_set_aside_with_their_reasons(source: Source) -> None:
    source.people(1)
    source.execute("insert into people values (2, 'Bob', 'nowhere', :at)", {"at": source.moment(MONDAY)})
    (report,) = source.sync(**CUSTOMERS)
    assert str(report) == "shop.customers: 2 rows read, 1 kept, 1 refused"
    assert not report.is_clean
    path = source.root / ".holdfast" / "rejects" / "shop-customers.csv"
    assert report.report is not None
    assert report.report.rejects_path == path
    assert path.read_text().splitlines() == [
        "rejected.line,rejected.reason,customer_id,first_name,email",
        "2,email: not an address of this kind,2,Bob,nowhere",
    ]


def test_a_renamed_table_a_bad_query_and_a_missing_column_are_told_apart(source: Source) -> None:
    source.people(1)
    source.execute("alter table people rename to clients")
    (renamed,) = source.sync(**CUSTOMERS)
    (bad,) = source.sync(customers={"sql": "selec 1"})
    clients = PEOPLE.replace("people", "clients")
    (cursor,) = source.sync(customers={"sql": clients, "cursor": "update_at"})
    (column,) = source.sync(customers={"sql": clients.replace("customer_id", "customer")})
    kinds = (
        ("OperationalError",) * 2
        if source.engine.dialect.name == "sqlite"
        else ("UndefinedTable", "SyntaxError")
    )
    hint = "(try the query there by hand: a table or column may have another name now)"
    assert [str(one) for one in (renamed, bad, cursor, column)] == [
        f"shop.customers: its database does not take the query ({kinds[0]}) {hint}",
        f"shop.customers: its database does not take the query ({kinds[1]}) {hint}",
        "shop.customers: the query has no column 'update_at' for its cursor; did you mean 'updated_at'?"
        " (select it, or correct `cursor` in holdfast.yaml)",
        "shop.customers: no column 'customer_id'; did you mean 'customer'?",
    ]
    assert source.names() == {}


@on_sqlite
def test_orders_wait_for_customers_that_could_not_be_read_and_other_sources_go_on(source: Source) -> None:
    source.people(1)
    source.sales((7, 1))
    (source.root / "more.csv").write_text("customer_id\nC1\n")
    reports = source.sync_all(
        {
            "shop": {"url": {"env": "SHOP_DATABASE_URL"}, "customers": {"sql": "selec 1"}, **ORDERS},
            "more": {"customers": {"file": "more.csv"}},
        }
    )
    assert [(one.name, one.is_clean) for one in reports] == [
        ("shop.customers", False),
        ("more.customers more.csv", True),
    ]


@on_sqlite
@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "environment variable SHOP_DATABASE_URL is not set (set it: export SHOP_DATABASE_URL=…)"),
        (
            "postgresql://shop:hunter2@127.0.0.1:1/shop",
            "its database cannot be reached (OperationalError)"
            " (start it, or correct the URL: environment variable SHOP_DATABASE_URL)",
        ),
        (
            "sqlite:////nowhere/hunter2.db",
            "its database file is not there"
            " (correct the URL, with the whole path: environment variable SHOP_DATABASE_URL)",
        ),
        (
            "hunter2",
            "its URL cannot be read: environment variable SHOP_DATABASE_URL"
            " (write it like postgresql://user:password@host/name or sqlite:////path/to/file.db)",
        ),
        (
            "oracle://shop:hunter2@db/shop",
            "there is no driver for oracle (install the one that SQLAlchemy names)",
        ),
    ],
)
def test_a_source_that_cannot_be_reached_is_named_without_its_url(
    source: Source, monkeypatch: pytest.MonkeyPatch, url: str | None, said: str
) -> None:
    monkeypatch.delenv("SHOP_DATABASE_URL")
    if url:
        monkeypatch.setenv("SHOP_DATABASE_URL", url)
    (report,) = source.sync(**CUSTOMERS)
    assert str(report) == f"shop.customers: {said}"


def test_a_database_that_breaks_off_keeps_what_was_read(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "_CHUNK", 1)
    monkeypatch.setattr(queries, "_FETCHED", 1)
    source.people(1, 2, 3)
    fails_at_3 = "abs(case when id = 3 then -9223372036854775807 - 1 else 1 end)"
    sql = f"select id as customer_id, {fails_at_3} as x from people"  # noqa: S608
    (report,) = source.sync(customers={"sql": sql})
    assert str(report.problem).startswith("its database broke off")
    assert {"1"} <= set(source.names()) <= {"1", "2"}


@on_sqlite
def test_a_source_that_is_not_there_is_told_with_the_ones_that_are(source: Source) -> None:
    with pytest.raises(SettingsError) as error:
        source.sync(only="shp", **CUSTOMERS)
    assert str(error.value) == "there is no source 'shp'; did you mean 'shop'?"
    assert error.value.hint == "known are: shop"


# --- files ------------------------------------------------------------------------------------------

FILES = {
    "files": {
        "customers": {"file": "data/customers.jsonl"},
        "orders": {"file": "data/orders-*.parquet"},
        "events": {"file": "data/**/events.csv"},
    }
}


@pytest.fixture
def data(source: Source) -> Path:
    folder = source.root / "data"
    (folder / "may").mkdir(parents=True)
    (folder / "customers.jsonl").write_text('{"customer_id": "C1", "first_name": "Ann"}\n')
    for number in (1, 2):
        sold = {"order_id": [f"R{number}"], "customer_id": ["C1"], "ordered_at": [MONDAY], "total": [12.5]}
        parquet.write_table(pa.table(sold), folder / f"orders-{number}.parquet")
    (folder / "may" / "events.csv").write_text(
        "event_id,customer_id,event,occurred_at\nE1,C1,seen,2026-06-01\n"
    )
    return folder


@on_sqlite
def test_files_of_every_kind_are_read_once_and_again_when_they_changed(source: Source, data: Path) -> None:
    assert [report.name for report in source.sync_all(FILES)] == [
        "files.customers data/customers.jsonl",
        "files.orders data/orders-1.parquet",
        "files.orders data/orders-2.parquet",
        "files.events data/may/events.csv",
    ]
    assert (source.count(customers.c.id), source.count(orders.c.id), source.count(events.c.id)) == (1, 2, 1)
    assert source.sync_all(FILES) == []
    (data / "customers.jsonl").write_text('{"customer_id": "C1", "first_name": "Bob"}\n')
    os.utime(data / "customers.jsonl", (1, 1))
    (report,) = source.sync_all(FILES)
    assert (report.name, source.names()) == ("files.customers data/customers.jsonl", {"C1": "Bob"})


@on_sqlite
def test_a_file_with_refused_rows_is_read_again_when_what_they_refer_to_is_there(
    source: Source, data: Path
) -> None:
    without = {"files": {"orders": FILES["files"]["orders"]}}
    reports = source.sync_all(without)
    assert [report.is_clean for report in reports] == [False, False]
    rejects = source.root / ".holdfast" / "rejects"
    assert sorted(path.name for path in rejects.iterdir()) == [
        "files-orders-data-orders-1.csv",
        "files-orders-data-orders-2.csv",
    ]
    assert all(report.is_clean for report in source.sync_all(FILES))
    assert source.count(orders.c.id) == 2


@on_sqlite
def test_a_file_that_is_not_there_or_broken_is_told_and_those_beside_it_are_read(
    source: Source, data: Path
) -> None:
    (data / "orders-1.parquet").write_bytes(b"PAR1")
    (data / "customers.jsonl").rename(data / "people.jsonl")
    (missing,) = source.sync_all(FILES)
    assert str(missing) == (
        "files.customers data/customers.jsonl: cannot be read: No such file or directory"
        " (correct `file` in holdfast.yaml; it is in the project's folder)"
    )
    (data / "people.jsonl").rename(data / "customers.jsonl")
    reports = source.sync_all(FILES)
    assert [(report.name, report.is_clean) for report in reports] == [
        ("files.customers data/customers.jsonl", True),
        ("files.orders data/orders-1.parquet", False),
        ("files.orders data/orders-2.parquet", True),
    ]


# --- the command ------------------------------------------------------------------------------------


@on_sqlite
def test_the_command_syncs_says_what_it_did_and_exits_with_a_finding(
    source: Source, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (source.root / "holdfast.yaml").write_text(
        "sources:\n"
        "  shop:\n"
        "    url: {env: SHOP_DATABASE_URL}\n"
        f"    customers: {{sql: '{PEOPLE}', cursor: updated_at}}\n"
        "  files: {events: {file: events.jsonl}}\n"
    )
    (source.root / "events.jsonl").write_text('{"event_id": 1}\n')
    source.people(1, 2)

    def holdfast(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--project", str(source.root), *arguments])
        return ended.value.code, *capsys.readouterr()

    code, out, err = holdfast("sync", "shop", "--json")
    assert (code or 0, err) == (0, "shop.customers: 2 rows read, 2 kept, 0 refused\n")
    assert json.loads(out) == [
        {
            "source": "shop",
            "kind": "customers",
            "file": "",
            "problem": None,
            "report": {
                "read": 2,
                "kept": 2,
                "written": 4,
                "rejected": 0,
                "reasons": {},
                "rejects_path": None,
            },
        }
    ]
    code, out, err = holdfast("sync", "files")
    rejects = source.root / ".holdfast" / "rejects" / "files-events-events.jsonl"
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "files.events events.jsonl: 1 rows read, 0 kept, 1 refused",
        f"refused rows with their reasons: {rejects}",
    ]
    code, _, err = holdfast("sync", "nowhere")
    assert (code, err.splitlines()[0]) == (1, "error: there is no source 'nowhere'")
