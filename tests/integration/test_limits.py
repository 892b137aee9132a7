"""Rates in a real Prefect: brought there by a deploy, changed there by an operator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.settings import PREFECT_API_URL, temporary_settings

from holdfast.delivery.pace import pace_of
from holdfast.errors import OrchestrationError
from holdfast.orchestration.limits import Rates, deploy_limits, limit_name
from holdfast.settings import Project
from holdfast.store.database import Database
from tests.integration.conftest import Bench

NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture
def database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """What a deploy keeps is one row; one engine is enough."""
    (tmp_path / "holdfast.db").write_bytes(sqlite_template.read_bytes())
    opened = Database(tmp_path / "holdfast.db")
    yield opened
    opened.close()


def project_in(root: Path, **rates: str | None) -> Project:
    channels: dict[str, dict[str, Any]] = {
        name: {"adapter": "sandbox"} | ({"rate": rate} if rate else {}) for name, rate in rates.items()
    }
    return Project.model_validate({"root": root, "channels": channels})


def limits_of(client: SyncPrefectClient, project: Project) -> dict[str, tuple[int, float]]:
    """The slots, and those given back a second, of each of the project's limits."""
    prefix = limit_name(project.root, "")
    return {
        limit.name.removeprefix(prefix): (limit.limit, limit.slot_decay_per_second)
        for limit in client.read_global_concurrency_limits(limit=200)
        if limit.name.startswith(prefix)
    }


def turn(client: SyncPrefectClient, project: Project, channel: str, **change: Any) -> None:
    """What an operator does in the UI."""
    client.update_global_concurrency_limit(
        limit_name(project.root, channel), GlobalConcurrencyLimitUpdate(**change)
    )


def test_each_channel_with_a_rate_has_a_limit(
    client: SyncPrefectClient, database: Database, tmp_path: Path
) -> None:
    project = project_in(tmp_path, email="600/s", sms="90/min", telegram=None)
    assert deploy_limits(project, database, NOW) == {"email": 600.0, "sms": 1.5}
    assert limits_of(client, project) == {"email": (60, 600.0), "sms": (1, 1.5)}


def test_what_an_operator_set_stays_until_the_file_says_something_new(
    client: SyncPrefectClient, database: Database, tmp_path: Path
) -> None:
    project = project_in(tmp_path, email="600/s")
    deploy_limits(project, database, NOW)
    turn(client, project, "email", slot_decay_per_second=50.0)
    assert deploy_limits(project, database, NOW) == {"email": 50.0}
    assert limits_of(client, project) == {"email": (60, 50.0)}
    edited = project_in(tmp_path, email="500/s")
    assert deploy_limits(edited, database, NOW) == {"email": 500.0}
    assert limits_of(client, edited) == {"email": (50, 500.0)}


def test_a_limit_goes_with_its_rate_and_nobody_elses_does(
    client: SyncPrefectClient, database: Database, tmp_path: Path
) -> None:
    neighbour = project_in(tmp_path / "neighbour", email="10/s")
    deploy_limits(neighbour, database, NOW)
    by_hand = GlobalConcurrencyLimitCreate(name="holdfast-by-hand", limit=1)
    client.create_global_concurrency_limit(by_hand)
    deploy_limits(project_in(tmp_path, email="600/s", sms="10/s", x="1/s"), database, NOW)
    assert deploy_limits(project_in(tmp_path, email="600/s", sms=None), database, NOW) == {"email": 600.0}
    assert list(limits_of(client, project_in(tmp_path))) == ["email"]
    assert list(limits_of(client, neighbour)) == ["email"]
    assert client.read_global_concurrency_limit_by_name("holdfast-by-hand")


def test_a_limit_that_was_deleted_comes_back_at_the_files_rate(
    client: SyncPrefectClient, database: Database, tmp_path: Path
) -> None:
    project = project_in(tmp_path, email="600/s")
    deploy_limits(project, database, NOW)
    client.delete_global_concurrency_limit_by_name(limit_name(tmp_path, "email"))
    assert deploy_limits(project, database, NOW) == {"email": 600.0}
    assert limits_of(client, project) == {"email": (60, 600.0)}


def test_a_change_in_prefect_takes_effect_while_a_run_goes_on(
    client: SyncPrefectClient, bench: Bench, tmp_path: Path
) -> None:
    project = project_in(tmp_path, sms="600/s")
    deploy_limits(project, bench.ws.database, NOW)
    bench.ws.rates = Rates(tmp_path)
    pace = pace_of(bench.ws, bench.ws.campaign(bench.campaign()), "sms")
    assert pace.most == 60
    turn(client, project, "sms", slot_decay_per_second=50.0)
    give_up = time.monotonic() + 30
    while pace.most != 5:
        assert time.monotonic() < give_up, "the change took no effect"
        time.sleep(0.1)


def test_nobody_sends_at_the_files_rate_while_another_asks_for_the_one_in_force(
    client: SyncPrefectClient, database: Database, tmp_path: Path
) -> None:
    project = project_in(tmp_path, email="600/s")
    deploy_limits(project, database, NOW)
    turn(client, project, "email", slot_decay_per_second=0.0)
    rates, barrier = Rates(tmp_path), Barrier(4)

    def ask(_: int) -> float | None:
        barrier.wait()
        return rates("email", 600.0)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [0.0] * 4


def test_without_a_limit_or_with_an_inactive_one_the_files_rate_holds(
    client: SyncPrefectClient, database: Database, tmp_path: Path
) -> None:
    project = project_in(tmp_path, email="600/s")
    assert Rates(tmp_path)("email", 600.0) == 600.0
    deploy_limits(project, database, NOW)
    turn(client, project, "email", slot_decay_per_second=50.0)
    assert Rates(tmp_path)("email", 600.0) == 50.0
    turn(client, project, "email", active=False)
    assert Rates(tmp_path)("email", 600.0) == 600.0
    assert Rates(tmp_path)("sms", None) is None


def test_a_server_that_is_gone_stops_no_run_and_fails_a_deploy(
    prefect_server: str, database: Database, tmp_path: Path
) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert Rates(tmp_path)("email", 600.0) == 600.0
        with pytest.raises(OrchestrationError, match="the Prefect server did not do what was asked"):
            deploy_limits(project_in(tmp_path, email="600/s"), database, NOW)
