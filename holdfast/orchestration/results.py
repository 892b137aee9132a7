"""Waiting for tasks without going deaf."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from prefect.futures import PrefectFuture

from holdfast.errors import HoldfastError

_EVERY = 2.0  # seconds

T = TypeVar("T")


def results(
    tasks: Iterable[PrefectFuture[T]], while_waiting: Callable[[], object]
) -> Iterator[T | HoldfastError]:
    """Each task's result, or the error of ours that it ended with, in the tasks' order.

    `while_waiting` is called every two seconds in between. (`prefect.futures.wait` with a time limit takes
    all of it, always: it does not notice the end of a task on a thread.)
    """
    for running in tasks:
        while True:
            try:
                yield running.result(timeout=_EVERY)
            except TimeoutError:
                while_waiting()
                continue
            except HoldfastError as error:
                yield error
            break
