"""The same work by several processes at once, each with connections of its own, and what it took them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from time import perf_counter
from typing import Generic, TypeVar

from tests.benchmarks.measuring import Taken, stopwatch

Result = TypeVar("Result")
Prepared = AbstractContextManager[Callable[[], Result]]
"""Gives the work itself when everything that it needs is open; that is not measured."""

_MOST_TO_PREPARE = 300  # seconds


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """`taken`: from the moment all began to the end of the last, CPU of all, the highest peak of one."""

    taken: Taken
    results: Sequence[Result]


def at_once(workers: int, prepare: Callable[[int], Prepared[Result]]) -> Done[Result]:
    """Prepares the work in so many new processes, each told its place; does it in all of them at once."""
    context = get_context("spawn")
    barrier = context.Barrier(workers)
    processes, pipes = [], []
    for place in range(workers):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(prepare, place, barrier, theirs))
        process.start()
        theirs.close()
        processes.append(process)
        pipes.append(ours)
    try:
        told = [pipe.recv() for pipe in pipes]
    except EOFError:
        for process in processes:
            process.terminate()
        raise SystemExit("a worker has failed") from None
    for process in processes:
        process.join()
    begun, ended, each, results = zip(*told, strict=True)
    return Done(
        Taken(
            max(ended) - min(begun), sum(taken.cpu for taken in each), max(taken.megabytes for taken in each)
        ),
        results,
    )


def _work(prepare: Callable[[int], Prepared[Result]], place: int, barrier: Barrier, pipe: Connection) -> None:
    with prepare(place) as work:
        barrier.wait(_MOST_TO_PREPARE)
        begun = perf_counter()
        with stopwatch() as elapsed:
            result = work()
            taken = elapsed()
        # The clock of all processes of a machine.
        pipe.send((begun, perf_counter(), taken, result))
