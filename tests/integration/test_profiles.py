from __future__ import annotations

import csv
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from holdfast.settings import Business, Project
from holdfast.store.database import Database
from holdfast.store.imports import import_file
from holdfast.store.profiles import refresh_profiles
from holdfast.tables import customers, metadata, orders, profile_months, profiles

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ZONE = ZoneInfo("Pacific/Auckland")

# Few ids, so that orders change status, total, time and customer between imports.
ORDER = st.fixed_dictionaries(
    {
        "order_id": st.sampled_from([f"O{n}" for n in range(12)]),
        "customer_id": st.sampled_from([f"C{n}" for n in range(4)]),
        "ordered_at": st.datetimes(datetime(2025, 12, 30), datetime(2026, 3, 2)).map(  # noqa: DTZ001
            lambda moment: moment.replace(tzinfo=UTC, microsecond=0).isoformat()
        ),
        "total": st.integers(0, 5).map(str),
        "status": st.sampled_from(["completed", "refunded", "cancelled", "pending"]),
    }
)
IMPORTS = st.lists(st.lists(ORDER, min_size=1, max_size=15), min_size=1, max_size=4)


def import_rows(database: Database, folder: Path, kind: Any, rows: list[dict[str, str]]) -> None:
    path = folder / f"{kind}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    project = Project(root=folder, business=Business(timezone=ZONE.key))
    report = import_file(database, project, b"secret", kind, path, now=NOW)
    assert report.rejected == 0


def rollup(database: Database) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    named = select(customers.c.external_id, *(c for c in profiles.c if c.name != "customer_id"))
    monthly = select(customers.c.external_id, *(c for c in profile_months.c if c.name != "customer_id"))
    with database.read() as connection:
        whole = connection.execute(named.join_from(profiles, customers)).all()
        by_month = connection.execute(monthly.join_from(profile_months, customers)).all()
    return sorted(map(tuple, whole)), sorted(map(tuple, by_month))


def computed(rows: list[dict[str, str]]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The same from the rows alone: the last one of an id counts."""
    latest = {row["order_id"]: row for row in rows}
    own: defaultdict[str, list[tuple[datetime, int]]] = defaultdict(list)
    months: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for row in latest.values():
        if row["status"] in ("completed", "pending"):
            moment, total = datetime.fromisoformat(row["ordered_at"]), int(row["total"]) * 100
            local = moment.astimezone(ZONE)
            own[row["customer_id"]].append((moment, total))
            months[row["customer_id"], local.year * 12 + local.month - 1].append(total)
    whole = []
    for customer_id, bought in own.items():
        times = sorted(moment for moment, _ in bought)
        previous = times[-2] if len(times) > 1 else None
        whole.append(
            (customer_id, len(bought), sum(total for _, total in bought), times[0], previous, times[-1])
        )
    return sorted(whole), sorted((*key, len(totals), sum(totals)) for key, totals in months.items())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(imports=IMPORTS)
def test_the_rollup_equals_a_computation_from_the_orders_after_any_imports(
    database: Database, tmp_path: Path, imports: list[list[dict[str, str]]]
) -> None:
    with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    import_rows(database, tmp_path, "customers", [{"customer_id": f"C{n}"} for n in range(4)])
    for rows in imports:
        import_rows(database, tmp_path, "orders", rows)
    expected = computed([row for rows in imports for row in rows])
    assert rollup(database) == expected
    with database.write() as connection:
        refresh_profiles(connection)
    assert rollup(database) == expected


def order(order_id: str, customer_id: str, day: int, status: str = "completed") -> dict[str, str]:
    moment = (datetime(2026, 1, 10, tzinfo=UTC) + timedelta(days=day)).isoformat()
    return {
        "order_id": order_id,
        "customer_id": customer_id,
        "ordered_at": moment,
        "total": "1",
        "status": status,
    }


def test_a_customer_whose_only_order_is_refunded_has_no_rollup(database: Database, tmp_path: Path) -> None:
    import_rows(database, tmp_path, "customers", [{"customer_id": "C1"}])
    import_rows(database, tmp_path, "orders", [order("O1", "C1", 0)])
    assert len(rollup(database)[0]) == 1
    import_rows(database, tmp_path, "orders", [order("O1", "C1", 0, "refunded")])
    assert rollup(database) == ([], [])


def test_an_order_that_moves_to_another_customer_leaves_the_first_one(
    database: Database, tmp_path: Path
) -> None:
    import_rows(database, tmp_path, "customers", [{"customer_id": "C1"}, {"customer_id": "C2"}])
    import_rows(database, tmp_path, "orders", [order("O1", "C1", 0), order("O2", "C1", 1)])
    import_rows(database, tmp_path, "orders", [order("O2", "C2", 1)])
    assert [(row[0], row[1]) for row in rollup(database)[0]] == [("C1", 1), ("C2", 1)]


def test_only_the_customers_asked_for_are_refreshed(database: Database, tmp_path: Path) -> None:
    import_rows(database, tmp_path, "customers", [{"customer_id": "C1"}, {"customer_id": "C2"}])
    import_rows(database, tmp_path, "orders", [order("O1", "C1", 0), order("O2", "C2", 1)])
    with database.write() as connection:
        connection.execute(update(orders).values(total=700))
        (first,) = connection.scalars(select(customers.c.id).where(customers.c.external_id == "C1"))
        refresh_profiles(connection, [first, first])
        refresh_profiles(connection, [])
    assert [(row[0], row[2]) for row in rollup(database)[0]] == [("C1", 700), ("C2", 100)]


def test_sums_are_exact_beyond_32_bits(database: Database, tmp_path: Path) -> None:
    import_rows(database, tmp_path, "customers", [{"customer_id": "C1"}])
    huge = [order(f"O{n}", "C1", n) | {"total": "9999999999999.99"} for n in range(3)]
    import_rows(database, tmp_path, "orders", huge)
    import_rows(database, tmp_path, "orders", [order("O3", "C1", 3)])
    assert rollup(database)[0][0][2] == 3 * 999_999_999_999_999 + 100
