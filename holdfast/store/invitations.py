"""Who came by an invitation: their address becomes the customer's, and their coming is a consent.

They come one at a time, so they are taken one by one.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from holdfast.store.consents import latest_words, recipient
from holdfast.tables import addresses, consents


class Newcomer(NamedTuple):
    """Whoever came by an invitation: by which channel and kind, from which address, and when."""

    channel: str
    kind: str
    address: str
    came_at: datetime


def accept(connection: Connection, message_id: int, who: Newcomer) -> bool:
    """Binds the newcomer's address to the customer of the message, and notes their yes; whether it did.

    An invitation is good for one address: whoever brings it from another one later is refused. So is who
    would take the place of an address that the customer is still written to at. Needs the project's lock.
    """
    invited = recipient(connection, message_id)
    if invited is None or invited.erased:
        return False
    evidence = f"{who.channel}: invitation, message {message_id}"
    is_theirs = addresses.c.customer_id == invited.customer_id, addresses.c.kind == who.kind
    known_as = connection.scalar(select(addresses.c.address_key).where(*is_theirs))
    used = connection.scalars(
        select(consents.c.recorded_at).where(
            consents.c.customer_id == invited.customer_id, consents.c.evidence == evidence
        )
    ).all()
    word = latest_words(connection, invited.customer_id).get(who.kind)
    is_permitted = word is not None and word.granted
    if known_as != who.address and (used or (known_as is not None and is_permitted)):
        return False
    if known_as != who.address:
        connection.execute(delete(addresses).where(*is_theirs))
        theirs = {"customer_id": invited.customer_id, "kind": who.kind}
        connection.execute(insert(addresses).values(**theirs, address=who.address, address_key=who.address))
    if who.came_at not in used:
        connection.execute(
            insert(consents).values(
                customer_id=invited.customer_id,
                kind=who.kind,
                purpose="marketing",
                granted=True,
                evidence=evidence,
                recorded_at=who.came_at,
            )
        )
    return True
