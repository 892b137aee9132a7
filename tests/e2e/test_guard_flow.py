"""A guard that trips, as Prefect sees it: a failed flow run with the reason, and events for automations."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.flows import load_flow_from_entrypoint
from sqlalchemy import select

from holdfast.channel import Response, ResponseKind
from holdfast.delivery import Workspace
from holdfast.errors import RunStopped
from holdfast.orchestration.blocks import read_block
from holdfast.orchestration.deployments import COLLECT, entrypoint
from holdfast.orchestration.running import run_now
from holdfast.responses import apply
from holdfast.store import runs
from holdfast.store.imports import import_file
from holdfast.tables import messages
from holdfast.wiring import open_workspace

PROJECT = """\
channels:
  sms: {adapter: sandbox, kind: sms}
  email: {adapter: smtp, host: 127.0.0.1, port: PORT, security: none, batch_size: 1, concurrency: 2}
defaults: {guard: {stop_if: {errors: 3, bounce_rate: 10%, after: 20}}}
"""
LETTER = """\
campaign: letter
audience: {country: DE}
steps:
  - {id: letter, channels: [email], template: letter}
"""
TWICE = """\
campaign: twice
audience: {country: DE}
steps:
  - {id: now, channels: [sms], template: hello}
  - {id: then, after: 4d, channels: [sms], template: hello}
"""
HTML = """{% block subject %}Hello{% endblock %}
{% block body %}<p>Hello</p><a href="{{ links.unsubscribe }}">Leave</a>{% endblock %}"""


@pytest.fixture(scope="module")
def shop(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A project with 20 customers, whose mail server is down."""
    root = tmp_path_factory.mktemp("shop")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    for folder in ("campaigns", "templates"):
        (root / folder).mkdir()
    brand = 'brand: {name: Acme, public_url: "https://r.acme.example", postal_address: "1 High St"}\n'
    (root / "holdfast.yaml").write_text(brand + PROJECT.replace("PORT", str(port)))
    (root / "campaigns" / "letter.yaml").write_text(LETTER)
    (root / "campaigns" / "twice.yaml").write_text(TWICE)
    (root / "templates" / "hello.sms.txt").write_text("{% block body %}Hello{% endblock %}")
    (root / "templates" / "letter.email.html").write_text(HTML)
    rows = [f"c{n},c{n}@customer.example,+49151{n:08d},DE,yes,yes" for n in range(20)]
    table = root / "customers.csv"
    table.write_text("customer_id,email,phone,country,consent.sms,consent.email\n" + "\n".join(rows) + "\n")
    ws = open_workspace(root, read_block)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    import_file(ws.database, ws.project, ws.secret, "customers", table, now=yesterday)
    yield ws
    ws.close()


def event(server: str, name: str, campaign: str) -> dict[str, Any]:
    """The campaign's one event of this name, as automations get it; it arrives in its own time."""
    wanted = {"event": {"name": [name]}, "resource": {"id": [f"holdfast.campaign.{campaign}"]}}
    give_up = time.monotonic() + 60
    while True:
        answer = httpx.post(f"{server}/events/filter", json={"filter": wanted}).raise_for_status()
        if found := answer.json()["events"]:
            [one] = found
            return dict(one)
        assert time.monotonic() < give_up, "no such event came"
        time.sleep(0.2)


def related(event: dict[str, Any]) -> dict[str, str]:
    """Ids of what the event came from, by what they are."""
    return {
        one["prefect.resource.role"]: one["prefect.resource.id"].rpartition(".")[2]
        for one in event["related"]
        if one["prefect.resource.role"] != "tag"
    }


def the_run(ws: Workspace, campaign: str) -> runs.Run:
    with ws.database.read() as connection:
        [run] = runs.list_runs(connection, campaign)
    return run


def test_calls_that_fail_in_a_row_end_the_flow_run_as_failed_with_the_reason_and_an_event(
    shop: Workspace, prefect_server: str
) -> None:
    with pytest.raises(RunStopped) as stopped:
        run_now(shop.project.root, "letter", key="june")
    reason = "run 'june' of 'letter' was stopped by its guard: 3 calls in a row failed on channel 'email'"
    assert str(stopped.value).startswith(reason)
    assert "holdfast run letter --resume" in str(stopped.value)
    assert (the_run(shop, "letter").state, the_run(shop, "letter").is_stopped_by_guard) == ("stopped", True)

    told = event(prefect_server, "holdfast.run.stopped", "letter")
    assert told["payload"]["reason"].startswith(reason)
    assert "customer.example" not in str(told)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(related(told)["flow-run"])
    assert run.state is not None
    assert run.state.is_failed()
    assert reason in (run.state.message or "")


def test_bounces_that_are_collected_stop_the_run_and_are_told_in_events(
    shop: Workspace, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_now(shop.project.root, "twice", key="june")
    with shop.database.read() as connection:
        sent = connection.scalars(select(messages.c.id).where(messages.c.state == "accepted")).all()
    now = datetime.now(UTC)
    keys = [shop.signer.sign("message", id_) for id_ in sent[:5]]
    bounces = [Response(ResponseKind.BOUNCED, f"e{key}", now, key=key) for key in keys]
    apply(shop, "sms", bounces, now)
    monkeypatch.setitem(os.environ, "HOLDFAST_PROJECT", str(shop.project.root))
    collected = load_flow_from_entrypoint(entrypoint(COLLECT))(return_state=True)
    assert collected.is_failed()
    reason = "run 'june' of 'twice' was stopped by its guard: 5 of 20 messages sent were refused or bounced"
    assert reason in collected.message
    assert the_run(shop, "twice").state == "stopped"

    bounced = event(prefect_server, "holdfast.messages.bounced", "twice")
    assert bounced["payload"] == {"campaign": "twice", "bounced": 5, "complained": 0}
    assert related(bounced)["flow-run"] == str(collected.state_details.flow_run_id)
    stopped = event(prefect_server, "holdfast.run.stopped", "twice")
    assert stopped["payload"]["reason"].startswith(reason)
