from __future__ import annotations

import csv
import re
import stat
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update

from holdfast.audience.arms import draw_number
from holdfast.errors import ProblemsFound, StoreError
from holdfast.settings import Business, Project
from holdfast.store.database import Database
from holdfast.store.imports import ImportReport, Kind, import_file
from holdfast.store.imports.customers import COLUMNS as CUSTOMER_COLUMNS
from holdfast.store.imports.history import EVENT_COLUMNS, LINE_COLUMNS, ORDER_COLUMNS, STATUSES
from holdfast.tables import addresses, consents, customers, events, metadata, order_lines, orders, profiles

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = b"a secret of a test"

Import = Callable[..., ImportReport]


@pytest.fixture
def run(database: Database, tmp_path: Path) -> Import:
    """Imports a file of this text: `run("orders", "order_id,…")`."""

    def import_text(
        kind: Kind,
        content: str | bytes,
        *,
        name: str = "file.csv",
        business: Business | None = None,
        now: datetime = NOW,
    ) -> ImportReport:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        project = Project(root=tmp_path, business=business or Business(timezone="Europe/Berlin"))
        return import_file(database, project, SECRET, kind, path, now=now, rejects=tmp_path / "rejects.csv")

    return import_text


@pytest.fixture
def two_customers(run: Import) -> None:
    run("customers", "customer_id\nC1\nC2\n")


def every(database: Database, *columns: Any) -> list[Any]:
    with database.read() as connection:
        rows = connection.execute(select(*columns).order_by(*columns)).all()
    return [row[0] if len(columns) == 1 else tuple(row) for row in rows]


def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    with database.read() as connection:
        return {
            name: sorted(map(repr, connection.execute(select(table)).all()))
            for name, table in metadata.tables.items()
        }


def rejected(tmp_path: Path) -> list[tuple[str, str]]:
    with (tmp_path / "rejects.csv").open(encoding="utf-8", newline="") as file:
        return [(row["rejected.line"], row["rejected.reason"]) for row in csv.DictReader(file)]


# --- customers --------------------------------------------------------------------------------------


def test_a_customer_is_read_with_addresses_consents_and_custom_columns(
    run: Import, database: Database
) -> None:
    report = run(
        "customers",
        "customer_id,email,first_name,last_name,locale,timezone,country,city,birthday,phone,telegram,x,"
        "consent.email,consent.phone.transactional,consent.telegram,tier,visits,vip,score\n"
        "C1,Ann@Shop.Example,Zoë,Müller,ar_eg,Mars/Olympus,de,Köln,1990-05-17,+49 30 1234,77,@zoe,"
        "yes,no,,gold,12,TRUE,0.5\n",
    )
    assert (report.read, report.kept, report.rejected, report.rejects_path) == (1, 1, 0, None)
    with database.read() as connection:
        customer = connection.execute(select(customers)).one()._asdict()
    assert customer | {"id": 0} == {
        "id": 0,
        "external_id": "C1",
        "draw": draw_number(SECRET, "C1"),
        "first_name": "Zoë",
        "last_name": "Müller",
        "locale": "ar-EG",
        "timezone": "Mars/Olympus",
        "country": "DE",
        "city": "Köln",
        "birthday": date(1990, 5, 17),
        "attributes": {"tier": "gold", "visits": 12, "vip": True, "score": 0.5},
        "preferred_kind": None,
        "chosen_locale": None,
        "paused_until": None,
        "imported_preference": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert every(database, addresses.c.kind, addresses.c.address, addresses.c.address_key) == [
        ("email", "Ann@Shop.Example", "ann@shop.example"),
        ("sms", "+49 30 1234", "+49301234"),
        ("telegram", "77", "77"),
        ("x", "@zoe", "zoe"),
    ]
    assert every(database, consents.c.kind, consents.c.purpose, consents.c.granted, consents.c.evidence) == [
        ("email", "marketing", True, "import file.csv"),
        ("sms", "transactional", False, "import file.csv"),
    ]


def test_custom_columns_hold_plain_numbers_truths_and_text(run: Import, database: Database) -> None:
    cells = [
        "7",
        "-7",
        "7.25",
        "007",
        "1e5",
        "+7",
        "true",
        "False",
        "yes",
        "",
        "9" * 30,
        '"quoted"',
        "ü",
        "1,5",
    ]
    with_header = ",".join(["customer_id", *(f"a{n}" for n in range(len(cells)))])
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in ["C1", *cells])
    run("customers", f"{with_header}\n{quoted}\n")
    expected = [7, -7, 7.25, "007", "1e5", "+7", True, False, "yes", None, "9" * 30, '"quoted"', "ü", "1,5"]
    (stored,) = every(database, customers.c.attributes)
    assert stored == {f"a{n}": value for n, value in enumerate(expected) if value is not None}


def test_columns_that_a_file_lacks_are_left_and_empty_cells_are_cleared(
    run: Import, database: Database
) -> None:
    run("customers", "customer_id,first_name,city,email,tier,vip\nC1,Ann,Rome,a@b.example,gold,true\n")
    run("customers", "customer_id,first_name,email,tier\nC1,,,\n")
    assert every(database, customers.c.first_name, customers.c.city) == [(None, "Rome")]
    assert every(database, customers.c.attributes) == [{"vip": True}]
    assert every(database, addresses.c.kind) == []


def test_one_address_may_belong_to_two_customers(run: Import, database: Database) -> None:
    run("customers", "customer_id,email\nC1,home@b.example\nC2,HOME@b.example\n")
    assert every(database, addresses.c.address_key) == ["home@b.example"] * 2


def test_a_file_that_repeats_a_consent_does_not_overrule_an_unsubscription(
    run: Import, database: Database
) -> None:
    run("customers", "customer_id,email,consent.email\nC1,a@b.example,yes\n", name="monday.csv")
    with database.write() as connection:
        connection.execute(
            insert(consents).values(
                customer_id=select(customers.c.id).scalar_subquery(),
                kind="email",
                purpose="marketing",
                granted=False,
                evidence="unsubscribe link",
                recorded_at=NOW,
            )
        )
    run("customers", "customer_id,email,consent.email\nC1,a@b.example,yes\n", name="tuesday.csv")
    with database.read() as connection:
        latest = (
            select(consents.c.granted).order_by(consents.c.recorded_at.desc(), consents.c.id.desc()).limit(1)
        )
        assert connection.scalar(latest) is False
    run("customers", "customer_id,consent.email\nC1,no\n", name="wednesday.csv")
    run("customers", "customer_id,consent.email\nC1,yes\n", name="thursday.csv")
    with database.read() as connection:
        assert connection.scalar(latest) is True


@pytest.mark.parametrize("kind", ["email", "sms"])
def test_a_first_word_on_consent_does_not_overrule_a_no_that_was_there_before(
    run: Import, database: Database, kind: str
) -> None:
    run("customers", "customer_id,email,phone\nC1,a@b.example,+4930123456\n")
    with database.write() as connection:
        connection.execute(
            insert(consents).values(
                customer_id=select(customers.c.id).scalar_subquery(),
                kind="email",
                purpose="marketing",
                granted=False,
                evidence="unsubscribe page",
                recorded_at=NOW,
            )
        )
    run("customers", f"customer_id,consent.{kind}\nC1,yes\n")
    given = every(database, consents.c.kind, consents.c.granted, consents.c.evidence)
    assert [row for row in given if row[1]] == ([] if kind == "email" else [("sms", True, "import file.csv")])


def test_only_a_changed_customer_counts_as_updated(run: Import, database: Database) -> None:
    run("customers", "customer_id,first_name\nC1,Ann\nC2,Bob\n")
    later = NOW.replace(hour=13)
    assert run("customers", "customer_id,first_name\nC1,Anna\nC2,Bob\n", now=later).written == 1
    assert every(database, customers.c.external_id, customers.c.updated_at) == [("C1", later), ("C2", NOW)]


BAD_CUSTOMERS = [
    ("email", "no-at-sign", "email: not an address of this kind"),
    ("email", "two words@b.example", "email: not an address of this kind"),
    ("email", "a@b.example\nBcc: c@d.example", "email: not an address of this kind"),
    ("email", "a" * 250 + "@b.example", "email: not an address of this kind"),
    ("email", "a@b@c.example", "email: not an address of this kind"),
    ("email", "a@localhost", "email: not an address of this kind"),
    ("phone", "call me", "phone: not an address of this kind"),
    ("telegram", "4 2", "telegram: not an address of this kind"),
    ("locale", "German, please", "locale: not a language tag like de or ar-EG"),
    ("country", "Germany", "country: not a country code of two letters like DE"),
    ("birthday", "17.05.1990", "birthday: not an ISO 8601 date"),
    ("birthday", "2026-12-24", "birthday: in the future"),
    ("birthday", "0990-05-17", "birthday: before 1900"),
    ("first_name", "x" * 2001, "first_name: longer than 2000 characters"),
    ("first_name", "A\0nn", "a NUL byte"),
    ("first_name", "x" * 140_000, "not CSV: field larger than field limit (131072)"),
    ("consent.email", "perhaps", "consent.email: neither yes nor no"),
]


def test_customers_that_cannot_be_are_set_aside(run: Import, database: Database, tmp_path: Path) -> None:
    columns = list(dict.fromkeys(column for column, _, _ in BAD_CUSTOMERS))
    lines, expected, line = [",".join(["customer_id", *columns]), "good" + "," * len(columns)], [], 3
    for bad, cell, reason in BAD_CUSTOMERS:
        lines.append(",".join([f"C{line}", *(f'"{cell}"' if column == bad else "" for column in columns)]))
        expected.append((str(line), reason))
        line += 1 + cell.count("\n")
    report = run("customers", "\n".join([*lines, "last" + "," * len(columns)]))
    assert rejected(tmp_path) == expected
    assert (report.kept, report.rejected) == (2, len(BAD_CUSTOMERS))
    assert every(database, customers.c.external_id) == ["good", "last"]


def test_odd_names_are_kept_as_they_are(run: Import, database: Database) -> None:
    names = [
        "<script>alert(1)</script>",
        "=1+1",
        "{{ 7 * 7 }}",
        "x'); DROP TABLE x;--",
        "\u202egnp.exe",
        "Ann\nBob",
    ]
    run("customers", "customer_id,first_name\n" + "".join(f'C{n},"{name}"\n' for n, name in enumerate(names)))
    assert every(database, customers.c.external_id, customers.c.first_name) == [
        (f"C{n}", name) for n, name in enumerate(names)
    ]


# --- orders, lines, events ----------------------------------------------------------------------------


def test_a_time_without_an_offset_is_in_the_business_zone(
    run: Import, two_customers: None, database: Database
) -> None:
    moments = [
        ("2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01 10:00:00+02:00", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ("2026-03-01 10:00:00.25", datetime(2026, 3, 1, 9, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-07-01T10:00", datetime(2026, 7, 1, 8, tzinfo=UTC)),
        ("2026-07-01", datetime(2026, 6, 30, 22, tzinfo=UTC)),
        # A quarter of an hour that the clock went through twice, and one that it skipped.
        ("2026-10-25T02:15", datetime(2026, 10, 25, 0, 15, tzinfo=UTC)),
        ("2026-03-29T02:15", datetime(2026, 3, 29, 1, 15, tzinfo=UTC)),
    ]
    rows = "".join(f"O{n},C1,{written},1\n" for n, (written, _) in enumerate(moments))
    run("orders", "order_id,customer_id,ordered_at,total\n" + rows)
    assert every(database, orders.c.external_id, orders.c.ordered_at) == [
        (f"O{n}", stored) for n, (_, stored) in enumerate(moments)
    ]


def test_the_month_of_an_order_is_the_one_in_the_business_zone(
    run: Import, two_customers: None, database: Database
) -> None:
    run("orders", "order_id,customer_id,ordered_at,total\nO1,C1,2026-01-31T23:30Z,1\n")
    assert every(database, orders.c.month) == [2026 * 12 + 1]


def test_totals_are_kept_in_minor_units_of_the_currency(
    run: Import, two_customers: None, database: Database
) -> None:
    totals = [
        ("EUR", "12.5", 1250),
        ("EUR", "0", 0),
        ("EUR", "12.3400", 1234),
        ("EUR", " 7.10 ", 710),
        ("JPY", "1250", 1250),
        ("JPY", "1250.0", 1250),
        ("KWD", "1.234", 1234),
    ]
    for number, (currency, written, _) in enumerate(totals):
        content = f"order_id,customer_id,ordered_at,total\nO{number},C1,2026-01-01,{written}\n"
        run("orders", content, business=Business(currency=currency))
    assert every(database, orders.c.external_id, orders.c.currency, orders.c.total) == [
        (f"O{number}", currency, stored) for number, (currency, _, stored) in enumerate(totals)
    ]


BAD_ORDERS = [
    ("O1,C9,2026-01-01,1,EUR,paid", "customer_id: not among the customers"),
    (",C1,2026-01-01,1,EUR,paid", "order_id: empty"),
    ("O1,,2026-01-01,1,EUR,paid", "customer_id: empty"),
    (f"{'O' * 201},C1,2026-01-01,1,EUR,paid", "order_id: longer than 200 characters"),
    ("O1,C1,01/02/2026,1,EUR,paid", "ordered_at: not an ISO 8601 date or time"),
    ("O1,C1,,1,EUR,paid", "ordered_at: not an ISO 8601 date or time"),
    ("O1,C1,2026-11-22T13:30,1,EUR,paid", "ordered_at: in the future"),
    ("O1,C1,9999-12-31T23:59-12:00,1,EUR,paid", "ordered_at: not an ISO 8601 date or time"),
    ("O1,C1,0001-01-01,1,EUR,paid", "ordered_at: before 1900"),
    ("O1,C1,2026-01-01,-1,EUR,paid", "total: negative"),
    ("O1,C1,2026-01-01,(1.00),EUR,paid", "total: negative"),
    ('O1,C1,2026-01-01,"1,00",EUR,paid', "total: not an amount like 1234.50"),
    ("O1,C1,2026-01-01,1.005,EUR,paid", "total: more than 2 decimals, which EUR does not have"),
    ("O1,C1,2026-01-01,١٢,EUR,paid", "total: not an amount like 1234.50"),
    ("O1,C1,2026-01-01,nan,EUR,paid", "total: not an amount like 1234.50"),
    ("O1,C1,2026-01-01,1e3,EUR,paid", "total: not an amount like 1234.50"),
    (f"O1,C1,2026-01-01,{'9' * 14},EUR,paid", "total: not an amount like 1234.50"),
    ("O1,C1,2026-01-01,1,USD,paid", "currency: not EUR, the business's currency"),
    ("O1,C1,2026-01-01,1,EUR,maybe", "status: not a known status"),
    ("O1,C1,2026-01-01,1,EUR", "5 fields where the header has 6"),
    ("O1,C1,2026-01-01,1,EUR,paid,extra", "7 fields where the header has 6"),
    ('O1,C1,2026-01-01,1,EUR,"paid"d', "not CSV: ',' expected after '\"'"),
]


def test_orders_that_cannot_be_are_set_aside(
    run: Import, two_customers: None, database: Database, tmp_path: Path
) -> None:
    lines = [row for row, _ in BAD_ORDERS]
    header = "order_id,customer_id,ordered_at,total,currency,status"
    good = ["O7,C1,2026-01-01,1,EUR,paid", "O8,C2,2026-01-01,1,eur,Paid"]
    report = run("orders", "\n".join([header, good[0], *lines, good[1]]))
    assert rejected(tmp_path) == [(str(line), reason) for line, (_, reason) in enumerate(BAD_ORDERS, start=3)]
    assert (report.read, report.kept, report.rejected) == (len(lines) + 2, 2, len(lines))
    assert every(database, orders.c.external_id) == ["O7", "O8"]


def test_a_status_is_one_of_five_and_says_whether_the_order_counts(
    run: Import, two_customers: None, database: Database
) -> None:
    statuses = sorted({**STATUSES, "Partially Refunded": "completed", " on-hold": "pending"}.items())
    rows = "".join(f"O{n:03},C1,2026-01-01,1,{written}\n" for n, (written, _) in enumerate(statuses))
    run("orders", "order_id,customer_id,ordered_at,total,status\n" + rows)
    assert every(database, orders.c.external_id, orders.c.status, orders.c.qualifying) == [
        (f"O{n:03}", stored, stored in ("pending", "completed")) for n, (_, stored) in enumerate(statuses)
    ]


def test_lines_belong_to_an_order_by_article(
    run: Import, two_customers: None, database: Database, tmp_path: Path
) -> None:
    run("orders", "order_id,customer_id,ordered_at,total\nO1,C1,2026-01-01,30\n")
    header = "order_id,sku,name,category,quantity,unit_price\n"
    rows = (
        "O1,tea,Sencha,tea,2,10\nO1,cup,Cup,,1,10\nO9,tea,Sencha,tea,1,10\n"
        "O1,x,,tea,1,10\nO1,y,Y,,0,1\nO1,z,Z,,1.5,1\n"
    )
    run("lines", header + rows)
    lines = order_lines.c
    assert every(database, lines.sku, lines.name, lines.category, lines.quantity, lines.unit_price) == [
        ("cup", "Cup", None, 1, 1000),
        ("tea", "Sencha", "tea", 2, 1000),
    ]
    assert rejected(tmp_path) == [
        ("4", "order_id: not among the orders"),
        ("5", "name: empty"),
        ("6", "quantity: not a whole number from 1"),
        ("7", "quantity: not a whole number from 1"),
    ]
    assert run("lines", header + "O1,tea,Sencha,tea,3,10\n").written == 1
    assert every(database, lines.sku, lines.quantity) == [("cup", 1), ("tea", 3)]


def test_other_columns_of_an_event_are_its_properties(
    run: Import, two_customers: None, database: Database, tmp_path: Path
) -> None:
    run(
        "events",
        "event_id,customer_id,event,occurred_at,sku,price,page\n"
        "E1,C1,viewed_product,2026-11-01T10:00:00Z,tea,9.5,\nE2,C9,viewed_product,2026-11-01,,,\nE3,C2,,2026-11-01,,,\n",
    )
    assert every(database, events.c.event, events.c.occurred_at) == [
        ("viewed_product", datetime(2026, 11, 1, 10, tzinfo=UTC))
    ]
    assert every(database, events.c.properties) == [{"sku": "tea", "price": 9.5}]
    assert rejected(tmp_path) == [("3", "customer_id: not among the customers"), ("4", "event: empty")]


# --- files --------------------------------------------------------------------------------------------

ORDERS = "order_id,customer_id,ordered_at,total\n"


def preferred(database: Database) -> list[tuple[str, str | None]]:
    return every(database, customers.c.external_id, customers.c.preferred_kind)


def test_a_preferred_channel_is_a_kind_and_is_not_repeated_over_the_customers_own_choice(
    run: Import, database: Database
) -> None:
    report = run("customers", "customer_id,preferred_channel\nC1,Phone\nC2,\nC3,telegram\nC4,by pigeon!\n")
    assert [reason for _, reason in report.refused] == [
        "preferred_channel: not a kind of channel, like email, phone or telegram"
    ]
    assert preferred(database) == [("C1", "sms"), ("C2", None), ("C3", "telegram")]
    with database.write() as connection:
        connection.execute(update(customers).values(preferred_kind="email"))
    run("customers", "customer_id,preferred_channel\nC1,phone\nC2,\nC3,x\n")
    assert preferred(database) == [("C1", "email"), ("C2", "email"), ("C3", "x")]
    run("customers", "customer_id,city\nC3,Graz\n")
    run("customers", "customer_id,preferred_channel\nC1,\n")
    assert preferred(database) == [("C1", None), ("C2", "email"), ("C3", "x")]


def test_the_same_file_twice_changes_nothing(run: Import, database: Database) -> None:
    files: list[tuple[Kind, str]] = [
        ("customers", "customer_id,email,consent.email,tier,n\nC1,a@b.example,yes,gold,1.50\nC2,,no,,\n"),
        ("orders", ORDERS + "O1,C1,2026-01-01,10\nO2,C1,2026-02-01,20\nO3,C2,2026-02-01,20\n"),
        ("lines", "order_id,sku,name,quantity,unit_price\nO1,tea,Sencha,1,10\n"),
        ("events", "event_id,customer_id,event,occurred_at,n,b\nE1,C1,viewed,2026-01-01,2,true\n"),
    ]
    for kind, content in files:
        assert run(kind, content).written > 0
    before = contents(database)
    for kind, content in files:
        assert run(kind, content, now=NOW.replace(hour=20)).written == 0
    assert contents(database) == before


def test_the_last_row_of_an_id_counts(run: Import, two_customers: None, database: Database) -> None:
    report = run("orders", ORDERS + "O1,C1,2026-01-01,10\nO1,C2,2026-01-01,20\n")
    assert report.kept == 2
    assert every(database, orders.c.total) == [2000]
    assert every(database, profiles.c.total) == [2000]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found_out(run: Import, database: Database, delimiter: str) -> None:
    content = f'customer_id{delimiter}first_name{delimiter}"a,b;c"\r\nC1{delimiter}Ann{delimiter}x\r\n'
    run("customers", b"\xef\xbb\xbf" + content.encode())
    assert every(database, customers.c.external_id, customers.c.first_name) == [("C1", "Ann")]
    assert every(database, customers.c.attributes) == [{"a,b;c": "x"}]


def test_line_numbers_are_physical_and_rejects_keep_the_row(
    run: Import, database: Database, tmp_path: Path
) -> None:
    report = run(
        "customers",
        'customer_id,first_name,email\nC1,"Ann\nMaria\nLuise",\n\n,"Bob\nJr",x@y.example\nC3,Eve,nowhere\n',
    )
    assert rejected(tmp_path) == [("6", "customer_id: empty"), ("8", "email: not an address of this kind")]
    assert (tmp_path / "rejects.csv").read_text(encoding="utf-8").splitlines() == [
        "rejected.line,rejected.reason,customer_id,first_name,email",
        '6,customer_id: empty,,"Bob',
        'Jr",x@y.example',
        "8,email: not an address of this kind,C3,Eve,nowhere",
    ]
    assert report.rejects_path == tmp_path / "rejects.csv"


def test_a_corrected_rejects_file_can_be_imported(run: Import, database: Database, tmp_path: Path) -> None:
    run("customers", "customer_id,email\nC1,nowhere\n")
    corrected = (tmp_path / "rejects.csv").read_text(encoding="utf-8").replace("nowhere", "a@b.example")
    assert run("customers", corrected).rejected == 0
    assert every(database, customers.c.external_id, customers.c.attributes) == [("C1", {})]


def test_only_the_owner_can_read_rejected_rows(run: Import, tmp_path: Path) -> None:
    (tmp_path / "rejects.csv").touch(mode=0o644)
    run("customers", "customer_id,email\nC1,nowhere\n")
    assert stat.S_IMODE((tmp_path / "rejects.csv").stat().st_mode) == 0o600


def test_no_rejects_file_is_made_when_there_is_nothing_to_reject(run: Import, tmp_path: Path) -> None:
    assert run("customers", "customer_id\nC1\n").rejects_path is None
    assert not (tmp_path / "rejects.csv").exists()


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (
            "customer_id,first_name\nC1,Zoë\n".encode("latin-1"),
            "file.csv:2: not UTF-8 text",
            "save the file as UTF-8",
        ),
        ("customer_id\nC1\n".encode("utf-16"), "file.csv:1: not UTF-8 text", "save the file as UTF-8"),
        (b"customer_id\nC1\xc3", "file.csv:2: the file ends in the middle of a character", ""),
        (b"", "file.csv has no header", "its first line names the columns"),
        (b"customer_id\n" + b"x" * 6_000_000, "file.csv:2: a line of over 4 MB", "is this a text file?"),
    ],
)
def test_a_file_that_is_no_csv_text_is_refused_whole(
    run: Import, database: Database, content: bytes, message: str, hint: str
) -> None:
    with pytest.raises(StoreError) as refused:
        run("customers", content)
    assert str(refused.value) == message
    assert hint in refused.value.hint
    assert every(database, customers.c.id) == []


def test_every_problem_of_a_header_is_told_before_anything_is_written(
    run: Import, database: Database
) -> None:
    with pytest.raises(ProblemsFound) as refused:
        run("orders", "order_id,customerid,total,ordered_at,TOTAL,\nO1,C1,1,2026-01-01,1,\n")
    assert str(refused.value) == (
        "file.csv:1:1: column 6 has no name\n"
        "    order_id,customerid,total,ordered_at,TOTAL,\n"
        "    ^\n"
        "file.csv:1:1: no column 'customer_id'; did you mean 'customerid'?\n"
        "    order_id,customerid,total,ordered_at,TOTAL,\n"
        "    ^\n"
        "file.csv:1:38: column 'total' is there twice\n"
        "    order_id,customerid,total,ordered_at,TOTAL,\n"
        "                                         ^"
    )


def test_an_address_of_any_kind_has_a_column(run: Import, database: Database) -> None:
    report = run("customers", 'customer_id,address.letter\nC1,"1 High St, Berlin"\nC2,"a\nb"\nC3,\n')
    assert (report.kept, report.rejected) == (2, 1)
    assert every(database, addresses.c.kind, addresses.c.address) == [("letter", "1 High St, Berlin")]


def test_an_address_that_no_index_holds_costs_its_row_alone(run: Import, database: Database) -> None:
    scramble = "".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(1000))
    report = run("customers", f"customer_id,address.letter\nC1,{scramble}\nC2,{scramble[:600]}\n")
    assert (report.kept, report.rejected) == (1, 1)


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("address.", "column 'address.' is not an address; expected address.KIND"),
        ("Address.email", "column 'Address.email' is not how this address is called; expected email"),
        ("address.sms", "column 'address.sms' is not how this address is called; expected phone"),
    ],
)
def test_an_address_column_that_says_no_kind_or_a_known_one_is_a_problem(
    run: Import, column: str, what: str
) -> None:
    with pytest.raises(ProblemsFound, match=re.escape(f"1:13: {what}")):
        run("customers", f"customer_id,{column}\nC1,a@b.example\n")


def test_a_consent_column_that_says_no_kind_is_a_problem(run: Import) -> None:
    with pytest.raises(
        ProblemsFound, match=r"1:13: column 'consent.email.whenever' is not a consent; expected consent.KIND"
    ):
        run("customers", "customer_id,consent.email.whenever\nC1,yes\n")


def test_a_missing_file_is_told(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no file nowhere\.csv"):
        import_file(database, Project(root=tmp_path), SECRET, "orders", tmp_path / "nowhere.csv", now=NOW)


def test_rejects_never_overwrite_the_imported_file(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("order_id\n")
    with pytest.raises(StoreError, match="would overwrite"):
        import_file(database, Project(root=tmp_path), SECRET, "orders", path, now=NOW, rejects=path)


def test_failures_of_the_database_hold_no_customer_data(run: Import, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DROP TABLE addresses"))
    with pytest.raises(StoreError) as stopped:
        run("customers", "customer_id,email\nC1,private@b.example\n")
    assert "stopped the import at line 2" in str(stopped.value)
    assert "private" not in f"{stopped.value!r} {stopped.value.hint} {stopped.value.__cause__}"


def test_progress_tells_the_rows_read(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("customer_id\n" + "".join(f"C{n}\n" for n in range(45_000)))
    told: list[int] = []
    import_file(database, Project(root=tmp_path), SECRET, "customers", path, now=NOW, progress=told.append)
    assert told[-1] == 45_000
    assert len(told) > 1
    assert every(database, func.count(customers.c.id)) == [45_000]


def test_two_imports_at_once_keep_the_rollup_right(database: Database, tmp_path: Path) -> None:
    people = tmp_path / "customers.csv"
    people.write_text("customer_id\n" + "".join(f"C{n}\n" for n in range(50)))
    project = Project(root=tmp_path)
    import_file(database, project, SECRET, "customers", people, now=NOW)
    failures: list[BaseException] = []

    def import_orders(part: int) -> None:
        path = tmp_path / f"orders-{part}.csv"
        path.write_text(
            ORDERS
            + "".join(
                f"O{part}-{n},C{n % 50},2026-01-01,1\nshared{n},C{(n + part) % 50},2026-01-01,{part}\n"
                for n in range(500)
            )
        )
        try:
            import_file(database, project, SECRET, "orders", path, now=NOW)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=import_orders, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.read() as connection:
        recomputed = connection.execute(
            select(orders.c.customer_id, func.count(), func.sum(orders.c.total))
            .group_by(orders.c.customer_id)
            .order_by(orders.c.customer_id)
        ).all()
        kept = connection.execute(
            select(profiles.c.customer_id, profiles.c.order_count, profiles.c.total).order_by(
                profiles.c.customer_id
            )
        ).all()
    assert kept == recomputed


# --- documentation ------------------------------------------------------------------------------------

GUIDE = Path(__file__).parents[2] / "docs" / "importing.md"


@pytest.mark.parametrize("column", sorted({*CUSTOMER_COLUMNS, *ORDER_COLUMNS, *LINE_COLUMNS, *EVENT_COLUMNS}))
def test_every_column_is_documented(column: str) -> None:
    assert f"`{column}`" in GUIDE.read_text(encoding="utf-8")


def test_every_status_is_documented() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    assert [status for status in STATUSES if status and f"`{status}`" not in guide] == []
