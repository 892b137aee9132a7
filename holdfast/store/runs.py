"""Runs in the ledger: opening one an occurrence, enrolling its audience, planning steps, its states."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    exists,
    false,
    func,
    insert,
    select,
    update,
)

from holdfast.store.database import Database
from holdfast.store.doubt import IS_IN_DOUBT
from holdfast.store.ledger import IS_PLANNED, may_go
from holdfast.store.posts import is_under_way
from holdfast.tables import attempts, campaign_versions, enrollments, messages, posts, runs

UNSENT = ("planned", "leased", "sending")
# How the reason of a run begins that a guard stopped.
BY_GUARD = "guard: "


@dataclass(frozen=True, slots=True)
class Run:
    """One occurrence of a campaign. `as_of` bounds the facts that its audience's rule saw.

    `holdout` is the share that it holds out; None: a transactional campaign's, which draws no arms.
    `approved_hash` is that of the plan which a person approved; None: it needed no approval, or waits for it.
    `version` is the digest of the campaign's file and templates that it was opened, or approved, with.
    """

    id: int
    campaign: str
    occurrence: str
    state: str
    reason: str | None
    as_of: datetime
    audience_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    holdout: float | None
    approved_hash: str | None
    version: str

    @property
    def is_stopped_by_guard(self) -> bool:
        """A guard stopped it, and nobody has resumed it since; `reason` says why."""
        return self.state in ("stopping", "stopped") and (self.reason or "").startswith(BY_GUARD)

    def time_at(self, now: datetime) -> datetime:
        """The run's own time: `as_of` at its creation, going on from there. It is now unless back-dated."""
        return self.as_of + (now - self.created_at)


_RUN = (
    runs.c.id,
    runs.c.campaign,
    runs.c.occurrence,
    runs.c.state,
    runs.c.reason,
    runs.c.as_of,
    runs.c.audience_at,
    runs.c.created_at,
    runs.c.finished_at,
    runs.c.holdout,
    runs.c.approved_hash,
    select(campaign_versions.c.digest).where(campaign_versions.c.id == runs.c.version_id).scalar_subquery(),
)


def open_run(
    database: Database,
    campaign: str,
    occurrence: str,
    *,
    source: str,
    digests: Mapping[str, str],
    as_of: datetime,
    holdout: float | None,
    state: str,
    now: datetime,
) -> Run:
    """The run of this occurrence, made if it is the first time. Opening it again changes nothing.

    `state` is the one it begins in: `planned` where a person may have to approve it, else `running`.
    """
    with database.write(exclusive=True) as connection:
        run = find_run(connection, campaign, occurrence)
        if run is None:
            values = {
                "campaign": campaign,
                "occurrence": occurrence,
                "state": state,
                "version_id": version_id(connection, campaign, source, digests, now),
                "as_of": as_of,
                "holdout": holdout,
                "created_at": now,
            }
            run_id = connection.execute(insert(runs).values(values).returning(runs.c.id)).scalar_one()
            run = get_run(connection, run_id)
    return run


def version_of(source: str, digests: Mapping[str, str]) -> str:
    """What tells versions of a campaign apart: a digest of its file's text and of what it uses of others."""
    text = "\n".join([source, *(f"{name} {digest}" for name, digest in sorted(digests.items()))])
    return hashlib.sha256(text.encode()).hexdigest()


def version_id(
    connection: Connection, campaign: str, source: str, digests: Mapping[str, str], now: datetime
) -> int:
    """The id of this version of the campaign, which is kept where it is new."""
    digest = version_of(source, digests)
    same = select(campaign_versions.c.id).where(
        campaign_versions.c.campaign == campaign, campaign_versions.c.digest == digest
    )
    known = connection.scalar(same)
    if known is not None:
        return int(known)
    inserted = connection.execute(
        insert(campaign_versions)
        .values(campaign=campaign, digest=digest, source=source, digests=dict(digests), created_at=now)
        .returning(campaign_versions.c.id)
    )
    return int(inserted.scalar_one())


def find_run(connection: Connection, campaign: str, occurrence: str) -> Run | None:
    """The run of this occurrence, or None."""
    row = connection.execute(
        select(*_RUN).where(runs.c.campaign == campaign, runs.c.occurrence == occurrence)
    ).one_or_none()
    return Run(*row) if row else None


def get_run(connection: Connection, run_id: int) -> Run:
    """The run with this id."""
    return Run(*connection.execute(select(*_RUN).where(runs.c.id == run_id)).one())


def list_runs(connection: Connection, campaign: str | None = None, states: tuple[str, ...] = ()) -> list[Run]:
    """Runs, oldest first; of one campaign, in some states, where given."""
    statement = select(*_RUN).order_by(runs.c.as_of, runs.c.id)
    if campaign is not None:
        statement = statement.where(runs.c.campaign == campaign)
    if states:
        statement = statement.where(runs.c.state.in_(states))
    return [Run(*row) for row in connection.execute(statement)]


def unsettled_campaigns(connection: Connection) -> list[str]:
    """The campaigns with a run that is under way, or with a message in doubt; or with one to send that was
    planned again when its run was done, by somebody who was broken off then."""
    of_run, of_post = messages.c.run_id == runs.c.id, posts.c.run_id == runs.c.id
    doubtful = exists().where(of_run, IS_IN_DOUBT)
    left = exists().where(of_run, IS_PLANNED) | exists().where(of_post, posts.c.state == "planned")
    under_way = runs.c.state.in_(("running", "stopping")) | and_(runs.c.state == "done", left)
    statement = select(runs.c.campaign).where(under_way | doubtful).distinct().order_by(runs.c.campaign)
    return list(connection.scalars(statement))


def set_state(
    database: Database, campaign: str, states: Sequence[str], new: str, reason: str | None = None
) -> int:
    """Moves the campaign's runs that are in one of the states to another; how many moved."""
    with database.write() as connection:
        # One statement: a run that goes from one of the states to another meanwhile is moved all the same.
        moved = (
            update(runs)
            .where(runs.c.campaign == campaign, runs.c.state.in_(states))
            .values(state=new, reason=reason, finished_at=None)
        )
        return connection.execute(moved).rowcount


def stop_by_guard(database: Database, run_id: int, reason: str) -> bool:
    """Stops the one run at its next batch; False: somebody stopped it before, or it is done.

    What was attempted until now is judged with this, and counts no more when the run is resumed.
    """
    last = select(func.max(attempts.c.id)).scalar_subquery()
    # Under the project's lock: no attempt is on its way in.
    with database.write(exclusive=True) as connection:
        stopped = connection.execute(
            update(runs)
            .where(runs.c.id == run_id, runs.c.state == "running")
            .values(state="stopping", reason=f"{BY_GUARD}{reason}", judged_after=last)
        )
        return stopped.rowcount == 1


def message_under_way() -> ColumnElement[bool]:
    """The enrollment has a message that is planned, leased or being sent."""
    return exists().where(messages.c.enrollment_id == enrollments.c.id, messages.c.state.in_(UNSENT))


def count_due(connection: Connection, campaign: str, now: datetime) -> dict[str, int]:
    """Messages of the campaign's running runs that may go out now, by channel."""
    rows = connection.execute(
        select(messages.c.channel, func.count())
        .join(runs, runs.c.id == messages.c.run_id)
        .where(runs.c.campaign == campaign, runs.c.state == "running", may_go(now))
        .group_by(messages.c.channel)
        .order_by(messages.c.channel)
    )
    return dict(map(tuple, rows))


def next_due(
    connection: Connection, campaign: str, doubt_ends_after: timedelta | None, now: datetime
) -> datetime | None:
    """When the next message or step of the campaign's running runs is due; None: nothing waits.

    `doubt_ends_after`: how long after sending something can be done about a message in doubt; None: never.
    """
    running = select(runs.c.id).where(runs.c.campaign == campaign, runs.c.state == "running")
    moments = [
        connection.scalar(
            select(func.min(messages.c.due_at)).where(messages.c.run_id.in_(running), IS_PLANNED)
        ),
        connection.scalar(
            select(func.min(enrollments.c.due_at)).where(
                enrollments.c.run_id.in_(running), enrollments.c.due_at.is_not(None), ~message_under_way()
            )
        ),
        # Who holds these may be lost: then they are planned again, or in doubt, from this moment on.
        connection.scalar(
            select(func.min(messages.c.lease_expires_at)).where(
                messages.c.run_id.in_(running), messages.c.lease_owner.is_not(None)
            )
        ),
    ]
    if doubt_ends_after is not None:
        doubtful = connection.scalar(
            select(func.min(messages.c.sent_at)).where(
                messages.c.run_id.in_(running), IS_IN_DOUBT, messages.c.sent_at > now - doubt_ends_after
            )
        )
        moments.append(doubtful and doubtful + doubt_ends_after)
    return min((moment for moment in moments if moment is not None), default=None)


def settle_states(
    database: Database,
    campaign: str,
    doubt_ends_after: timedelta | None,
    lease: timedelta,
    now: datetime,
) -> list[str]:
    """Moves runs to their end: nothing left to do makes `done`, nothing in flight makes `stopped`.

    A run that was done is `running` again where the end of a doubt, or a late outcome, left one to send.
    A run is not done while something can still be done about a message in doubt, see `next_due`, or about a
    post, see `is_under_way` for `lease`. Returns the occurrences that are done now.
    """
    of_run = messages.c.run_id == runs.c.id
    waiting = exists().where(enrollments.c.run_id == runs.c.id, enrollments.c.due_at.is_not(None))
    planned = exists().where(of_run, IS_PLANNED)
    leased = exists().where(of_run, messages.c.lease_owner.is_not(None))
    doubtful: ColumnElement[bool] = false()
    if doubt_ends_after is not None:
        doubtful = exists().where(of_run, IS_IN_DOUBT, messages.c.sent_at > now - doubt_ends_after)
    of_post = posts.c.run_id == runs.c.id
    post_planned = exists().where(of_post, posts.c.state == "planned")
    publishing = exists().where(of_post, posts.c.state == "sending")
    with database.write() as connection:
        connection.execute(
            update(runs)
            .where(
                runs.c.campaign == campaign,
                runs.c.state == "done",
                planned | post_planned,
            )
            .values(state="running", finished_at=None)
        )
        connection.execute(
            update(runs)
            .where(
                runs.c.campaign == campaign,
                runs.c.state == "stopping",
                ~leased,
                ~publishing,
            )
            .values(state="stopped")
        )
        done = connection.execute(
            update(runs)
            .where(
                runs.c.campaign == campaign,
                runs.c.state == "running",
                runs.c.audience_at.is_not(None),
                ~waiting,
                ~planned,
                ~leased,
                ~doubtful,
                ~exists().where(of_post, is_under_way(lease, now)),
            )
            .values(state="done", finished_at=now)
            .returning(runs.c.occurrence)
        )
        return sorted(done.scalars())
