"""Holdfast against a real Prefect server: the server itself, deployments, follow-ups, secrets, redaction."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, get_run_logger, task
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Cancelled

from holdfast.campaign.models import Campaign
from holdfast.errors import OrchestrationError, SettingsError
from holdfast.orchestration import server
from holdfast.orchestration.artifacts import artifact_key, escape_markdown
from holdfast.orchestration.blocks import read_block
from holdfast.orchestration.deployments import (
    COLLECT,
    REFRESH,
    SYNC,
    Deployed,
    deploy,
    find_deployment,
    project_deployment,
)
from holdfast.orchestration.follow_ups import schedule_follow_up, start_run
from holdfast.orchestration.redaction import UnexpectedError, mask, redacted
from holdfast.orchestration.server import ensure_server
from holdfast.settings import Project
from holdfast.tables import to_microseconds

ADDRESS = "ann.müller@customer.example"
TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


OWN = [COLLECT, REFRESH]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_in(tmp_path)


def project_in(root: Path, **settings: Any) -> Project:
    # Its own flows are deployed too; a worker of a later test is not to find them due.
    seldom = {"collect": "1 0 1 1 *", "refresh": "2 0 1 1 *", "sync": "3 0 1 1 *"}
    return Project.model_validate({"root": root, "schedules": seldom, **settings})


def campaign(name: str, **fields: Any) -> Campaign:
    fields = {
        "audience": {"country": "DE"},
        "steps": [{"id": "hello", "channels": ["email"], "template": "x"}],
    } | fields
    return Campaign.model_validate({"campaign": name} | fields)


def eventually(condition: Callable[[], Any], within: float) -> Any:
    """The first true answer. The server does its part in its own time, so this asks again."""
    give_up = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.2)
    return answer


# --- the server -----------------------------------------------------------------------------------


def test_a_server_that_is_up_is_used_and_no_second_one_started(prefect_server: str, tmp_path: Path) -> None:
    assert ensure_server(tmp_path / "home") == prefect_server
    assert not (tmp_path / "home").exists()


def test_a_configured_server_elsewhere_that_is_gone_is_an_error_without_its_password(
    prefect_server: str, tmp_path: Path
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://ann:hunter22@prefect.invalid:4200/api"}),
        pytest.raises(
            OrchestrationError, match=r"the Prefect server at http://prefect\.invalid:4200/api does not"
        ) as error,
    ):
        ensure_server(tmp_path / "home")
    assert error.value.hint == "start it, or unset PREFECT_API_URL to use a server on this machine"


# --- deployments ----------------------------------------------------------------------------------


def test_a_campaign_becomes_a_deployment_with_its_schedule_in_its_zone(
    client: SyncPrefectClient, project: Project
) -> None:
    weekly = campaign(
        "weekly", schedule={"cron": "0 9 * * MON", "timezone": "Europe/Berlin"}, description="Hello."
    )
    assert deploy(project, [weekly]) == Deployed(created=["weekly", *OWN])
    deployment = find_deployment(client, "weekly")
    assert deployment is not None
    [schedule] = deployment.schedules
    assert isinstance(schedule.schedule, CronSchedule)
    assert (schedule.schedule.cron, schedule.schedule.timezone, schedule.active) == (
        "0 9 * * MON",
        "Europe/Berlin",
        True,
    )
    assert deployment.entrypoint == "flows.run_campaign.run_campaign"
    assert deployment.parameters == {"campaign": "weekly"}
    assert deployment.work_pool_name == "holdfast"
    assert deployment.job_variables["env"] == {"HOLDFAST_PROJECT": str(project.root)}


def test_prefect_schedules_the_runs_of_a_cron_by_itself(client: SyncPrefectClient, project: Project) -> None:
    deploy(project, [campaign("minutely", schedule={"cron": "* * * * *"})])
    runs = eventually(lambda: runs_of(client, "minutely"), within=45)
    assert all(run.auto_scheduled and run.expected_start_time.second == 0 for run in runs)


def test_deploying_again_writes_nothing_and_an_edit_updates(
    client: SyncPrefectClient, project: Project
) -> None:
    deploy(project, [campaign("edited", schedule={"cron": "0 9 * * MON"})])
    assert deploy(project, [campaign("edited", schedule={"cron": "0 9 * * MON"})]) == Deployed(
        unchanged=["edited", *OWN]
    )
    assert deploy(project, [campaign("edited", schedule={"cron": "0 10 * * *"})]) == Deployed(
        updated=["edited"], unchanged=OWN
    )
    deployment = find_deployment(client, "edited")
    assert deployment is not None
    assert [schedule.schedule.cron for schedule in deployment.schedules] == ["0 10 * * *"]  # type: ignore[union-attr]


def test_a_campaign_whose_file_is_gone_loses_its_deployment_and_nobody_else_does(
    client: SyncPrefectClient, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    neighbour = project_in(tmp_path_factory.mktemp("neighbour"))
    deploy(neighbour, [campaign("theirs")])
    deploy(project, [campaign("stays"), campaign("goes")])
    assert deploy(project, [campaign("stays")]) == Deployed(unchanged=["stays", *OWN], removed=["goes"])
    assert find_deployment(client, "goes") is None
    assert find_deployment(client, "theirs") is not None


def test_two_projects_cannot_deploy_one_name(
    prefect_server: str, project: Project, tmp_path_factory: Any
) -> None:
    deploy(project_in(tmp_path_factory.mktemp("first")), [campaign("contested")])
    with pytest.raises(
        OrchestrationError, match="'contested' is deployed on this server from another folder"
    ):
        deploy(project, [campaign("contested")])


def test_a_projects_own_flows_are_deployed_on_its_schedules_in_its_zone(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    root = tmp_path / "Ann & Söhne, 50%"
    sources = {"shop": {"url": {"env": "SHOP_DATABASE_URL"}, "customers": {"sql": "SELECT 1"}}}
    deploy(project_in(root, business={"timezone": "Asia/Tehran"}, sources=sources), [])
    found = {flow: find_deployment(client, project_deployment(root), flow) for flow in (*OWN, SYNC)}
    crons = {
        flow: [(one.schedule.cron, one.schedule.timezone) for one in deployment.schedules]  # type: ignore[union-attr]
        for flow, deployment in found.items()
        if deployment is not None
    }
    assert crons == {
        COLLECT: [("1 0 1 1 *", "Asia/Tehran")],
        REFRESH: [("2 0 1 1 *", "Asia/Tehran")],
        SYNC: [("3 0 1 1 *", "Asia/Tehran")],
    }


def test_without_sources_nothing_is_synced_and_what_was_is_removed(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    sources = {"shop": {"url": {"env": "SHOP_DATABASE_URL"}, "customers": {"sql": "SELECT 1"}}}
    assert deploy(project_in(tmp_path, sources=sources), []) == Deployed(created=[*OWN, SYNC])
    assert deploy(project_in(tmp_path), []) == Deployed(unchanged=OWN, removed=[SYNC])


def test_folders_of_one_name_have_deployments_of_their_own(client: SyncPrefectClient, tmp_path: Path) -> None:
    shops = [tmp_path / "east" / "shop", tmp_path / "west" / "shop"]
    assert [deploy(project_in(root), []) for root in shops] == [Deployed(created=OWN)] * 2


# --- follow-ups -----------------------------------------------------------------------------------


def runs_of(client: SyncPrefectClient, name: str) -> list[FlowRun]:
    deployment = find_deployment(client, name)
    assert deployment is not None
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
    )


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours)


def test_a_follow_up_is_one_scheduled_run_that_enrolls_nobody(
    client: SyncPrefectClient, project: Project
) -> None:
    deploy(project, [campaign("waits")])
    moment = in_hours(4)
    assert schedule_follow_up("waits", moment, "run-1")
    [run] = runs_of(client, "waits")
    assert run.state is not None
    assert run.state.is_scheduled()
    assert run.state.state_details.scheduled_time == moment
    assert run.parameters == {"campaign": "waits", "follow_up": True}
    assert "follow-up" in run.tags


def test_asking_again_for_a_moment_that_is_covered_schedules_nothing(
    client: SyncPrefectClient, project: Project
) -> None:
    deploy(project, [campaign("asked")])
    moment = in_hours(4)
    for asker in ("run-1", "run-1", "run-2"):
        assert schedule_follow_up("asked", moment, asker)
    schedule_follow_up("asked", moment + timedelta(hours=2), "run-3")
    assert len(runs_of(client, "asked")) == 1
    schedule_follow_up("asked", moment - timedelta(hours=2), "run-4")
    assert len(runs_of(client, "asked")) == 2


def test_a_follow_up_that_was_cancelled_is_scheduled_anew_by_the_same_asker(
    client: SyncPrefectClient, project: Project
) -> None:
    deploy(project, [campaign("again")])
    moment = in_hours(4)
    for expected in (1, 2, 3):
        schedule_follow_up("again", moment, "run-1")
        runs = runs_of(client, "again")
        assert len(runs) == expected
        waiting = [run for run in runs if run.state and run.state.is_scheduled()]
        client.set_flow_run_state(waiting[0].id, Cancelled(), force=True)


def test_a_run_is_started_once_for_who_asks(client: SyncPrefectClient, project: Project) -> None:
    deploy(project, [campaign("recovers")])
    for asker in ("entry 1", "entry 1", "entry 2"):
        assert start_run("recovers", asker)
    runs = runs_of(client, "recovers")
    assert [run.parameters for run in runs] == [{"campaign": "recovers"}] * 2
    for run in runs:  # a worker of a later test is not to find them due
        client.set_flow_run_state(run.id, Cancelled(), force=True)
    assert not start_run("never-deployed", "entry 1")


def test_two_servers_that_start_at_once_have_a_port_each() -> None:
    with server._a_port(None) as first, server._a_port(None) as second:
        assert first != second


def test_without_a_deployment_there_is_no_follow_up(prefect_server: str) -> None:
    assert not schedule_follow_up("never-deployed", in_hours(1), "run-1")


# --- secrets, redaction ---------------------------------------------------------------------------


def test_a_secret_block_is_read_and_masked_from_then_on(prefect_server: str) -> None:
    Secret(value="s3cr3t-of-the-block").save("mail-password", _sync=True)  # type: ignore[call-arg]
    assert read_block("mail-password") == "s3cr3t-of-the-block"
    assert mask("refused: s3cr3t-of-the-block") == "refused: ***"


def test_a_missing_secret_block_is_named(prefect_server: str) -> None:
    with pytest.raises(SettingsError, match="there is no Prefect Secret block named 'no-such-block'"):
        read_block("no-such-block")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"to {ADDRESS}: refused", "to ***@***: refused"),
        ("call +49 (151) 2345-6789 now", "call *** now"),
        ("postgresql://shop:pa55@db.example/shop", "postgresql://***@db.example/shop"),
        (f"https://api.telegram.org/bot{TOKEN}/sendMessage", "https://api.telegram.org/bot***/sendMessage"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("run 12 of 2026-10-05 09:00:00 sent 10,000 of 250000 in 3.25 s", None),
        ("flow run 0190a6f2-1111-7222-8333-444455556666", None),
    ],
)
def test_what_could_name_a_customer_or_open_an_account_is_masked(text: str, masked: str | None) -> None:
    assert mask(text) == (text if masked is None else masked)


def test_an_error_of_ours_passes_with_its_hint() -> None:
    with pytest.raises(SettingsError) as error, redacted():
        raise SettingsError("TOKEN is not set", hint="export TOKEN=…")
    assert str(error.value) == "TOKEN is not set (export TOKEN=…)"


def test_a_foreign_error_becomes_its_type_and_our_place() -> None:
    with pytest.raises(UnexpectedError) as error, redacted():
        to_microseconds(None)  # type: ignore[arg-type]
    assert re.fullmatch(r"AttributeError at holdfast/tables/columns\.py:\d+", str(error.value))
    assert error.value.__cause__ is None


@task
@redacted()
def deliver() -> None:
    raise ConnectionError(f"550 no mailbox {ADDRESS}, key {TOKEN}")


@flow(name="leaky")
@redacted()
def leaky() -> None:
    get_run_logger().warning("could not reach %s with %s", ADDRESS, TOKEN)
    logging.getLogger("prefect.flow_runs").error("again %s", ADDRESS)
    deliver()


def test_neither_states_nor_logs_on_the_server_carry_an_address_or_a_token(client: SyncPrefectClient) -> None:
    state = leaky(return_state=True)
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id is not None
    only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    task_run = eventually(
        lambda: [
            run for run in client.read_task_runs(flow_run_filter=only) if run.state and run.state.is_failed()
        ],
        30,
    )[0]
    logs = eventually(lambda: logs_of(client, flow_run_id, at_least=4), 30)
    texts = [state.message, client.read_flow_run(flow_run_id).state.message, task_run.state.message, *logs]
    for text in texts:
        assert "customer.example" not in text
        assert TOKEN[12:] not in text
    assert "UnexpectedError: ConnectionError" in task_run.state.message
    assert any("could not reach ***@*** with ***" in line for line in logs)


def logs_of(client: SyncPrefectClient, flow_run_id: Any, at_least: int) -> list[str]:
    found = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id])), limit=100)
    return [log.message for log in found] if len(found) >= at_least else []


# --- artifacts ------------------------------------------------------------------------------------


def test_customers_text_is_no_markup_in_markdown() -> None:
    assert escape_markdown("**Hi**\n# <img src=x> [a](b) `c` & d|e") == (
        "\\*\\*Hi\\*\\* \\# &lt;img src=x\\> \\[a\\]\\(b\\) \\`c\\` &amp; d\\|e"
    )


def test_artifact_keys_fit_prefects_rule() -> None:
    assert artifact_key("win_back-2", "waterfall") == "win-back-2-waterfall"
