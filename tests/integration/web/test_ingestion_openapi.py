"""The ingestion API answers as its own description says, whatever it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from holdfast.settings import Kind
from holdfast.store.imports import COLUMNS
from holdfast.web import create_app
from holdfast.wiring import open_workspace

TOKEN = "a token of the tests"
EXAMPLES = 20  # for each kind of records, of what the description allows, and of what it does not
# Too much at once is refused with 413, which is not among its own.
REFUSALS = {"negative_data_rejection": {"expected-statuses": [400, 401, 413]}}
CONFIG = SchemathesisConfig.from_dict({"checks": REFUSALS})


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The app of a new project, by what it says of itself."""
    root = tmp_path_factory.mktemp("described")
    tokens = f"shop: {{token: {{block: shop}}, scopes: [{', '.join(COLUMNS)}]}}"
    (root / "holdfast.yaml").write_text(f"web: {{tokens: {{{tokens}}}}}\n", encoding="utf-8")
    with closing(open_workspace(root, lambda name: TOKEN)) as ws:
        app = create_app(ws, lambda: datetime(2026, 6, 3, 12, 0, tzinfo=UTC), lambda name: TOKEN)
        yield schemathesis.openapi.from_asgi("/api/openapi.json", app, config=CONFIG)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("kind", COLUMNS)
def test_whatever_is_sent_is_answered_as_described(described: Any, kind: Kind, mode: GenerationMode) -> None:
    cases = described[f"/api/{kind}"]["POST"].as_strategy(generation_mode=mode)
    statuses = set()

    @given(cases)
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    def judge(case: Any) -> None:
        answer = case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})
        statuses.add(answer.status_code)

    judge()
    assert statuses == {200} if mode is GenerationMode.POSITIVE else statuses - {200}
