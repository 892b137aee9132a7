"""Campaigns through a real Prefect server: in this process, and by a worker from deployments."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling
from sqlalchemy import func, select, text

from holdfast.delivery import Workspace
from holdfast.errors import OrchestrationError, RunError
from holdfast.orchestration.blocks import read_block
from holdfast.orchestration.deployments import deploy, find_deployment
from holdfast.orchestration.follow_ups import pick_up
from holdfast.orchestration.running import refresh_now, run_deployed, run_now
from holdfast.store.imports import import_file
from holdfast.tables import messages, runs
from holdfast.wiring import open_workspace
from tests.servers.smtp_server import SmtpServer

PROJECT = """\
brand: {name: Acme, public_url: "https://r.acme.example", postal_address: "1 High St"}
channels:
  sms: {adapter: sandbox, kind: sms}
  email: {adapter: smtp, host: 127.0.0.1, port: PORT, security: none, batch_size: 1, concurrency: 1}
dispatch: {chunk: 20, threads: 2}
schedules: {collect: "0 0 1 1 *", refresh: "0 0 1 1 *"}
"""
HELLO = """\
campaign: hello
audience: {country: {in: [DE]}}
schedule: {cron: "* * * * *"}
steps:
  - {id: hello, channels: [sms], template: hello}
"""
LATE = """\
campaign: late
audience: {country: {in: [DE]}}
schedule: {cron: "* * * * *", send_within: 0s}
steps:
  - {id: late, channels: [sms], template: hello}
"""
LETTER = """\
campaign: letter
audience: {country: {in: [DE]}}
steps:
  - {id: letter, channels: [email], template: letter}
"""
LATER = """\
campaign: later
audience: {country: {in: [DE]}}
steps:
  - {id: now, channels: [sms], template: hello}
  - {id: then, after: 4d, channels: [sms], template: hello}
"""
TEXT = "{% block body %}Hello {{ customer.first_name | or_('there') }}!{% endblock %}"
HTML = """{% block subject %}Hello{% endblock %}
{% block body %}<p>Hello {{ customer.first_name | or_('there') }}!</p>
<a href="{{ links.unsubscribe }}">Leave</a>{% endblock %}"""


@dataclass
class Shop:
    """A project in a folder, with customers."""

    root: Path
    workspace: Workspace

    def states(self, campaign: str) -> dict[str, int]:
        """The campaign's messages, counted by state."""
        counts = (
            select(messages.c.state, func.count())
            .join(runs)
            .where(runs.c.campaign == campaign)
            .group_by(messages.c.state)
        )
        with self.workspace.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(counts)}

    def run_states(self, campaign: str) -> list[str]:
        with self.workspace.database.read() as connection:
            return list(
                connection.scalars(
                    select(runs.c.state).where(runs.c.campaign == campaign).order_by(runs.c.id)
                )
            )

    def deploy(self, *names: str) -> None:
        deploy(self.workspace.project, [self.workspace.campaign(name) for name in names])


@pytest.fixture
def mail() -> Iterator[HeldServer]:
    with HeldServer() as server:
        yield server


@pytest.fixture
def shop(prefect_server: str, tmp_path: Path, mail: HeldServer) -> Iterator[Shop]:
    """100 customers in Germany with a phone and an address, 10 in France."""
    root = tmp_path / "shop"
    (root / "campaigns").mkdir(parents=True)
    (root / "templates").mkdir()
    (root / "holdfast.yaml").write_text(PROJECT.replace("PORT", str(mail.port)))
    for name, campaign in (("hello", HELLO), ("late", LATE), ("letter", LETTER), ("later", LATER)):
        (root / "campaigns" / f"{name}.yaml").write_text(campaign)
    (root / "templates" / "hello.sms.txt").write_text(TEXT)
    (root / "templates" / "letter.email.html").write_text(HTML)
    rows = [
        f"c{n},c{n}@customer.example,+49151{n:08d},Name{n},{'DE' if n < 100 else 'FR'},yes,yes"
        for n in range(110)
    ]
    table = root / "customers.csv"
    table.write_text(
        "customer_id,email,phone,first_name,country,consent.sms,consent.email\n" + "\n".join(rows) + "\n"
    )
    workspace = open_workspace(root, read_block)
    import_file(
        workspace.database,
        workspace.project,
        workspace.secret,
        "customers",
        table,
        now=datetime.now(UTC) - timedelta(days=1),
    )
    yield Shop(root, workspace)
    deploy(workspace.project, [])
    workspace.close()


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


class HeldServer(SmtpServer):
    """A mail server that takes `free` letters and then keeps the next ones waiting until it is let go."""

    def __init__(self, free: int = 10) -> None:
        self._free = free
        self._go = threading.Event()
        self.reached = threading.Event()
        super().__init__()

    def let_go(self) -> None:
        self._go.set()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if len(self.mails) >= self._free and not self._go.is_set():
            self.reached.set()
            await asyncio.get_running_loop().run_in_executor(None, self._go.wait)
        return await super().handle_DATA(server, session, envelope)


@contextmanager
def worker(shop: Shop) -> Iterator[subprocess.Popen[str]]:
    """The worker of `holdfast up`, in a process of its own; killed at the end where it still runs."""
    program = "from holdfast.orchestration.worker import work; work(print)"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        cwd=shop.root,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def eventually(condition: Callable[[], Any], within: float = 60) -> Any:
    """The first true answer. Prefect does its part in its own time, so this asks again."""
    give_up = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.1)
    return answer


def runs_of(client: SyncPrefectClient, name: str) -> list[FlowRun]:
    deployment = find_deployment(client, name)
    assert deployment is not None
    deployed = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
    return client.read_flow_runs(flow_run_filter=deployed)


# --- in this process ------------------------------------------------------------------------------


def test_a_run_writes_to_its_audience_once_and_shows_itself_in_prefect(
    shop: Shop, client: SyncPrefectClient
) -> None:
    told: list[tuple[str, int, int]] = []
    ended = run_now(shop.root, "hello", key="june", on_progress=lambda *step: told.append(step))
    assert (ended.state, ended.message) == ("Completed", "done")
    assert shop.states("hello") == {"accepted": 100}
    assert shop.run_states("hello") == ["done"]
    assert len(list((shop.root / ".holdfast" / "sandbox" / "sms").glob("*.txt"))) == 100
    assert told[-1] == ("dispatch", 100, 100)

    run = client.read_flow_run(ended.flow_run_id)
    assert run.name == f"hello {datetime.now(UTC):%Y-%m-%d}"
    assert run.parameters["campaign"] == "hello"
    keys = ["hello-waterfall", "hello-progress", "hello-samples", "hello-results"]
    found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=keys)))
    artifacts = [artifact for artifact in found if artifact.flow_run_id == ended.flow_run_id]
    assert {artifact.key for artifact in artifacts} == set(keys)
    assert "+49151" not in str([artifact.data for artifact in artifacts])
    [waterfall] = [json.loads(str(one.data)) for one in artifacts if one.key == "hello-waterfall"]
    assert all(row["audience"] for row in waterfall)
    assert waterfall[0]["customers"] == waterfall[-1]["customers"] == 100

    again = run_now(shop.root, "hello", key="june")
    assert again.message == "nothing to do: this campaign has no run that may send"
    assert shop.states("hello") == {"accepted": 100}


def test_a_run_with_nothing_to_send_takes_seconds(shop: Shop) -> None:
    run_now(shop.root, "hello", key="june")
    started = time.monotonic()
    run_now(shop.root, "hello", key="june")
    assert time.monotonic() - started < 10


def test_an_unknown_campaign_fails_with_the_known_ones(shop: Shop) -> None:
    with pytest.raises(
        RunError,
        match=r"'hallo'; did you mean 'hello'\? \(known are: hello, late, later, letter\)",
    ):
        run_now(shop.root, "hallo")


def test_without_a_deployment_a_run_says_until_when_it_waits(shop: Shop) -> None:
    ended = run_now(shop.root, "later", key="june")
    day = datetime.now(UTC) + timedelta(days=4)
    assert ended.message.startswith(f"waits until {day:%Y-%m-%d}")
    assert shop.run_states("later") == ["running"]


def test_with_a_deployment_the_next_step_is_one_scheduled_follow_up(
    shop: Shop, client: SyncPrefectClient
) -> None:
    shop.deploy("later")
    for _ in range(2):
        run_now(shop.root, "later", key="june")
    [follow_up] = runs_of(client, "later")
    assert follow_up.state is not None
    assert follow_up.state.is_scheduled()
    assert (
        follow_up.state.state_details.scheduled_time.date() == (datetime.now(UTC) + timedelta(days=4)).date()
    )
    assert follow_up.parameters["follow_up"] is True


def test_what_a_lost_worker_left_without_a_follow_up_is_picked_up_once(
    shop: Shop, client: SyncPrefectClient
) -> None:
    run_now(shop.root, "later", key="june")
    shop.deploy("later")
    for _ in range(2):
        assert pick_up(shop.workspace, datetime.now(UTC)) == ["later"]
    [follow_up] = runs_of(client, "later")
    assert follow_up.parameters["follow_up"] is True


def test_a_mail_server_that_is_down_leaves_every_message_planned_for_later(
    shop: Shop, mail: HeldServer
) -> None:
    mail.close()
    assert run_now(shop.root, "letter", key="june").message.startswith("waits until")
    assert shop.states("letter") == {"planned": 100}


def test_ctrl_c_stops_at_the_next_batch_without_a_traceback_and_resume_sends_the_rest(
    shop: Shop, mail: HeldServer
) -> None:
    program = (
        "import sys; from pathlib import Path; from holdfast.orchestration.running import run_now;"
        "ended = run_now(Path(sys.argv[1]), 'letter', key='june'); print(ended.state, ended.message)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(shop.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert mail.reached.wait(60)
    process.send_signal(signal.SIGINT)
    eventually(lambda: shop.run_states("letter") != ["running"])
    mail.let_go()
    output, errors = process.communicate(timeout=60)
    assert output == "Cancelled stopped at the keyboard; go on with --resume\n"
    assert errors == ""
    stopped = shop.states("letter")
    assert stopped["planned"] > 0
    assert stopped["accepted"] == len(mail.mails) < 100
    assert shop.run_states("letter") == ["stopped"]

    assert run_now(shop.root, "letter", resume=True).message == "done"
    assert shop.states("letter") == {"accepted": 100}
    assert len({letter.recipient for letter in mail.mails}) == len(mail.mails) == 100


def test_a_refresh_shows_what_it_can_and_says_what_failed(shop: Shop) -> None:
    run_now(shop.root, "hello", key="june")
    assert refresh_now(shop.root).message == "refreshed: attributions, hello, the KPI sheet"
    with shop.workspace.database.write() as connection:
        connection.execute(text("DROP TABLE conversions"))
    with pytest.raises(OrchestrationError, match="refreshed: attributions, the KPI sheet; failed: hello"):
        refresh_now(shop.root)


# --- by a worker ----------------------------------------------------------------------------------


def test_a_campaign_runs_by_itself_at_its_time_and_an_occurrence_found_too_late_sends_nothing(
    shop: Shop, client: SyncPrefectClient
) -> None:
    shop.deploy("hello", "late")
    with worker(shop):
        eventually(lambda: "done" in shop.run_states("hello"), 150)
        [missed, *_] = eventually(
            lambda: [run for run in runs_of(client, "late") if run.state and run.state.is_final()], 150
        )  # its next time may be a minute away, and then Prefect has a process to start
    assert missed.state is not None
    assert (missed.state.name, missed.state.message) == (
        "Missed",
        "missed: found too late, nobody was enrolled (on_missed: skip)",
    )
    assert shop.run_states("late") == []
    assert shop.states("hello") == {"accepted": 100}


def test_cancelling_in_prefect_stops_at_the_next_batch_and_resume_sends_the_rest(
    shop: Shop, mail: HeldServer, client: SyncPrefectClient
) -> None:
    shop.deploy("letter")
    with worker(shop):
        deployment = find_deployment(client, "letter")
        assert deployment is not None
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"key": "june"})
        assert mail.reached.wait(90)
        client.set_flow_run_state(run.id, Cancelling())
        eventually(lambda: shop.run_states("letter") != ["running"])
        mail.let_go()
        eventually(lambda: client.read_flow_run(run.id).state.is_cancelled())
        stopped = shop.states("letter")
        assert stopped["planned"] > 0
        assert stopped["accepted"] == len(mail.mails) < 100
        assert run_deployed("letter", resume=True, timeout=90).message == "done"
    assert shop.states("letter") == {"accepted": 100}
    assert len({letter.recipient for letter in mail.mails}) == len(mail.mails) == 100


def test_a_worker_that_is_stopped_leaves_the_rest_to_a_follow_up(
    shop: Shop, mail: HeldServer, client: SyncPrefectClient
) -> None:
    shop.deploy("letter")
    with worker(shop) as process:
        deployment = find_deployment(client, "letter")
        assert deployment is not None
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"key": "june"})
        assert mail.reached.wait(90)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "stopping: 1 run(s) finish what they have in hand\n"
        mail.let_go()
        assert process.wait(90) == 0
    ended = client.read_flow_run(run.id).state
    assert ended is not None
    assert ended.name == "Interrupted"
    [follow_up] = [other for other in runs_of(client, "letter") if other.id != run.id]
    assert follow_up.parameters["follow_up"] is True
    with worker(shop):
        eventually(lambda: shop.run_states("letter") == ["done"], 90)
    assert shop.states("letter") == {"accepted": 100}
    assert len({letter.recipient for letter in mail.mails}) == len(mail.mails) == 100
