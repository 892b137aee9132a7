"""Running a flow now: in this process, or by a worker through its deployment."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import State, tags
from prefect.client.orchestration import get_client
from prefect.flows import load_flow_from_entrypoint
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import get_current_settings

from holdfast.errors import HoldfastError, OrchestrationError
from holdfast.orchestration.artifacts import listener
from holdfast.orchestration.deployments import (
    FLOW,
    REFRESH,
    TAG,
    entrypoint,
    find_deployment,
    no_answer,
    project_deployment,
)
from holdfast.orchestration.interrupts import keyboard

_POLL_EVERY = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Ended:
    """How a flow run ended: `state` as the UI names it (Completed, Missed, Interrupted, Cancelled, …)."""

    flow_run_id: UUID
    url: str
    state: str
    message: str


def run_now(
    root: Path,
    campaign: str,
    *,
    key: str | None = None,
    as_of: datetime | None = None,
    resume: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Ended:
    """Runs the campaign in this process, shown in the Prefect UI like any run; the server must be up.

    `on_progress` gets what is done ("enroll", "dispatch"), how much, of how much. Raises the HoldfastError
    that the run failed with.
    """
    token = listener.set(on_progress)
    try:
        return _in_this_process(root, FLOW, campaign=campaign, key=key, as_of=as_of, resume=resume)
    finally:
        listener.reset(token)


def refresh_now(root: Path) -> Ended:
    """Runs `refresh_metrics` in this process, shown in the Prefect UI; the server must be up.

    Raises the HoldfastError that it failed with.
    """
    return _in_this_process(root, REFRESH)


def run_deployed(
    campaign: str,
    *,
    key: str | None = None,
    as_of: datetime | None = None,
    resume: bool = False,
    timeout: float = 600.0,
    while_waiting: Callable[[str], None] | None = None,
) -> Ended:
    """Has a worker run the campaign's deployment, and waits; `while_waiting` gets the state's name each time.

    Raises OrchestrationError where the campaign is not deployed, or has not ended after `timeout` seconds.
    """
    parameters = {"key": key, "as_of": as_of and as_of.isoformat(), "resume": resume}
    return _by_a_worker(FLOW, campaign, parameters, timeout, while_waiting)


def run_deployed_flow(
    root: Path, flow: str, *, timeout: float = 600.0, while_waiting: Callable[[str], None] | None = None
) -> Ended:
    """Has a worker run a flow of the project itself (`COLLECT`, `REFRESH`), and waits: see `run_deployed`."""
    return _by_a_worker(flow, project_deployment(root), {}, timeout, while_waiting)


def ui_url() -> str:
    """Where the Prefect UI is."""
    settings = get_current_settings()
    return str(settings.ui_url or "").rstrip("/")


def _in_this_process(root: Path, flow: str, **parameters: Any) -> Ended:
    _keep_console_quiet()
    run: Any = load_flow_from_entrypoint(entrypoint(flow))
    with _project(root), tags(TAG), keyboard():
        state: State[Any] = run(**parameters, return_state=True)
    if state.is_failed() or state.is_crashed():
        error = state.result(raise_on_failure=False)
        if isinstance(error, HoldfastError):
            raise error
        raise OrchestrationError(f"the flow run ended as {state.name}: {state.message}")
    return _ended(state)


@contextmanager
def _project(root: Path) -> Iterator[None]:
    """The environment that tells flows where their project is, as a worker's does."""
    before = os.environ.get("HOLDFAST_PROJECT")
    os.environ["HOLDFAST_PROJECT"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["HOLDFAST_PROJECT"]
        else:
            os.environ["HOLDFAST_PROJECT"] = before


def _by_a_worker(
    flow: str,
    name: str,
    parameters: dict[str, Any],
    timeout: float,
    while_waiting: Callable[[str], None] | None,
) -> Ended:
    what = f"campaign {name!r}" if flow == FLOW else flow
    try:
        with get_client(sync_client=True) as client:
            deployment = find_deployment(client, name, flow)
            if deployment is None:
                raise OrchestrationError(f"{what} is not deployed", hint="run: holdfast deploy")
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
            give_up, state = time.monotonic() + timeout, "waiting"
            while run.state is None or not run.state.is_final():
                if time.monotonic() > give_up:
                    raise OrchestrationError(
                        f"the run of {what} is still {state}", hint="is a worker up? holdfast up"
                    )
                time.sleep(_POLL_EVERY)
                run = client.read_flow_run(run.id)
                state = (run.state and run.state.name) or state
                if while_waiting is not None:
                    while_waiting(state)
    except httpx.HTTPError as error:
        raise no_answer(error) from None
    assert run.state is not None  # noqa: S101 - the loop ends with a final state
    return _ended(run.state, run.id)


def _ended(state: State[Any], flow_run_id: UUID | None = None) -> Ended:
    flow_run_id = flow_run_id or state.state_details.flow_run_id
    assert flow_run_id is not None  # noqa: S101 - Prefect sets it on every state of a flow run
    return Ended(
        flow_run_id, f"{ui_url()}/runs/flow-run/{flow_run_id}", state.name or "", state.message or ""
    )


def _keep_console_quiet() -> None:
    """The command line says what happened, in its own words. The UI keeps the whole log."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.setLevel(logging.CRITICAL + 1)
    # For the processes that work on chunks.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
