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

    def __init__(
        self,
        write: Callable[[Sequence[Given]], Sequence[Answer]],
        most: int,
        size: Callable[[Given], int] = lambda given: 1,
    ) -> None:
        """`write` gives an answer for each that it is given, in order: together at most of size `most`, or
        one that is larger."""
        self._write, self._most, self._size = write, most, size
        self._turn = Lock()
        self._waiting: deque[tuple[Given, Future[Answer]]] = deque()

    def __call__(self, given: Given) -> Answer:
        """Returns when it is written, by whomever; raises what its write raised."""
        answer = Future[Answer]()
        self._waiting.append((given, answer))
        with self._turn:
            while not answer.done():
                self._write_next()
        return answer.result()

    def _write_next(self) -> None:
        self._serve(self._group())

    def _group(self) -> list[tuple[Given, Future[Answer]]]:
        """Those who wait, as many as may be written at once. None but who has the turn takes away."""
        group = [self._waiting.popleft()]
        size = self._size(group[0][0])
        while self._waiting and (size := size + self._size(self._waiting[0][0])) <= self._most:
            group.append(self._waiting.popleft())
        return group

    def _serve(self, group: Sequence[tuple[Given, Future[Answer]]]) -> None:
        try:
            answers = list(zip(group, self._write([given for given, _ in group]), strict=True))
        except BaseException as error:
            if len(group) > 1 and isinstance(error, Exception):
                # One of them may be to blame: each is written, or fails, for itself.
                for one in group:
                    self._serve([one])
            else:
                for _, answer in group:
                    answer.set_exception(error)
        else:
            for (_, answer), written in answers:
                answer.set_result(written)
