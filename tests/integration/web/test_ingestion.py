"""Ingestion: records by the rules of the import, for who has the token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import func, select

from holdfast.store.imports import COLUMNS
from holdfast.tables import customers, events, order_lines, orders, refunds
from holdfast.web.ingestion import LARGEST_BODY, MOST_RECORDS
from tests.integration.web.conftest import TOKEN, MakeWeb, Outage, Web, on_sqlite

ORDER = {"order_id": "R1", "customer_id": "c1", "ordered_at": "2026-06-01T10:00:00Z", "total": "24.90"}


@pytest.fixture
def web(make_web: MakeWeb, monkeypatch: pytest.MonkeyPatch) -> Web:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    web = make_web(web={"tokens": {"shop": {"token": {"env": "SHOP_TOKEN"}, "scopes": list(COLUMNS)}}})
    post(web, "customers", [{"customer_id": "c1"}])
    return web


def post(web: Web, kind: str, records: Any, token: str = TOKEN) -> Any:
    content = records if isinstance(records, bytes) else json.dumps(records).encode()
    return web.client.post(f"/api/{kind}", content=content, headers={"Authorization": f"Bearer {token}"})


def count(web: Web, table: Any) -> int:
    with web.database.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(table)) or 0)


def test_all_kinds_of_records_are_taken(web: Web) -> None:
    line = {"order_id": "R1", "sku": "TEA", "name": "Sencha", "quantity": 2, "unit_price": "12.45"}
    back = {"refund_id": "F1", "order_id": "R1", "refunded_at": "2026-06-02T09:00:00Z", "amount": "12.45"}
    seen = {"event_id": "E1", "customer_id": "new", "event": "viewed", "occurred_at": "2026-06-02T10:00:00Z"}
    for kind, record, table in [
        ("customers", {"customer_id": "new", "email": "new@shop.example", "tier": "gold"}, customers),
        ("orders", ORDER, orders),
        ("lines", line, order_lines),
        ("refunds", back, refunds),
        ("events", seen, events),
    ]:
        before = count(web, table)
        response = post(web, kind, [record])
        assert response.status_code == 200
        answer = response.json()
        assert (answer["read"], answer["kept"], answer["rejected"]) == (1, 1, [])
        assert count(web, table) == before + 1


def test_records_again_change_nothing(web: Web) -> None:
    assert post(web, "orders", [ORDER]).json()["written"] > 0
    assert post(web, "orders", [ORDER]).json() == {"read": 1, "kept": 1, "written": 0, "rejected": []}


def test_bad_records_come_back_with_their_place_and_the_reason_and_good_ones_are_kept(web: Web) -> None:
    bad: list[dict[str, Any]] = [
        ORDER | {"order_id": "R2", "ordered_at": "2026-07-01T10:00:00Z"},
        ORDER | {"order_id": "R3", "total": "-1.00"},
        ORDER | {"order_id": "R4", "currency": "USD"},
        ORDER | {"order_id": "R5", "customer_id": "nobody"},
        ORDER | {"order_id": "R6\0"},
        {"order_id": "R7"},
        ORDER | {"order_id": "R8", "total": {"amount": 1}},
        ORDER | {"order_id": "R9", "total": "\ud800"},
    ]
    answer = post(web, "orders", [*bad, ORDER]).json()
    assert (answer["read"], answer["kept"]) == (len(bad) + 1, 1)
    assert [rejected["index"] for rejected in answer["rejected"]] == list(range(len(bad)))
    assert all(rejected["reason"] for rejected in answer["rejected"])
    assert count(web, orders) == 1


@on_sqlite
def test_what_is_not_a_list_of_objects_is_refused(web: Web) -> None:
    nested, number = b"[" * 100_000, b"[" + b"9" * 5000 + b"]"
    for body in (b"", b"{}", b"[1]", b"null", b"\xff", b'"R1"', nested, number):
        response = post(web, "orders", body)
        assert response.status_code == 400
        assert "the body is not" in response.json()["detail"]


@on_sqlite
def test_too_much_at_once_is_refused(web: Web) -> None:
    assert post(web, "orders", b" " * (LARGEST_BODY + 1)).status_code == 413
    assert post(web, "orders", [{}] * (MOST_RECORDS + 1)).status_code == 413
    assert count(web, orders) == 0


def test_nothing_is_lost_when_the_database_goes_away(web: Web) -> None:
    with Outage(web.database):
        response = post(web, "orders", [ORDER])
        assert response.status_code == 503
        assert response.headers["Retry-After"]
    assert post(web, "orders", [ORDER]).json()["kept"] == 1


@on_sqlite
def test_openapi_describes_what_is_taken_in_and_cases_and_nothing_else(web: Web) -> None:
    described = web.client.get("/api/openapi.json").json()
    of_cases = {path for path in described["paths"] if path.startswith("/api/cases")}
    assert set(described["paths"]) - of_cases == {f"/api/{kind}" for kind in COLUMNS}
    assert {"/api/cases", "/api/cases/{case_id}"} < of_cases
    operation = described["paths"]["/api/orders"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert (schema["type"], schema["maxItems"]) == ("array", MOST_RECORDS)
    assert set(ORDER) < set(schema["items"]["properties"])
    assert operation["security"] == [{"HTTPBearer": []}]
