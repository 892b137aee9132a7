"""Sending what is due, chunk by chunk: each is a task, worked on by the runner of the project's setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from math import ceil
from typing import Any

from prefect import Task
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from holdfast import delivery
from holdfast.delivery import ChunkResult, Workspace
from holdfast.errors import HoldfastError, RunStopped
from holdfast.orchestration.artifacts import Progress
from holdfast.orchestration.interrupts import check_keyboard
from holdfast.orchestration.occurrences import is_cancelling
from holdfast.orchestration.results import InWork
from holdfast.orchestration.runners import task_runner

# Messages for which a task of their own is worth its cost.
_WORTH_A_TASK = 500

Clock = Callable[[], datetime]
Dispatch = Task[Any, ChunkResult]
"""Sends one chunk, wherever the runner has it done: its parameters are campaign, channel and owner."""


def send_due(ws: Workspace, campaign: str, progress: Progress, dispatch: Dispatch, clock: Clock) -> None:
    """Plans and sends what is due, round after round, until nothing is left to take.

    Raises the first error that a chunk ended with, when the others of its round are over, and
    OrchestrationError where the worker of a chunk was lost.
    """
    if not (due := _plan(ws, campaign, clock)):
        return
    with task_runner(ws) as runner, InWork[ChunkResult](runner) as in_work:
        try:
            while due and _send(ws, campaign, due, progress, dispatch, in_work, clock):
                due = _plan(ws, campaign, clock)
        except KeyboardInterrupt:
            # Before the chunks in work are waited for: they end at their next batch.
            delivery.stop_runs(ws, campaign, "stopped at the keyboard", clock())
            raise
        except TerminationSignal:
            _stop_when_cancelled(ws, campaign, clock)
            raise


def _plan(ws: Workspace, campaign: str, clock: Clock) -> dict[str, int]:
    """Plans what is due by now; how many messages on each channel."""
    delivery.advance(ws, campaign, clock())
    return delivery.due(ws, campaign, clock())


def _send(
    ws: Workspace,
    campaign: str,
    due: dict[str, int],
    progress: Progress,
    dispatch: Dispatch,
    in_work: InWork[ChunkResult],
    clock: Clock,
) -> bool:
    """Sends one round; whether there was anything to take."""
    leased, failures = 0, []
    # Threads of one process render one at a time: they gain nothing from smaller chunks.
    at_once = 1 if ws.project.runner.kind == "threads" else in_work.places
    waiting = tasks(campaign, due, ws.project.dispatch.chunk, at_once, dispatch)
    while in_work.fill(waiting):
        result = in_work.next(lambda: _stop_when_cancelled(ws, campaign, clock))
        if isinstance(result, HoldfastError):
            failures.append(result)
        else:
            leased += result.leased
            progress("dispatch", leased, sum(due.values()))
    if failures:
        # What stopped the run says more than what the others ended with.
        raise next((error for error in failures if isinstance(error, RunStopped)), failures[0])
    return leased > 0


def tasks(
    campaign: str, due: dict[str, int], chunk: int, at_once: int, dispatch: Dispatch
) -> Iterator[tuple[Dispatch, dict[str, Any]]]:
    """A task for each chunk that is due, with its parameters; of a small run, one for each place."""
    for channel, n in due.items():
        of = max(ceil(n / chunk), min(at_once, ceil(n / _WORTH_A_TASK)))
        parameters = {"campaign": campaign, "channel": channel, "owner": flow_run.id, "most": ceil(n / of)}
        for number in range(1, of + 1):
            yield dispatch.with_options(task_run_name=f"dispatch {channel} {number}/{of}"), parameters


def _stop_when_cancelled(ws: Workspace, campaign: str, clock: Clock) -> None:
    """Prefect interrupts the flow's main thread alone; chunks read the ledger's run state at each batch."""
    check_keyboard()
    if is_cancelling():
        delivery.stop_runs(ws, campaign, "cancelled in Prefect", clock())
