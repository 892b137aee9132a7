"""The inbox: answers as they came, kept before the sender gets its 2xx and read later by `collect`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, Text, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from holdfast.store.database import Database
from holdfast.tables import inbox


@dataclass(frozen=True, slots=True)
class Letter:
    """One body as it came. `channel` None: from our own links and pixels."""

    id: int
    channel: str | None
    body: bytes
    received_at: datetime


def put(database: Database, channel: str | None, body: bytes, now: datetime) -> bool:
    """Keeps a body, committed when this returns; False: these very bytes of the channel were there already.

    Bodies of our own links have no channel, and are each their own.
    """
    letter = {
        "channel": channel,
        "received_at": now,
        "body": body,
        "digest": hashlib.sha256(body).digest(),
    }
    try:
        # A plain INSERT: SQLAlchemy would compile an ON CONFLICT anew for each letter, half of all the work.
        with database.write() as connection:
            connection.execute(insert(inbox), letter)
    except IntegrityError:
        return False
    return True


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


def mark_handled(
    connection: Connection, database: Database, problems: Mapping[int, str | None], now: datetime
) -> None:
    """Marks letters by id as handled; with a problem, the letter could not be read, and stays for people."""
    given = database.rows(list(problems.items()), id=BigInteger(), problem=Text())
    connection.execute(
        update(inbox).where(inbox.c.id == given.c.id).values(handled_at=now, problem=given.c.problem)
    )
