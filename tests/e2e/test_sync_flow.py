"""`sync_customers` through a real Prefect server."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import State
from sqlalchemy import select

from flows.sync_customers import sync_customers, workspace
from holdfast.tables import customers

PROJECT = """\
sources:
  shop: {url: {env: NO_SUCH_VARIABLE}, customers: {sql: select 1 as customer_id}}
  files: {customers: {file: customers.jsonl}}
"""


def test_a_source_that_cannot_be_read_fails_the_flow_and_others_are_read(
    prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holdfast.yaml").write_text(PROJECT)
    (tmp_path / "customers.jsonl").write_text('{"customer_id": 1}\n{"customer_id": 2, "email": "nowhere"}\n')
    monkeypatch.setenv("HOLDFAST_PROJECT", str(tmp_path))
    state: State[None] = sync_customers(return_state=True)  # type: ignore[assignment]
    assert (state.name, state.message) == (
        "Failed",
        "shop.customers: environment variable NO_SUCH_VARIABLE is not set"
        " (set it: export NO_SUCH_VARIABLE=…);"
        " files.customers customers.jsonl: 2 rows read, 1 kept, 1 refused",
    )
    ws = workspace(state.state_details.flow_run_id)
    with ws.database.read() as connection:
        assert connection.scalars(select(customers.c.external_id)).all() == ["1"]
    ws.close()
