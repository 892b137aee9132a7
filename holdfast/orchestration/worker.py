"""The worker of `holdfast up`: takes runs from the work pool, and stops without breaking one off."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from abc import ABC
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from holdfast.orchestration.deployments import POOL

_POLL_EVERY = 3.0  # seconds


def work(announce: Callable[[str], None]) -> None:
    """Runs what is scheduled in the work pool, each run in a process of its own, until Ctrl-C or SIGTERM.

    Then nothing new is taken; the runs in work finish the chunks they have in hand and leave the rest to a
    follow-up run, which waits for the next worker. A second Ctrl-C does not wait for them.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        # Prefect's runner keeps its files in the temporary folder under one name, which is then the machine's
        # first user's alone (tried): so it gets a folder of its own.
        tempfile.tempdir = folder
        asyncio.run(_work(announce))


# Named abstract so that Prefect does not register it in the place of its own.
class _Worker(ProcessWorker, ABC):
    # Prefect's own way to stop kills the runs' processes and leaves the runs `Running` in the UI for ever
    # (tried): so this one knows them, asks them to end, and waits.

    def __init__(self) -> None:
        name = f"{POOL} {socket.gethostname()} {os.getpid()}"
        # Not ahead of time: Prefect starts what it fetches early early, by up to ten seconds (tried).
        super().__init__(work_pool_name=POOL, name=name, prefetch_seconds=0, create_pool_if_not_found=False)
        self.processes: set[int] = set()

    async def run(
        self, flow_run: Any, configuration: ProcessJobConfiguration, task_status: Any = None
    ) -> ProcessWorkerResult:
        started = _Started(task_status, self.processes)
        try:
            return await super().run(flow_run, configuration, started)  # type: ignore[arg-type]
        finally:
            self.processes.discard(started.pid)


class _Started:
    """Notes the process of a run when Prefect reports it."""

    def __init__(self, task_status: Any, processes: set[int]) -> None:
        self.pid = 0
        self._task_status = task_status
        self._processes = processes

    def started(self, pid: int) -> None:
        self.pid = pid
        self._processes.add(pid)
        self._task_status.started(pid)


async def _work(announce: Callable[[str], None]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None  # noqa: S101 - inside asyncio.run

    def stop() -> None:
        if stopping.is_set():
            main.cancel()
        stopping.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    with suppress(asyncio.CancelledError):
        worker = _Worker()
        async with worker:
            while not stopping.is_set():
                try:
                    await worker.sync_with_backend()
                    await worker.get_and_submit_flow_runs()
                except httpx.HTTPError:
                    announce("the Prefect server does not answer; trying again")
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _POLL_EVERY)
            if worker.processes:
                announce(f"stopping: {len(worker.processes)} run(s) finish what they have in hand")
            for pid in worker.processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
