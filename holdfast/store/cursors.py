"""How far something has been read: a channel that is polled, a source that is synced."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, literal, select

from holdfast.store.staging import upsert
from holdfast.tables import UtcTime, cursors


def read_cursor(connection: Connection, name: str) -> str:
    """Where reading goes on; '' the first time."""
    return connection.scalar(select(cursors.c.value).where(cursors.c.name == name)) or ""


def write_cursor(connection: Connection, name: str, value: str, now: datetime) -> None:
    """Keeps where reading goes on; in the transaction that keeps what was read."""
    row = select(
        literal(name).label("name"), literal(value).label("value"), literal(now, UtcTime).label("updated_at")
    )
    upsert(connection, cursors, row, key=["name"], update=["value"], together=["updated_at"])
