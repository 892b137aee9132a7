"""One run on PostgreSQL, shared by workers that know nothing of one another: Dask's, and `holdfast up`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from prefect.client.orchestration import get_client

import flows
from holdfast.orchestration.deployments import deploy, find_deployment
from holdfast.orchestration.running import run_now
from tests.e2e.machines import CUSTOMERS, Mailroom, Shop, eventually, open_shop, up

NOTHING_LEFT = "nothing to do: this campaign has no run that may send"


@pytest.fixture
def mail() -> Iterator[Mailroom]:
    with Mailroom() as server:
        yield server


@pytest.fixture
def cluster(prefect_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalCluster]:
    """A scheduler and two workers, each a process, which know the project from their environment alone."""
    monkeypatch.setenv("HOLDFAST_PROJECT", str(tmp_path / "shop"))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as opened:
        yield opened


@pytest.fixture
def shop(
    prefect_server: str,
    fresh_postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mail: Mailroom,
) -> Iterator[Shop]:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", fresh_postgres_url)
    monkeypatch.setenv("HOLDFAST_SECRET", "a secret of the tests, 32 bytes.")
    with open_shop(tmp_path / "shop", mail, "{kind: threads}") as opened:
        yield opened
        deploy(opened.workspace.project, [])


def projects_opened() -> int:
    """How many flow runs this process read the project for."""
    return flows._workspace.cache_info().misses


def test_two_dask_workers_share_a_run_and_one_that_is_killed_takes_only_its_call_with_it(
    shop: Shop, cluster: LocalCluster, mail: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_RUNNER__KIND", "dask")
    monkeypatch.setenv("HOLDFAST_RUNNER__ADDRESS", cluster.scheduler_address)
    flow = shop.run()
    eventually(lambda: mail.held == 2, 120)
    with Client(cluster) as client:
        assert set(client.run(projects_opened).values()) == {1}
    os.kill(mail.writers(os.getpid())[0], signal.SIGKILL)
    mail.let_go()
    output, errors = flow.communicate(timeout=90)
    assert output.startswith("Completed: ")
    assert errors == ""

    # When the lease of what it had in hand is over.
    eventually(lambda: run_now(shop.root, "letter", resume=True).message in ("done", NOTHING_LEFT))
    assert shop.states() == {"accepted": CUSTOMERS - 1, "in_doubt": 1}
    assert CUSTOMERS - 1 <= len({letter.recipient for letter in mail.mails}) == len(mail.mails)


@contextmanager
def standing_still(worker: subprocess.Popen[str]) -> Iterator[None]:
    """The worker takes no flow run meanwhile. The one it has started goes on."""
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


@pytest.mark.long
def test_two_workers_of_holdfast_up_share_a_run(shop: Shop, mail: Mailroom) -> None:
    deploy(shop.workspace.project, [shop.workspace.campaign("letter")])
    with up(shop) as one, get_client(sync_client=True) as client:
        deployment = find_deployment(client, "letter")
        assert deployment is not None
        first = client.create_flow_run_from_deployment(deployment.id, parameters={"key": "june"})
        eventually(lambda: mail.held >= 1, 120)
        with standing_still(one), up(shop):
            second = client.create_flow_run_from_deployment(deployment.id, parameters={"resume": True})
            eventually(lambda: mail.held == 2, 120)
            mail.let_go()
        eventually(lambda: all(client.read_flow_run(run.id).state.is_final() for run in (first, second)), 120)
    assert shop.states() == {"accepted": CUSTOMERS}
    assert mail.everyone_got_one_letter()
