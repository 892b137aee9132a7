"""Approval through a real Prefect server: suspended with the plan, approved, edited, declined."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectHTTPStatusError
from sqlalchemy import select

from holdfast.delivery import Workspace, awaiting, open_run, stop_runs
from holdfast.orchestration.blocks import read_block
from holdfast.orchestration.deployments import deploy, find_deployment
from holdfast.orchestration.follow_ups import pick_up
from holdfast.orchestration.running import run_now
from holdfast.store import decisions, runs
from holdfast.store.imports import import_file
from holdfast.store.runs import Run
from holdfast.tables import messages
from holdfast.wiring import open_workspace
from tests.e2e.test_flow import eventually

PROJECT = """\
brand: {name: Acme, public_url: "https://r.acme.example", postal_address: "1 High St"}
channels: {sms: {adapter: sandbox, kind: sms, rate: 6000/min}}
schedules: {collect: "0 0 1 1 *", refresh: "0 0 1 1 *"}
"""
CAMPAIGN = """\
campaign: NAME
audience: {country: {in: [DE]}}
guard: {approve_above: 20}
steps:
  - {id: hello, channels: [sms], template: hello}
"""
TEXT = "{% block body %}Hello {{ customer.first_name | or_('there') }}!{% endblock %}"
NAMES = ("asked", "edited", "several", "by_hand")


class Shop:
    """A project in a folder with 30 customers in Germany, and campaigns that write to 20 at most unasked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in NAMES:
            self.edit(name)
        self.write("holdfast.yaml", PROJECT)
        self.write("templates/hello.sms.txt", TEXT)
        rows = [f"c{n},+49151{n:08d},Name{n},DE,yes" for n in range(30)]
        header = "customer_id,phone,first_name,country,consent.sms"
        self.write("customers.csv", "\n".join([header, *rows]) + "\n")
        self.workspace: Workspace = open_workspace(root, read_block)
        import_file(
            self.workspace.database,
            self.workspace.project,
            self.workspace.secret,
            "customers",
            root / "customers.csv",
            now=datetime.now(UTC) - timedelta(days=1),
        )

    def edit(self, campaign: str, more: str = "") -> None:
        self.write(f"campaigns/{campaign}.yaml", CAMPAIGN.replace("NAME", campaign) + more)

    def write(self, file: str, text: str) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, campaign: str) -> Run:
        """The campaign's only run."""
        with self.workspace.database.read() as connection:
            [run] = runs.list_runs(connection, campaign)
        return run

    def sent(self, campaign: str) -> int:
        accepted = select(messages.c.id).where(
            messages.c.run_id == self.run(campaign).id, messages.c.state == "accepted"
        )
        with self.workspace.database.read() as connection:
            return len(list(connection.scalars(accepted)))

    def holdfast(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = "from holdfast.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=self.root, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def shop(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, with a worker for its deployments."""
    made = Shop(tmp_path_factory.mktemp("approvals") / "shop")
    deploy(made.workspace.project, [made.workspace.campaign(name) for name in NAMES[:3]])
    program = "from holdfast.orchestration.worker import work; work(print)"
    worker = subprocess.Popen([sys.executable, "-u", "-c", program], cwd=made.root)
    yield made
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    deploy(made.workspace.project, [])
    made.workspace.close()
    shutil.rmtree(made.root)


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


def start(client: SyncPrefectClient, campaign: str, **parameters: Any) -> FlowRun:
    deployment = find_deployment(client, campaign)
    assert deployment is not None
    return client.create_flow_run_from_deployment(deployment.id, parameters=parameters)


def suspended(client: SyncPrefectClient, run: FlowRun, otherwise_than: str = "", about: str = "") -> str:
    """The hash of the plan that the flow run is suspended with; `about`: how Prefect's key for it begins."""

    def key() -> str:
        state = client.read_flow_run(run.id).state
        found = (state.state_details.pause_key if state is not None and state.is_paused() else None) or ""
        plan_hash = found.rpartition("-")[2]
        is_it = plan_hash != otherwise_than and found.startswith(about)
        # Prefect suspends first, and then writes down what it asks: the description last.
        return plan_hash if is_it and plan_hash and asked(client, run, "description") else ""

    return str(eventually(key, 90))


def asked(client: SyncPrefectClient, run: FlowRun, what: str) -> str:
    """What the UI's dialog shows: the `description` or the `schema`; empty before Prefect has it."""
    state = client.read_flow_run(run.id).state
    assert state is not None
    keys: Any = state.state_details.run_input_keyset
    path = {"id": run.id, "key": keys[what]}
    try:
        return str(client.request("GET", "/flow_runs/{id}/input/{key}", path_params=path).text)
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 404:
            raise
        return ""


def answer(client: SyncPrefectClient, run: FlowRun, **given: Any) -> None:
    """As the UI's dialog does."""
    path = {"id": run.id}
    client.request("POST", "/flow_runs/{id}/resume", path_params=path, json={"run_input": given})


def name_of_state(client: SyncPrefectClient, run: FlowRun) -> str | None:
    state = client.read_flow_run(run.id).state
    return state.name if state is not None and state.is_final() else None


def test_a_run_over_the_limit_is_suspended_with_its_plan_and_sends_when_it_is_approved(
    shop: Shop, client: SyncPrefectClient
) -> None:
    run = start(client, "asked")
    plan_hash = suspended(client, run)
    shown = asked(client, run, "description")
    assert f"Plan {plan_hash} of asked" in shown
    assert "| enrolled | 30 |" in shown
    assert "Hello Name0!" in shown
    assert "+49151" not in shown
    assert plan_hash in asked(client, run, "schema")
    assert (shop.run("asked").state, shop.sent("asked")) == ("awaiting_approval", 0)
    assert pick_up(shop.workspace, datetime.now(UTC)) == []

    answer(client, run, approve=True, plan=plan_hash, because="it is Friday")
    assert eventually(lambda: name_of_state(client, run), 90) == "Completed"
    assert (shop.run("asked").state, shop.sent("asked")) == ("done", 30)
    with shop.workspace.database.read() as connection:
        [kept] = decisions.list_decisions(connection, "asked")
    assert (kept.detail, kept.who, kept.why) == (plan_hash, "somebody in Prefect", "it is Friday")


def test_an_edit_voids_the_approval_and_the_new_plan_is_asked_about(
    shop: Shop, client: SyncPrefectClient
) -> None:
    run = start(client, "edited")
    before = suspended(client, run)
    shop.edit("edited", "holdout: 10%\n")
    answer(client, run, approve=True, plan=before)
    after = suspended(client, run, otherwise_than=before)
    assert shop.sent("edited") == 0

    refused = shop.holdfast("approve", "edited", before)
    assert (refused.returncode, f"which is {after} of" in refused.stderr) == (1, True)
    approved = shop.holdfast("approve", "edited", after, "--because", "the holdout was missing")
    assert (approved.returncode, approved.stderr) == (0, "a worker goes on with it\n")
    assert eventually(lambda: name_of_state(client, run), 90) == "Completed"
    assert 0 < shop.sent("edited") < 30
    deployment = find_deployment(client, "edited")
    assert deployment is not None
    of_campaign = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
    assert [found.id for found in client.read_flow_runs(flow_run_filter=of_campaign)] == [run.id]


def test_a_declined_plan_stops_the_run(shop: Shop, client: SyncPrefectClient) -> None:
    shop.edit("asked", "re_entry: always\n")
    run = start(client, "asked")
    suspended(client, run)
    answer(client, run, approve=False, because="too many")
    assert eventually(lambda: name_of_state(client, run), 90) == "NotApproved"
    with shop.workspace.database.read() as connection:
        declined = runs.list_runs(connection, "asked")[-1]
    assert (declined.state, declined.reason) == ("stopped", "not approved: too many")


def test_each_plan_is_asked_about_and_what_was_stopped_meanwhile_stays_so(
    shop: Shop, client: SyncPrefectClient
) -> None:
    shop.edit("several", "re_entry: always\n")
    ws = open_workspace(shop.root, read_block)

    def stopped(*keys: str) -> None:
        for key in keys:
            open_run(ws, "several", key, datetime.now(UTC), datetime.now(UTC))
        stop_runs(ws, "several", "not now", datetime.now(UTC))

    stopped("first", "second")
    run = start(client, "several", resume=True)
    same_plan = suspended(client, run)
    first, second = (f"run-{waits.id}-" for waits in awaiting(ws, "several"))
    assert suspended(client, run, about=first) == same_plan
    stopped("third")
    answer(client, run, approve=False, because="too many")
    assert suspended(client, run, about=second) == same_plan
    answer(client, run, approve=True, plan=same_plan)
    assert eventually(lambda: name_of_state(client, run), 90) == "Completed"
    with ws.database.read() as connection:
        ended = {run.occurrence: (run.state, run.reason) for run in runs.list_runs(connection, "several")}
    ws.close()
    assert ended == {
        "first": ("stopped", "not approved: too many"),
        "second": ("done", None),
        "third": ("stopped", "not now"),
    }


def test_without_a_deployment_a_run_says_how_it_is_approved_and_resume_sends(shop: Shop) -> None:
    ended = run_now(shop.root, "by_hand", key="june")
    assert ended.state == "AwaitingApproval"
    command, campaign, plan_hash = ended.message.rpartition(": holdfast ")[2].split()
    approved = shop.holdfast(command, campaign, plan_hash)
    assert approved.stdout == f"approved: {plan_hash}, occurrence june\n"
    assert approved.stderr == "send it with: holdfast run by_hand --resume\n"
    assert shop.sent("by_hand") == 0
    assert run_now(shop.root, "by_hand", resume=True).message == "done"
    assert shop.sent("by_hand") == 30
