"""Double opt-in: whoever has the link of a letter that went to an address may confirm what it asks."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from holdfast.delivery import Workspace
from holdfast.store import confirmations
from holdfast.store.confirmations import Letter

Asked = Literal["waits", "confirmed", "over", "unknown"]
"""What is left of what a letter asks: `over`, the customer said no since, or has another address."""


def asked(ws: Workspace, message_id: int, mark: str) -> Asked:
    """What is left of it. `mark` is that of the address the letter went to."""
    with ws.database.read() as connection:
        return _state(ws, connection, confirmations.letter(connection, message_id), mark)


def confirm(ws: Workspace, message_id: int, mark: str, now: datetime) -> Asked:
    """Writes the yes down if it waits, and says what is left. Twice is once."""
    with ws.database.write(exclusive=True) as connection:
        letter = confirmations.letter(connection, message_id)
        state = _state(ws, connection, letter, mark)
        if letter is not None and state == "waits":
            confirmations.confirm(connection, letter, now)
            return "confirmed"
        return state


def _state(ws: Workspace, connection: Connection, letter: Letter | None, mark: str) -> Asked:
    if letter is None:
        return "unknown"
    if letter.address_key is None or not ws.signer.is_mark(mark, letter.address_key):
        return "over"
    if confirmations.is_granted(connection, letter):
        return "confirmed"
    return "waits" if confirmations.still_waits(connection, letter) else "over"
