"""The inbox: answers as they came, kept before the sender gets its 2xx and read later by `collect`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from holdfast.store.database import Database
from holdfast.store.group_commit import Awaited, GroupCommit
from holdfast.store.staging import rows_written
from holdfast.tables import HAS_BODY, inbox

# Written in a few hundredths of a second. (One letter may have more.)
_BYTES_AT_ONCE = 4_000_000

_Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Letter:
    """One body as it came. `channel` None: from our own links and pixels."""

    id: int
    channel: str | None
    body: bytes
    received_at: datetime


class Inbox(GroupCommit[_Row, bool]):
    """Where a process with several threads keeps what comes: those who come during a write, or while it waits
    for the database, share it, and its commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        super().__init__(self._each_new, _BYTES_AT_ONCE, size=lambda letter: len(letter["body"]))

    def put(self, channel: str | None, body: bytes, now: datetime) -> bool:
        """Keeps a body, committed when this returns; False: these very bytes of the channel were there
        already. Raises what the database raises.

        Bodies of our own links have no channel, and are each their own.
        """
        return self(
            {
                "channel": channel,
                "received_at": now,
                "body": body,
                "digest": hashlib.sha256(body).digest(),
            }
        )

    def _write_next(self) -> None:
        group: Sequence[tuple[_Row, Awaited[bool]]] = []
        try:
            with self._database.write() as connection:
                # Not before: the database may have been another's for as long as a hundred letters take.
                group = self._group()
                self._insert(connection, [letter for letter, _ in group])
        except IntegrityError:
            self._serve(group)
        except BaseException as error:
            # Of all who wait: they are not tried one by one while a database does not answer.
            for _, answer in group or self._group():
                answer.set_exception(error)
        else:
            for _, answer in group:
                answer.set_result(True)

    def _each_new(self, letters: Sequence[_Row]) -> Sequence[bool]:
        """Whether each was not there yet: some of them were."""
        return [self._is_new(letter) for letter in letters]

    def _is_new(self, letter: _Row) -> bool:
        try:
            with self._database.write() as connection:
                self._insert(connection, [letter])
        except IntegrityError:
            return False
        return True

    @staticmethod
    def _insert(connection: Connection, letters: Sequence[_Row]) -> None:
        # A plain INSERT: SQLAlchemy would compile an ON CONFLICT anew for each letter, half of all the work.
        connection.execute(insert(inbox), letters)


def waiting(connection: Connection, after_id: int, limit: int) -> list[Letter]:
    """The next letters that nobody has handled yet, by id."""
    rows = connection.execute(
        select(inbox.c.id, inbox.c.channel, inbox.c.body, inbox.c.received_at)
        .where(inbox.c.handled_at.is_(None), inbox.c.id > after_id)
        .order_by(inbox.c.id)
        .limit(limit)
    )
    return [Letter(*row) for row in rows]


def count_waiting(connection: Connection) -> int:
    """How many letters nobody has handled yet."""
    return connection.scalar(select(func.count()).where(inbox.c.handled_at.is_(None))) or 0


def empty_bodies(connection: Connection, handled_until: datetime, limit: int) -> int:
    """Empties bodies that were handled up to a moment, at most so many; how many it were. Digests stay, and
    so what a provider repeats is recognised."""
    old = (
        select(inbox.c.id)
        .where(inbox.c.handled_at <= handled_until, HAS_BODY)
        .order_by(inbox.c.handled_at)
        .limit(limit)
    )
    return rows_written(connection, update(inbox).where(inbox.c.id.in_(old)).values(body=b""))


def mark_handled(
    connection: Connection, database: Database, problems: Mapping[int, str | None], now: datetime
) -> None:
    """Marks letters by id as handled; with a problem, the letter could not be read, and stays for people."""
    given = database.rows(list(problems.items()), id=BigInteger(), problem=Text())
    connection.execute(
        update(inbox).where(inbox.c.id == given.c.id).values(handled_at=now, problem=given.c.problem)
    )
