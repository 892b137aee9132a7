from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select

from holdfast.settings import Business, Project
from holdfast.store.database import Database
from holdfast.store.imports import Kind, import_file
from holdfast.store.schema import ensure
from holdfast.tables import (
    addresses,
    consents,
    customers,
    order_lines,
    orders,
    profile_months,
    profiles,
    to_microseconds,
)
from tests import cdnow

NOW = datetime(1998, 7, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The whole of CDNOW, imported once: SQLite; the rest of the suite compares the two databases."""
    folder = tmp_path_factory.mktemp("cdnow")
    files = cdnow.write_cdnow(folder)
    database = Database(folder / "holdfast.db")
    ensure(database)
    project = Project(root=folder, business=Business(currency="USD", timezone="UTC"))
    kinds: tuple[Kind, ...] = ("customers", "orders", "lines")
    for kind in kinds:
        report = import_file(database, project, b"secret", kind, getattr(files, kind), now=NOW)
        assert report.rejected == 0
    return database


def cents(dollars: Decimal) -> int:
    return int(dollars * 100)


def test_every_customer_and_purchase_is_there(imported: Database) -> None:
    with imported.read() as connection:
        assert connection.scalar(select(func.count()).select_from(customers)) == cdnow.CUSTOMERS
        assert connection.scalar(select(func.count()).select_from(orders)) == cdnow.PURCHASES
        assert connection.scalar(select(func.sum(order_lines.c.quantity))) == sum(
            p.discs for p in cdnow.purchases()
        )
        assert connection.scalar(select(func.sum(orders.c.total))) == cents(cdnow.spent(cdnow.purchases()))


def test_the_published_size_of_the_data_is_the_one_used() -> None:
    # Fader and Hardie, "Notes on the CDNOW Master Data Set": 23,570 customers, 69,659 transactions.
    assert (len(cdnow.histories()), len(cdnow.purchases())) == (cdnow.CUSTOMERS, cdnow.PURCHASES)
    assert cdnow.purchases()[-1].day <= cdnow.LAST_DAY


def test_the_rollup_equals_a_computation_from_the_purchases(imported: Database) -> None:
    with imported.read() as connection:
        rows = connection.execute(
            select(
                customers.c.external_id,
                profiles.c.order_count,
                profiles.c.total,
                profiles.c.first_order_at,
                profiles.c.last_order_at,
            ).join_from(profiles, customers)
        )
        kept = {row[0]: (row[1], row[2], row[3].date(), row[4].date()) for row in rows}
    assert kept == {
        customer: (len(own), cents(cdnow.spent(own)), own[0].day, own[-1].day)
        for customer, own in cdnow.histories().items()
    }


def test_months_equal_a_computation_from_the_purchases(imported: Database) -> None:
    expected: Counter[int] = cdnow.months(cdnow.purchases())
    with imported.read() as connection:
        rows = connection.execute(
            select(profile_months.c.month, func.sum(profile_months.c.order_count)).group_by(
                profile_months.c.month
            )
        ).all()
    assert dict(map(tuple, rows)) == expected


def test_customers_gone_quiet_are_found_in_the_rollup(imported: Database) -> None:
    day, quiet = datetime(1998, 7, 1, tzinfo=UTC), timedelta(days=180)
    with imported.read() as connection:
        found = connection.scalars(
            select(customers.c.external_id)
            .join_from(customers, profiles)
            .where(profiles.c.last_order_at < to_microseconds(day - quiet), profiles.c.order_count >= 2)
        ).all()
    expected = cdnow.quiet_since(day.date(), quiet, at_least=2)
    assert set(found) == expected
    assert len(expected) > 1000


def test_made_up_contacts_are_imported_with_their_consents(imported: Database) -> None:
    known = cdnow.contacts().values()
    with imported.read() as connection:
        kinds = dict(
            map(tuple, connection.execute(select(addresses.c.kind, func.count()).group_by(addresses.c.kind)))
        )
        granted = connection.scalar(
            select(func.count()).select_from(consents).where(consents.c.kind == "email", consents.c.granted)
        )
    assert kinds == {
        "email": sum(bool(c.email) for c in known),
        "telegram": sum(bool(c.telegram) for c in known),
    }
    assert granted == sum(c.email_consent == "yes" for c in known)
