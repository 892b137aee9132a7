"""Group commit: what several threads want written at one time goes into one transaction.

Calls that take one message each would otherwise wait for the disk twice a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

Given = TypeVar("Given")
Answer = TypeVar("Answer")


class GroupCommit(Generic[Given, Answer]):
    """A write that threads share. Whoever has the turn writes for all who wait; alone, nobody waits."""

    def __init__(self, write: Callable[[Sequence[Given]], Sequence[Answer]], most: int) -> None:
        """`write` is given at most `most` at once, and gives an answer for each, in order."""
        self._write, self._most = write, most
        self._turn = Lock()
        self._waiting: deque[tuple[Given, Future[Answer]]] = deque()

    def __call__(self, given: Given) -> Answer:
        """Returns when it is written, by whomever. Raises what the write raised, in all who took part."""
        answer = Future[Answer]()
        self._waiting.append((given, answer))
        with self._turn:
            while not answer.done():
                self._write_next()
        return answer.result()

    def _write_next(self) -> None:
        # None but who has the turn takes away: there are at least so many.
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
        try:
            answers = self._write([given for given, _ in group])
        except BaseException as error:
            for _, answer in group:
                answer.set_exception(error)
        else:
            for (_, answer), written in zip(group, answers, strict=True):
                answer.set_result(written)
