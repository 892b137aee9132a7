"""Group commit: what several threads want written at one time goes into one transaction.

Calls that take one message each would otherwise wait for the disk twice a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Event, Lock
from typing import Generic, TypeVar

Given = TypeVar("Given")
Answer = TypeVar("Answer")


class Awaited(Future[Answer]):
    """An answer whose thread sleeps until it is there, or until it has the turn to write."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = Event()

    # No callback: it would hold the answer that holds it.

    def set_result(self, result: Answer) -> None:
        super().set_result(result)
        self.woken.set()

    def set_exception(self, exception: BaseException | None) -> None:
        super().set_exception(exception)
        self.woken.set()


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
        self._lock = Lock()
        self._is_taken = False  # whether somebody has the turn
        self._waiting: deque[tuple[Given, Awaited[Answer]]] = deque()

    def __call__(self, given: Given) -> Answer:
        """Returns when it is written, by whomever; raises what its write raised."""
        answer = Awaited[Answer]()
        with self._lock:
            self._waiting.append((given, answer))
            has_turn, self._is_taken = not self._is_taken, True
        if not has_turn:
            # For the answer, or for the turn: who has an answer need not wait for anybody's next write.
            answer.woken.wait()
        if not answer.done():
            try:
                while not answer.done():
                    self._write_next()
            finally:
                self._pass_on()
        return answer.result()

    def _pass_on(self) -> None:
        """Gives the turn to the first who waits; where nobody does, to who comes next."""
        with self._lock:
            if self._waiting:
                self._waiting[0][1].woken.set()
            else:
                self._is_taken = False

    def _write_next(self) -> None:
        self._serve(self._group())

    def _group(self) -> list[tuple[Given, Awaited[Answer]]]:
        """Those who wait, as many as may be written at once. None but who has the turn takes away."""
        group = [self._waiting.popleft()]
        size = self._size(group[0][0])
        while self._waiting and (size := size + self._size(self._waiting[0][0])) <= self._most:
            group.append(self._waiting.popleft())
        return group

    def _serve(self, group: Sequence[tuple[Given, Awaited[Answer]]]) -> None:
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
