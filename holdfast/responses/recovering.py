"""Making it up to customers: the campaign that is started when cases are opened."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from holdfast.delivery import Workspace
from holdfast.store import cases
from holdfast.store.cursors import read_cursor, write_cursor

_PLACE = "recovery"

Started = Literal["started", "not deployed", "nothing to do"]


def recover(ws: Workspace, start: Callable[[str, str], bool], now: datetime) -> Started:
    """Starts the project's recovery campaign once for the cases that were opened since the last time.

    `start` gets its name and a key that is the same however often it is asked for the same cases; False: it
    is not deployed. Then, and where it fails, the cases stay to be recovered from.
    """
    campaign = ws.project.cases.recovery
    if campaign is None:
        return "nothing to do"
    with ws.database.read() as connection:
        before = int(read_cursor(connection, _PLACE) or 0)
        latest, written_at = cases.latest_entry(connection) or (0, now)
        customers = cases.count_opened(connection, before, latest)
    # With the time: a new database counts its entries from 1 again, and Prefect forgets no key.
    if customers and not start(campaign, f"entry {latest} of {written_at.isoformat()}"):
        return "not deployed"
    if latest != before:
        with ws.database.write(exclusive=True) as connection:
            write_cursor(connection, _PLACE, str(latest), now)
    return "started" if customers else "nothing to do"
