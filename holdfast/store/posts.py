"""Posts in the ledger: planned once a run, published at most once, settled. The states are a message's.

`text` and `sent_at` are of the call that published a post, or may have: a post that is planned again after a
doubt keeps them, one that was certainly not taken does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Text,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from holdfast.audience.reasons import Reason
from holdfast.store.database import Database, database_now
from holdfast.store.staging import insert_or
from holdfast.tables import UtcTime, posts, runs


@dataclass(frozen=True, slots=True)
class Planned:
    """One post that a run is to publish."""

    step: str
    channel: str
    kind: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Post:
    """One post as the ledger has it. `attempts` counts the calls so far, and so names the last one."""

    id: int
    run_id: int
    step: str
    channel: str
    kind: str
    attempts: int
    sent_at: datetime | None
    text: str | None


@dataclass(frozen=True, slots=True)
class SettledPost:
    """What became of a post: the state it moves to, with its reason or its next time.

    `text` and `sent_at` are kept where it is planned again, see above.
    """

    state: str
    reason: str | None = None
    provider_id: str | None = None
    due_at: datetime | None = None
    text: str | None = None
    sent_at: datetime | None = None


_POST = (
    posts.c.id,
    posts.c.run_id,
    posts.c.step,
    posts.c.channel,
    posts.c.kind,
    posts.c.attempts,
    posts.c.sent_at,
    posts.c.text,
)


def plan_posts(database: Database, run_id: int, planned: Sequence[Planned]) -> None:
    """Plans the run's posts, until its audience is frozen; those it has already stay as they are."""
    with database.write() as connection:
        for post in planned:
            row = select(
                runs.c.id.label("run_id"),
                literal(post.step, Text).label("step"),
                literal(post.channel, Text).label("channel"),
                literal(post.kind, Text).label("kind"),
                literal("planned", Text).label("state"),
                literal(post.due_at, UtcTime).label("due_at"),
            ).where(runs.c.id == run_id, runs.c.audience_at.is_(None))
            connection.execute(
                insert_or(connection, posts, row).on_conflict_do_nothing(
                    index_elements=["run_id", "step", "channel"]
                )
            )


def due_posts(connection: Connection, campaign: str, now: datetime) -> list[Post]:
    """The posts of the campaign's running runs that may be published now, the first due first."""
    return [
        Post(*row)
        for row in connection.execute(
            select(*_POST)
            .join(runs, runs.c.id == posts.c.run_id)
            .where(_of_running(campaign), posts.c.state == "planned", posts.c.due_at <= now)
            .order_by(posts.c.due_at, posts.c.id)
        )
    ]


def begin_publishing(
    database: Database, post: Post, text: str, owner: str, length: timedelta, now: datetime
) -> bool:
    """Sets `sending` with the text that goes out, while the run is running; False: it is another's, or waits.

    Committed when this returns.
    """
    is_running = exists().where(runs.c.id == posts.c.run_id, runs.c.state == "running")
    with database.write(exclusive=True) as connection:
        begun = connection.execute(
            update(posts)
            .where(posts.c.id == post.id, posts.c.state == "planned", posts.c.due_at <= now, is_running)
            .where(posts.c.attempts == post.attempts)
            .values(
                state="sending",
                reason=None,
                lease_owner=owner,
                lease_expires_at=database_now()
                + literal(int(length.total_seconds() * 1_000_000), BigInteger),
                attempts=posts.c.attempts + 1,
                sent_at=now,
                text=text,
            )
            .returning(posts.c.id)
        )
        return begun.first() is not None


def settle_post(database: Database, post_id: int, attempt: int, settled: SettledPost, now: datetime) -> bool:
    """Writes what became of the post by its call number `attempt`; whether that was still news.

    An outcome that comes late is the truth all the same: about a post in doubt; and `accepted` even where it
    was planned again meanwhile, so that it is not published again.
    """
    own_call = and_(posts.c.attempts == attempt, posts.c.state.in_(("sending", "in_doubt")))
    if settled.state == "accepted":
        own_call = or_(own_call, posts.c.state.in_(("planned", "sending", "in_doubt")))
    values = {
        "state": settled.state,
        "reason": settled.reason,
        "provider_id": settled.provider_id,
        "settled_at": now,
        "lease_owner": None,
        "lease_expires_at": None,
    }
    if settled.state == "planned":
        values |= {"due_at": settled.due_at or now, "text": settled.text, "sent_at": settled.sent_at}
    with database.write() as connection:
        return bool(
            connection.execute(update(posts).where(posts.c.id == post_id, own_call).values(values)).rowcount
        )


def reject_planned(database: Database, post_id: int, reason: Reason, now: datetime) -> None:
    """Gives up a post that never went out: its step is gone, or it cannot be rendered."""
    with database.write() as connection:
        connection.execute(
            update(posts)
            .where(posts.c.id == post_id, posts.c.state == "planned")
            .values(state="rejected", reason=reason.value, settled_at=now)
        )


# --- doubt, and what a run waits for ----------------------------------------------------------------


def reclaim_posts(database: Database) -> int:
    """Calls whose lease ran out may have published: those posts are in doubt; how many."""
    with database.write() as connection:
        return connection.execute(
            update(posts)
            .where(posts.c.state == "sending", posts.c.lease_expires_at < database_now())
            .values(
                state="in_doubt", reason=Reason.SENDER_LOST.value, lease_owner=None, lease_expires_at=None
            )
        ).rowcount


def posts_in_doubt(connection: Connection, campaign: str) -> list[Post]:
    """The campaign's posts in doubt, in any run."""
    return [
        Post(*row)
        for row in connection.execute(
            select(*_POST)
            .join(runs, runs.c.id == posts.c.run_id)
            .where(runs.c.campaign == campaign, posts.c.state == "in_doubt")
            .order_by(posts.c.id)
        )
    ]


def next_due_post(connection: Connection, campaign: str, lease: timedelta, now: datetime) -> datetime | None:
    """When the next post of the campaign's running runs is due, or its lease or doubt can end; None: never.

    A post in doubt can be looked for when the `lease` of its call is over.
    """
    moment = case(
        (posts.c.state == "planned", posts.c.due_at),
        (posts.c.state == "sending", posts.c.lease_expires_at),
        else_=posts.c.sent_at + literal(int(lease.total_seconds() * 1_000_000), BigInteger),
    )
    found: datetime | None = connection.scalar(
        select(func.min(moment, type_=UtcTime()))
        .join(runs, runs.c.id == posts.c.run_id)
        .where(_of_running(campaign), is_under_way(lease, now))
    )
    return found


def is_under_way(lease: timedelta, now: datetime) -> ColumnElement[bool]:
    """The post is still to be published, or being so, or in a doubt that can still be ended."""
    return or_(
        posts.c.state.in_(("planned", "sending")),
        and_(posts.c.state == "in_doubt", posts.c.sent_at > now - lease),
    )


def count_posts(connection: Connection, run_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Posts of each of the runs, by state."""
    found: dict[int, dict[str, int]] = {}
    for run_id, state, n in connection.execute(
        select(posts.c.run_id, posts.c.state, func.count())
        .where(posts.c.run_id.in_(run_ids))
        .group_by(posts.c.run_id, posts.c.state)
    ):
        found.setdefault(run_id, {})[state] = n
    return found


def _of_running(campaign: str) -> ColumnElement[bool]:
    return and_(runs.c.campaign == campaign, runs.c.state == "running")
