"""A helpdesk works on cases by the API, which answers as its own description says."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.config import SchemathesisConfig

from holdfast.responses import cases as casework
from holdfast.web import create_app
from tests.integration.conftest import NOW
from tests.integration.web.conftest import TOKEN, MakeWeb, Web, on_sqlite

pytestmark = on_sqlite
ANN = {"who": "ann"}
# Too much is refused with 413, what is closed with 409, and a token comes with every request.
REFUSALS = {
    "negative_data_rejection": {"expected-statuses": [400, 401, 404, 409, 413, 422]},
    "positive_data_acceptance": {"enabled": False},
    "ignored_auth": {"enabled": False},
}
CONFIG = SchemathesisConfig.from_dict({"checks": REFUSALS})


@pytest.fixture
def web(make_web: MakeWeb, monkeypatch: pytest.MonkeyPatch) -> Web:
    monkeypatch.setenv("DESK_TOKEN", TOKEN)
    web = make_web(web={"tokens": {"desk": {"token": {"env": "DESK_TOKEN"}, "scopes": "cases"}}})
    web.client.headers["Authorization"] = f"Bearer {TOKEN}"
    web.bench.shop.customers(3)
    return web


def test_a_case_is_opened_read_answered_and_closed(web: Web) -> None:
    opened = web.client.post("/api/cases", json={"customer_id": "c1", "text": "called us", **ANN})
    assert opened.status_code == 201
    case = opened.json()
    assert (case["customer_id"], case["reason"], case["waiting_since"]) == (
        "c1", "by_hand", "2026-06-03T12:00:00Z",
    )  # fmt: skip
    at = f"/api/cases/{case['id']}"
    for step in ("note", "answer", "close"):
        answer = web.client.post(f"{at}/{step}", json={"text": f"did {step}", **ANN})
        assert answer.status_code == 200
    assert answer.json()["closed_at"] == "2026-06-03T12:00:00Z"
    turns = web.client.get(at).json()["turns"]
    assert [(turn["what"], turn["text"], turn["who"]) for turn in turns] == [
        ("opened", "called us", "ann"),
        ("noted", "did note", "ann"),
        ("answered", "did answer", "ann"),
        ("closed", "did close", "ann"),
    ]
    assert web.client.get("/api/cases").json() == []
    assert [one["id"] for one in web.client.get("/api/cases?open=false").json()] == [case["id"]]
    assert web.client.get(f"/api/cases?open=false&after_id={case['id']}").json() == []


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("/api/cases/7/close", {"text": "x", **ANN}, 404, "there is no case 7"),
        ("/api/cases", {"customer_id": "nobody", "text": "x", **ANN}, 404, "there is no such customer"),
        ("/api/cases", {"customer_id": "c1", "text": "x", **ANN}, 409, "this customer has an open case: 1"),
        ("/api/cases/1/answer", {"text": " ", **ANN}, 400, "text: String should have at least 1 character"),
        ("/api/cases/1/answer", {"text": "x"}, 400, "who: Field required"),
        ("/api/cases/1/answer", [], 400, "Input should be an object"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    web: Web, path: str, body: Any, status: int, told: str
) -> None:
    casework.open_case(web.bench.ws, "c1", "called us", "ann", NOW)
    answer = web.client.post(path, json=body)
    assert (answer.status_code, answer.json()) == (status, {"detail": told})


def test_nothing_is_read_or_done_without_the_scope_and_no_body_is_too_large(web: Web) -> None:
    assert web.client.get("/api/cases/1").status_code == 404
    assert web.client.post("/api/cases", content=b"x" * 100_001).status_code == 413
    web.client.headers["Authorization"] = "Bearer another"
    for answer in (web.client.get("/api/cases"), web.client.post("/api/cases", content=b"x" * 100_001)):
        assert answer.status_code == 401


def test_the_api_of_cases_answers_as_described(web: Web) -> None:
    casework.open_case(web.bench.ws, "c1", "called us", "ann", NOW)
    app = create_app(web.bench.ws, web.bench.clock)
    described = schemathesis.openapi.from_asgi("/api/openapi.json", app, config=CONFIG)
    operations = [one.ok() for one in described.get_all_operations() if "/api/cases" in one.ok().path]
    assert len(operations) == 6
    statuses: set[int] = set()
    for operation in operations:

        @given(operation.as_strategy())
        @settings(max_examples=5, suppress_health_check=list(HealthCheck), deadline=None)
        def judge(case: Any) -> None:
            answer = case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})
            statuses.add(answer.status_code)

        judge()
    assert statuses >= {200, 404}
