"""Letters that ask customers to confirm a consent: what one asked, and the yes that it brings."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, exists, func, insert, select

from holdfast.store.consents import latest_words
from holdfast.store.contact import CONFIRMATION
from holdfast.tables import UtcTime, addresses, campaign_versions, consents, messages, runs


class Letter(NamedTuple):
    """A letter that went out, with the address that its customer has by now, and the version of its text."""

    message_id: int
    customer_id: int
    kind: str
    address_key: str | None
    sent_at: datetime
    version: str


def letter(connection: Connection, message_id: int) -> Letter | None:
    """The letter; None: the message asks for no confirmation, or is not there."""
    theirs = and_(addresses.c.customer_id == messages.c.customer_id, addresses.c.kind == messages.c.kind)
    row = connection.execute(
        select(
            messages.c.id,
            messages.c.customer_id,
            messages.c.kind,
            addresses.c.address_key,
            # One that is to be sent again has no time of its own, but was due before it went out.
            func.coalesce(messages.c.sent_at, messages.c.due_at, type_=UtcTime),
            campaign_versions.c.digest,
        )
        .select_from(
            messages.join(runs, runs.c.id == messages.c.run_id)
            .join(campaign_versions, campaign_versions.c.id == runs.c.version_id)
            .outerjoin(addresses, theirs)
        )
        .where(messages.c.id == message_id, messages.c.purpose == CONFIRMATION)
    ).one_or_none()
    return Letter(*row) if row else None


def is_granted(connection: Connection, asked: Letter) -> bool:
    """What the letter asked for is permitted by now."""
    word = latest_words(connection, asked.customer_id).get(asked.kind)
    return word is not None and word.granted


def still_waits(connection: Connection, asked: Letter) -> bool:
    """A yes waits, and no no was said since the letter: whoever unsubscribes has the last word."""
    word = latest_words(connection, asked.customer_id).get(asked.kind)
    c = consents.c
    refused = exists().where(
        c.customer_id == asked.customer_id,
        c.kind == asked.kind,
        c.purpose == "marketing",
        ~c.granted,
        ~c.pending,
        c.recorded_at >= asked.sent_at,
    )
    return word is not None and word.pending and not connection.scalar(select(refused))


def confirm(connection: Connection, asked: Letter, now: datetime) -> None:
    """Writes the yes down, with what it rests on: the link of which message, of which text, and who asked."""
    word = latest_words(connection, asked.customer_id)[asked.kind]
    evidence = f"confirmed: message {asked.message_id}, text {asked.version[:12]}, asked by {word.evidence}"
    connection.execute(
        insert(consents).values(
            customer_id=asked.customer_id,
            kind=asked.kind,
            purpose="marketing",
            granted=True,
            evidence=evidence,
            recorded_at=now,
        )
    )
