"""Where the time of a process goes: its database's writes, and the parts of the send path."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import Connection, event

from holdfast.content.message import Composer
from holdfast.delivery import guard
from holdfast.delivery.pace import Pace
from holdfast.store.database import Database

Span = tuple[float, float]


class WatchedDatabase(Database):
    """Keeps when each of its writes began and ended: from the wait for its turn to its commit."""

    def __init__(self, location: str | Path) -> None:
        super().__init__(location)
        self.writes: list[Span] = []

    @contextmanager
    def write(self, *, exclusive: bool = False) -> Iterator[Connection]:
        begun = perf_counter()
        with super().write(exclusive=exclusive) as connection:
            yield connection
        self.writes.append((begun, perf_counter()))


def seconds_within(spans: Sequence[Span]) -> float:
    """How long at least one of them lasted: threads' spans overlap."""
    total, until = 0.0, 0.0
    for begun, ended in sorted(spans):
        total += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return total


class Parts:
    """Seconds by part of the work; a part within another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._local = threading.local()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        outer, self._local.inner = getattr(self._local, "inner", 0.0), 0.0
        begun = perf_counter()
        try:
            yield
        finally:
            took = perf_counter() - begun
            self.seconds[name] += took - self._local.inner
            self._local.inner = outer + took

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Counts what this method of the class, module or object takes; for good."""
        watched = getattr(owner, method)

        @wraps(watched)
        def counting(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return watched(*args, **kwargs)

        setattr(owner, method, counting)

    def watch_send_path(self, database: Database) -> None:
        """Watches whatever the send path of this process does, but for its channel; for good."""
        self.watch(Composer, "compose", "rendering")
        for owner, method in ((guard, "check_rates"), (Pace, "take"), (Pace, "check")):
            self.watch(owner, method, "policy")
        self._watch_transactions(database, "read", "loading")
        self._watch_transactions(database, "write", "ledger")
        event.listen(database.engine, "before_cursor_execute", self._begin)
        event.listen(database.engine, "after_cursor_execute", self._end)

    def _watch_transactions(self, database: Database, method: str, name: str) -> None:
        open_one = getattr(database, method)

        @contextmanager
        def counting(**how: bool) -> Iterator[Connection]:
            with self.part(name), open_one(**how) as connection:
                yield connection

        setattr(database, method, counting)

    def _begin(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if _judges(statement):
            connection.info["part"] = self.part("policy")
            connection.info["part"].__enter__()

    def _end(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if _judges(statement):
            connection.info.pop("part").__exit__(None, None, None)


def _judges(statement: str) -> bool:
    """Whether it is the one that looks at consent, suppression, cap and window, and sets `sending`."""
    return statement.startswith("WITH judged")
