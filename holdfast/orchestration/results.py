"""Waiting for tasks without going deaf."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from holdfast.errors import HoldfastError, OrchestrationError
from holdfast.orchestration.interrupts import keyboard_held
from holdfast.orchestration.runners import places

_EVERY = 2.0  # seconds

T = TypeVar("T")


class InWork(Generic[T]):
    """What a task runner has in work, never more than it has places for: so what is out is in hand.

    Leaving waits for it: a Dask client would go and leave its tasks behind.
    """

    def __init__(self, runner: TaskRunner[Any]) -> None:
        self._runner = runner
        self._tasks: set[PrefectFuture[T]] = set()
        # Tasks come here by themselves when they end. (Prefect's `wait` and `as_completed` know no Dask.)
        self._ended: SimpleQueue[PrefectFuture[T]] = SimpleQueue()
        self._looked_up = time.monotonic()

    def __enter__(self) -> InWork[T]:
        return self

    def __exit__(self, *exception: object) -> None:
        # Without a place, nobody has them in hand.
        while self._tasks and places(self._runner):
            with suppress(Empty):
                self._tasks.discard(self._ended.get(timeout=_EVERY))

    @property
    def places(self) -> int:
        """How many tasks can be in work now, at least 1."""
        return max(1, places(self._runner))

    def fill(self, waiting: Iterator[tuple[Task[..., T], dict[str, Any]]]) -> bool:
        """Submits tasks that wait, with their parameters, for the places that are free; whether any is in
        work."""
        free = self.places - len(self._tasks)
        for task, parameters in islice(waiting, max(0, free)):
            # A process that is started now takes over that Ctrl-C is not for it.
            with keyboard_held():
                future = self._runner.submit(task, parameters)
                self._tasks.add(future)
            future.add_done_callback(self._ended.put)
        return bool(self._tasks)

    def next(self, while_waiting: Callable[[], object]) -> T | HoldfastError:
        """The result of the next task to end, or the error of ours that it ended with.

        `while_waiting` is called every two seconds, however fast tasks end. Raises OrchestrationError where
        the process or machine that worked on the task is gone.
        """
        while True:
            if time.monotonic() > self._looked_up + _EVERY:
                while_waiting()
                self._looked_up = time.monotonic()
            with suppress(Empty):
                future = self._ended.get(timeout=_EVERY)
                self._tasks.discard(future)
                return _outcome(future)


def _outcome(future: PrefectFuture[T]) -> T | HoldfastError:
    try:
        return future.result()
    except HoldfastError as error:
        return error
    except Exception as error:
        # Tasks end with errors of ours alone: see `redacted`.
        raise OrchestrationError(
            f"the worker of a chunk was lost ({type(error).__name__})",
            hint="a follow-up, or --resume, goes on; what was being sent is in doubt when its lease is over",
        ) from None
