"""Records that are not CSV: from requests, JSON lines and Parquet files. The same rules as for CSV."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import select

from holdfast.errors import ProblemsFound, StoreError
from holdfast.settings import Business, Project
from holdfast.store.database import Database
from holdfast.store.imports import ImportReport, Kind, import_file, import_records
from holdfast.store.imports.records import as_text
from holdfast.tables import addresses, consents, customers, events, metadata, order_lines, orders

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = b"a secret of a test"

Import = Callable[..., ImportReport]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(root=tmp_path, business=Business(timezone="Europe/Berlin"))


@pytest.fixture
def records(database: Database, project: Project) -> Import:
    """Imports records: `records("orders", [{…}, …])`."""

    def run(kind: Kind, given: Iterable[Any], **options: Any) -> ImportReport:
        return import_records(database, project, SECRET, kind, given, now=NOW, **options)

    return run


@pytest.fixture
def file(database: Database, project: Project, tmp_path: Path) -> Import:
    """Imports a file: `file("orders", path)`."""

    def run(kind: Kind, path: Path) -> ImportReport:
        rejects = tmp_path / f"rejects{path.suffix}"
        return import_file(database, project, SECRET, kind, path, now=NOW, rejects=rejects)

    return run


def every(database: Database, *columns: Any) -> list[Any]:
    with database.read() as connection:
        rows = connection.execute(select(*columns).order_by(*columns)).all()
    return [row[0] if len(columns) == 1 else tuple(row) for row in rows]


def contents(database: Database) -> dict[str, list[str]]:
    """Everything but the database's own ids."""
    with database.read() as connection:
        return {
            name: sorted(
                repr({key: value for key, value in row.items() if key != "id"})
                for row in connection.execute(select(table)).mappings()
            )
            for name, table in metadata.tables.items()
        }


# --- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        ("007", "007"),
        (True, "true"),
        (7, "7"),
        (12.0, "12"),
        (24.9, "24.9"),
        (0.1 + 0.2, "0.3"),
        (1e20, "100000000000000000000"),
        (float("nan"), ""),
        (float("inf"), "Infinity"),
        (np.float64(2.5), "2.5"),
        (Decimal("24.90"), "24.90"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E+999999"), "1E+999999"),
        (date(1990, 5, 17), "1990-05-17"),
        (datetime(1990, 5, 17), "1990-05-17"),  # noqa: DTZ001 - as databases give it
        (datetime(2026, 3, 1, 10, 30), "2026-03-01T10:30:00"),  # noqa: DTZ001
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00+00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_value_is_the_cell_that_a_csv_file_would_have(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_typed_records_are_kept_as_the_same_cells_of_a_csv_file(
    records: Import, file: Import, database: Database, tmp_path: Path
) -> None:
    records(
        "customers",
        [
            {
                "Customer_ID": 42,
                "email": "ann@b.example",
                "birthday": datetime(1990, 5, 17),  # noqa: DTZ001 - as databases give it
                "consent.email": True,
                "visits": 12.0,
                "vip": False,
                "score": Decimal("0.5"),
            }
        ],
        source="file.csv",
    )
    at = datetime(2026, 3, 1, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    order = {"order_id": 1, "customer_id": 42, "ordered_at": at, "total": 24.9, "currency": None}
    records("orders", [order])
    line = {"order_id": 1, "sku": "TEA", "name": "Sencha", "quantity": 2.0, "unit_price": Decimal("12.45")}
    records("lines", [line])
    records("events", [{"event_id": 1, "customer_id": 42, "event": "seen", "occurred_at": at, "price": 3.5}])
    before = contents(database)
    for kind, text in (
        (
            "customers",
            "customer_id,email,birthday,consent.email,visits,vip,score\n"
            "42,ann@b.example,1990-05-17,yes,12,false,0.5\n",
        ),
        ("orders", "order_id,customer_id,ordered_at,total\n1,42,2026-03-01T10:30+01:00,24.90\n"),
        ("lines", "order_id,sku,name,quantity,unit_price\n1,TEA,Sencha,2,12.45\n"),
        ("events", "event_id,customer_id,event,occurred_at,price\n1,42,seen,2026-03-01T10:30+01:00,3.5\n"),
    ):
        (tmp_path / "file.csv").write_text(text)
        assert file(kind, tmp_path / "file.csv").written == 0
    assert contents(database) == before


# --- records that name their own columns ------------------------------------------------------------


def test_a_key_that_a_record_lacks_is_left_and_none_clears(records: Import, database: Database) -> None:
    records("customers", [{"customer_id": n, "city": "Rome", "email": f"{n}@b.example"} for n in "AB"])
    records("customers", [{"customer_id": "A", "city": "Oslo"}, {"customer_id": "B", "email": None}])
    assert every(database, customers.c.external_id, customers.c.city) == [("A", "Oslo"), ("B", "Rome")]
    assert every(database, addresses.c.address) == ["A@b.example"]


def _customers(database: Database) -> set[Any]:
    columns = customers.c.external_id, customers.c.city, customers.c.attributes, addresses.c.address
    with database.read() as connection:
        rows = connection.execute(select(*columns).join_from(customers, addresses, isouter=True)).all()
    return {(external_id, city, repr(attributes), at) for external_id, city, attributes, at in rows}


@pytest.mark.parametrize("seed", range(3))
def test_records_of_any_shapes_at_once_do_what_they_do_one_after_the_other(
    database: Database, project: Project, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    values: dict[str, list[Any]] = {
        "city": ["Rome", "Oslo", None],
        "email": ["a@b.example", "c@d.example", None],
        "tier": ["gold", 3, None],
        "consent.email": [True, False],
    }
    given = [
        {"customer_id": chance.choice("ABC")}
        | {key: chance.choice(values[key]) for key in values if chance.random() < 0.5}
        for _ in range(12)
    ]
    single = Database(tmp_path / "single.db")
    metadata.create_all(single.engine)
    for record in given:
        import_records(single, project, SECRET, "customers", [record], now=NOW)
    import_records(database, project, SECRET, "customers", given, now=NOW)
    assert _customers(database) == _customers(single)
    single.close()


def test_what_is_refused_is_told_by_number_and_reason(records: Import, database: Database) -> None:
    given: list[Any] = [
        {"customer_id": "C1"},
        {"email": "a@b.example"},
        {"customer_id": "C2", "email": "nowhere"},
        ["C3"],
        {"customer_id": "C4", "tags": ["a"]},
        {"customer_id": "C5", "photo": b"\x00"},
        {"customer_id": "C6", "city": "a\0b"},
        {"customer_id": "C7", "city": "\ud800"},
        {"customer_id": "C8", "\ud800": "x"},
        {"customer_id": "C9", "": "x"},
        {"customer_id": "C10", "Email": "a@b.example", "email": "a@b.example"},
        {"customer_id": "C11"},
    ]
    report = records("customers", given)
    assert report.refused == [
        (2, "no column 'customer_id'"),
        (3, "email: not an address of this kind"),
        (4, "not a record with named values"),
        (5, "tags: neither text, a number, true or false, nor a time"),
        (6, "photo: neither text, a number, true or false, nor a time"),
        (7, "a NUL byte"),
        (8, "half a surrogate pair"),
        (9, "column 2: not a name of at most 100 characters"),
        (10, "column 2 has no name"),
        (11, "column 'email' is there twice"),
    ]
    assert (report.read, report.kept, report.rejected) == (12, 2, 10)
    assert every(database, customers.c.external_id) == ["C1", "C11"]


def test_no_more_than_ten_thousand_refusals_are_told_one_by_one(records: Import) -> None:
    report = records("customers", ({"customer_id": ""} for _ in range(10_001)))
    assert (report.rejected, len(report.refused)) == (10_001, 10_000)


def test_no_records_change_nothing(records: Import) -> None:
    assert records("orders", []) == ImportReport(0, 0, 0, 0)


def test_the_source_of_records_is_the_evidence_of_consents(records: Import, database: Database) -> None:
    records("customers", [{"customer_id": "C1", "consent.email": True}], source="api")
    assert every(database, consents.c.evidence) == ["import api"]


# --- JSON lines -------------------------------------------------------------------------------------


def test_json_lines_are_records_by_line_and_bad_ones_can_be_corrected_and_imported(
    file: Import, database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "customers.jsonl"
    path.write_text(
        '\ufeff{"customer_id": "C1", "first_name": "Zoë"}\n'
        "\n"
        '{"customer_id": "C2", "email": "nowhere", "tier": "gold"}\n'
        '{"customer_id": "C3"\n'
        + "[" * 100_000
        + "\n"
        + '{"customer_id": '
        + "9" * 5000
        + "}\n"
        + '{"customer_id": 4}',
        encoding="utf-8",
    )
    report = file("customers", path)
    assert report.refused == [
        (3, "email: not an address of this kind"),
        (4, "not JSON"),
        (5, "not JSON"),
        (6, "not JSON"),
    ]
    assert every(database, customers.c.external_id, customers.c.first_name) == [("4", None), ("C1", "Zoë")]
    assert report.rejects_path is not None
    first, *rest = report.rejects_path.read_text().splitlines()
    assert json.loads(first) == {
        "customer_id": "C2",
        "email": "nowhere",
        "tier": "gold",
        "rejected.line": 3,
        "rejected.reason": "email: not an address of this kind",
    }
    assert [json.loads(line)["rejected.line"] for line in rest] == [4, 5, 6]
    corrected = tmp_path / "corrected.jsonl"
    corrected.write_text(first.replace("nowhere", "now@here.example"))
    assert file("customers", corrected).rejected == 0
    assert {"tier": "gold"} in every(database, customers.c.attributes)


def test_json_lines_that_are_not_text_are_refused_whole(file: Import, tmp_path: Path) -> None:
    path = tmp_path / "customers.jsonl"
    path.write_bytes(b'{"customer_id": "C1"}\n{"customer_id": "\xff"}\n')
    with pytest.raises(StoreError, match=r"customers\.jsonl:2: not UTF-8 text"):
        file("customers", path)


# --- Parquet ----------------------------------------------------------------------------------------


def test_a_parquet_file_may_have_any_plain_types(file: Import, database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        for external_id in ("1", "2"):
            connection.execute(
                customers.insert().values(external_id=external_id, draw=1, created_at=NOW, updated_at=NOW)
            )
    nanoseconds = 1_772_357_400_000_000_001
    table = pa.table(
        {
            "order_id": pa.array(["R1", "R2", "R3"]),
            "customer_id": pa.array([1, 2, 3], pa.int32()),
            "ordered_at": pa.array([nanoseconds, nanoseconds, nanoseconds], pa.timestamp("ns", "UTC")),
            "total": pa.array([Decimal("24.90"), None, Decimal("1.00")], pa.decimal128(9, 2)),
            "status": pa.array(["paid", "paid", None]).dictionary_encode(),
        }
    )
    path = tmp_path / "orders.parquet"
    parquet.write_table(table, path)
    report = file("orders", path)
    assert report.refused == [
        (2, "total: not an amount like 1234.50"),
        (3, "customer_id: not among the customers"),
    ]
    at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    assert every(database, orders.c.external_id, orders.c.total, orders.c.ordered_at) == [("R1", 2490, at)]
    assert file("orders", path).written == 0


def test_a_parquet_file_without_a_column_says_so_before_anything_is_written(
    file: Import, database: Database, tmp_path: Path
) -> None:
    parquet.write_table(pa.table({"costumer_id": ["C1"]}), tmp_path / "customers.parquet")
    with pytest.raises(ProblemsFound) as found:
        file("customers", tmp_path / "customers.parquet")
    assert str(found.value) == "customers.parquet: no column 'customer_id'; did you mean 'costumer_id'?"
    assert every(database, customers.c.id) == []


@pytest.mark.parametrize("keep", [0, 100, -200])
def test_a_file_that_is_not_whole_parquet_is_refused(file: Import, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "events.parquet"
    parquet.write_table(pa.table({"event_id": [str(n) for n in range(1000)]}), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError) as error:
        file("events", path)
    assert str(error.value) == "events.parquet cannot be read"
    assert error.value.hint == "is this a Parquet file, and whole?"


def test_lines_and_events_come_from_parquet_too(file: Import, database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        connection.execute(
            customers.insert().values(external_id="C1", draw=1, created_at=NOW, updated_at=NOW)
        )
    seen = pa.table(
        {
            "event_id": [1],
            "customer_id": ["C1"],
            "event": ["seen"],
            "occurred_at": [datetime(2026, 3, 1, 10, 30)],  # noqa: DTZ001 - in the business's zone
            "price": [12.5],
        }
    )
    parquet.write_table(seen, tmp_path / "events.parquet")
    assert file("events", tmp_path / "events.parquet").kept == 1
    assert every(database, events.c.occurred_at) == [datetime(2026, 3, 1, 9, 30, tzinfo=UTC)]
    assert every(database, events.c.properties) == [{"price": 12.5}]
    assert every(database, order_lines.c.sku) == []
