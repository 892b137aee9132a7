"""Group commit: who shares a write, what each is answered, what a failure does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from holdfast.store.group_commit import GroupCommit


class Disk:
    """Doubles numbers, and takes none below 0. Its first write lasts until it is let go."""

    def __init__(self) -> None:
        self.writes: list[list[int]] = []
        self.is_busy, self.goes_on = threading.Event(), threading.Event()

    def __call__(self, group: Sequence[int]) -> list[int]:
        self.writes.append(list(group))
        self.is_busy.set()
        assert self.goes_on.wait(30)
        if min(group) < 0:
            raise OSError("the disk is full")
        return [2 * number for number in group]


def write_together(
    disk: Disk, most: int, first: int, others: Sequence[int], size: Callable[[int], int] = lambda number: 1
) -> list[Future[int]]:
    """Writes the first number, and the others by a thread each, all of whom come while the disk is busy."""
    commit = GroupCommit(disk, most, size)
    with ThreadPoolExecutor(1 + len(others)) as pool:
        calls = [pool.submit(commit, first)]
        assert disk.is_busy.wait(30)
        for place, number in enumerate(others, start=1):
            calls.append(pool.submit(commit, number))
            while len(commit._waiting) < place:
                os.sched_yield()
        disk.goes_on.set()
    return calls


def test_alone_nobody_waits_for_others() -> None:
    disk = Disk()
    disk.goes_on.set()
    commit = GroupCommit(disk, 10)
    assert [commit(1), commit(2)] == [2, 4]
    assert disk.writes == [[1], [2]]


def test_those_who_come_during_a_write_share_the_next_one_and_get_each_their_own_answer() -> None:
    disk = Disk()
    calls = write_together(disk, 10, 1, [2, 3, 4])
    assert [call.result() for call in calls] == [2, 4, 6, 8]
    assert disk.writes == [[1], [2, 3, 4]]


def test_a_write_takes_no_more_than_it_may_and_nobody_is_forgotten() -> None:
    disk = Disk()
    calls = write_together(disk, 2, 1, [2, 3, 4, 5, 6])
    assert [call.result() for call in calls] == [2, 4, 6, 8, 10, 12]
    assert disk.writes == [[1], [2, 3], [4, 5], [6]]


def test_a_write_that_fails_costs_those_who_shared_it_nothing() -> None:
    disk = Disk()
    calls = write_together(disk, 10, 1, [2, -3, 4])
    assert [call.result() for call in (calls[0], calls[1], calls[3])] == [2, 4, 8]
    with pytest.raises(OSError, match="the disk is full"):
        calls[2].result()
    assert disk.writes == [[1], [2, -3, 4], [2], [-3], [4]]


def test_a_write_is_as_large_as_it_may_be_and_what_is_larger_is_written_alone() -> None:
    disk = Disk()
    write_together(disk, 10, 1, [4, 6, 5, 30, 2], size=lambda number: number)
    assert disk.writes == [[1], [4, 6], [5], [30], [2]]


def test_who_has_an_answer_waits_for_nobodys_next_write() -> None:
    first, last = threading.Event(), threading.Event()

    def write(group: Sequence[int]) -> Sequence[int]:
        assert {1: first, 9: last}.get(group[0], first).wait(30)
        return group

    commit = GroupCommit(write, 2)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(commit, 1)]
        while commit._waiting or not commit._is_taken:
            os.sched_yield()
        for place, number in enumerate([2, 3, 9], start=1):
            calls.append(pool.submit(commit, number))
            while len(commit._waiting) < place:
                os.sched_yield()
        first.set()
        assert [call.result(timeout=30) for call in calls[:3]] == [1, 2, 3]
        assert not calls[3].done()
        last.set()
        assert calls[3].result(timeout=30) == 9
