"""What networks count of our posts: impressions, likes and the like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, fields
from datetime import datetime

from sqlalchemy import BigInteger, Connection, Text, select, update

from holdfast.channel import PostNumbers
from holdfast.store.database import Database
from holdfast.tables import posts


def published(connection: Connection, channel: str, since: datetime) -> list[str]:
    """The channel's names for the posts that it published since then."""
    return list(
        connection.scalars(
            select(posts.c.provider_id)
            .where(
                posts.c.channel == channel,
                posts.c.state == "accepted",
                posts.c.provider_id.is_not(None),
                posts.c.sent_at >= since,
            )
            .order_by(posts.c.id)
        )
    )


def write(database: Database, channel: str, numbers: Mapping[str, PostNumbers], now: datetime) -> int:
    """Writes the latest numbers of the channel's posts, by the channel's names for them; of how many."""
    names = [field.name for field in fields(PostNumbers)]
    given = database.rows(
        [(provider_id, *astuple(counted)) for provider_id, counted in numbers.items()],
        provider_id=Text(),
        **{name: BigInteger() for name in names},
    )
    # Under the project's lock: two updates of many rows must not meet in another order.
    with database.write(exclusive=True) as connection:
        return connection.execute(
            update(posts)
            .where(posts.c.channel == channel, posts.c.provider_id == given.c.provider_id)
            .values(measured_at=now, **{name: given.c[name] for name in names})
        ).rowcount
