"""What works on the chunks of a run: threads, processes or a Dask cluster, by the project's setting."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing import resource_tracker
from multiprocessing.queues import Queue
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from holdfast.delivery import Workspace
from holdfast.errors import OrchestrationError, SettingsError
from holdfast.orchestration.interrupts import keyboard_held

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def task_runner(ws: Workspace) -> TaskRunner[Any]:
    """The task runner that holdfast.yaml asks for; processes start with the first chunks.

    Raises SettingsError where it needs something that is not there.
    """
    setting = ws.project.runner
    if setting.kind == "threads":
        return ThreadPoolTaskRunner(max_workers=ws.project.dispatch.threads)
    if setting.kind == "processes":
        return ProcessPoolTaskRunner(max_workers=setting.workers, initializer=_belong_to_the_flow)
    return _dask(setting.workers, setting.address, ws.database.is_sqlite)


def places(runner: TaskRunner[Any]) -> int:
    """How many tasks the started runner works on at once, now. A Dask cluster may grow, or have none left.

    Raises OrchestrationError where a Dask scheduler does not answer.
    """
    if isinstance(runner, ThreadPoolTaskRunner | ProcessPoolTaskRunner):
        return runner._max_workers
    try:
        # A cluster of our own starts here.
        with keyboard_held():
            threads: dict[str, int] = runner.client.nthreads()  # type: ignore[attr-defined]
    except OSError:
        raise OrchestrationError(
            "the Dask scheduler does not answer", hint="look at runner.address in holdfast.yaml; is it up?"
        ) from None
    return sum(threads.values())


def _dask(workers: int, address: str | None, is_sqlite: bool) -> TaskRunner[Any]:
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ModuleNotFoundError:
        raise SettingsError(
            "runner.kind: dask needs prefect-dask", hint="pip install 'holdfast[dask]'"
        ) from None
    if address is None:
        # Started with the first process, this one lets Ctrl-C through to it.
        resource_tracker.ensure_running()
        # Any free port: another flow run may have the usual one.
        one_each = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
        return DaskTaskRunner(cluster_kwargs=one_each)
    if is_sqlite and urlsplit(address).hostname not in _LOOPBACK:
        raise SettingsError(
            "runner.address is another machine's, which cannot share an SQLite file",
            hint="use PostgreSQL: set HOLDFAST_DATABASE_URL, here and on every machine of the cluster",
        )
    return DaskTaskRunner(address=address)


def _belong_to_the_flow() -> None:
    """In each process of a pool: it ends between two chunks, when it is asked to or the flow is gone.

    Python's pool asks its processes to end, by SIGTERM, where one of them was killed; and where the flow
    itself was, they would wait for ever.
    """
    for name in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(name, _end_between_chunks)
    threading.Thread(target=_end_with_the_flow, daemon=True).start()


def _end_between_chunks(number: int, frame: FrameType | None) -> None:
    signal.alarm(1)  # asks again, where a chunk is in hand
    while frame is not None:
        if frame.f_code is Queue.get.__code__:  # waits for the next one
            raise SystemExit(0)
        frame = frame.f_back


def _end_with_the_flow() -> None:
    flow = multiprocessing.parent_process()
    if flow is not None:
        flow.join()
    os.kill(os.getpid(), signal.SIGTERM)
