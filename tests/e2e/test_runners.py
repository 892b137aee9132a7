"""The chunks of a run on processes and on a Dask cluster of our own, on SQLite, and all that can end them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterStartTime
from prefect.states import Cancelling

from holdfast.errors import SettingsError
from holdfast.orchestration.runners import task_runner
from holdfast.orchestration.running import run_now
from tests.e2e.machines import CUSTOMERS, Mailroom, Shop, eventually, open_shop

PROCESSES = "{kind: processes, workers: 2}"


@pytest.fixture
def mail() -> Iterator[Mailroom]:
    with Mailroom() as server:
        yield server


@pytest.fixture
def shop(
    request: pytest.FixtureRequest, prefect_server: str, tmp_path: Path, mail: Mailroom
) -> Iterator[Shop]:
    with open_shop(tmp_path / "shop", mail, request.param) as opened:
        yield opened


@pytest.mark.long
@pytest.mark.parametrize("shop", [PROCESSES], indirect=True)
def test_a_terminals_ctrl_c_stops_every_process_at_its_next_batch_and_resume_sends_the_rest(
    shop: Shop, mail: Mailroom
) -> None:
    flow = shop.run()
    eventually(lambda: mail.held == 2, 120)
    assert len(mail.writers(flow.pid)) == 2
    assert flow.pid not in mail.writers(flow.pid)
    os.killpg(flow.pid, signal.SIGINT)
    eventually(lambda: shop.run_states() != ["running"])
    mail.let_go()
    output, errors = flow.communicate(timeout=60)
    assert output == "Cancelled: stopped at the keyboard; go on with --resume\n"
    assert errors == ""
    stopped = shop.states()
    assert set(stopped) == {"accepted", "planned"}
    assert stopped["accepted"] == len(mail.mails) < CUSTOMERS

    assert run_now(shop.root, "letter", resume=True).message == "done"
    assert shop.states() == {"accepted": CUSTOMERS}
    assert mail.everyone_got_one_letter()


@pytest.mark.parametrize("shop", [PROCESSES], indirect=True)
def test_a_killed_process_fails_the_run_and_only_its_own_call_is_in_doubt(shop: Shop, mail: Mailroom) -> None:
    flow = shop.run()
    eventually(lambda: mail.held == 2, 120)
    os.kill(mail.writers(flow.pid)[0], signal.SIGKILL)
    mail.let_go()
    output, errors = flow.communicate(timeout=60)
    assert output.startswith("OrchestrationError: the worker of a chunk was lost (BrokenProcessPool)")
    assert errors == ""

    # When the lease of what it had in hand is over.
    eventually(lambda: run_now(shop.root, "letter", resume=True).message == "done")
    assert shop.states() == {"accepted": CUSTOMERS - 1, "in_doubt": 1}
    assert CUSTOMERS - 1 <= len({letter.recipient for letter in mail.mails}) == len(mail.mails)


@pytest.mark.long
@pytest.mark.parametrize("shop", ["{kind: dask, workers: 2}"], indirect=True)
def test_cancelling_in_prefect_stops_dask_workers_at_their_next_batch(shop: Shop, mail: Mailroom) -> None:
    since = FlowRunFilter(start_time=FlowRunFilterStartTime(after_=datetime.now(UTC)))
    flow = shop.run()
    eventually(lambda: mail.held == 2, 120)
    with get_client(sync_client=True) as client:
        [run] = client.read_flow_runs(flow_run_filter=since)
        client.set_flow_run_state(run.id, Cancelling())
    eventually(lambda: shop.run_states() != ["running"])
    mail.let_go()
    output, errors = flow.communicate(timeout=60)
    assert output == "Cancelled: stopped at a batch; go on with --resume\n"
    assert errors == ""
    stopped = shop.states()
    assert set(stopped) == {"accepted", "planned"}
    assert stopped["accepted"] == len(mail.mails) < CUSTOMERS


@pytest.mark.parametrize("shop", ["{kind: dask, address: 'tcp://dask.acme.example:8786'}"], indirect=True)
def test_dask_on_other_machines_is_refused_with_sqlite(shop: Shop) -> None:
    with pytest.raises(SettingsError, match="cannot share an SQLite file") as refused:
        task_runner(shop.workspace)
    assert "PostgreSQL" in refused.value.hint


@pytest.mark.parametrize("shop", ["{kind: dask}"], indirect=True)
def test_without_prefect_dask_the_setting_says_what_to_install(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    with pytest.raises(SettingsError, match="needs prefect-dask") as missing:
        task_runner(shop.workspace)
    assert missing.value.hint == "pip install 'holdfast[dask]'"
