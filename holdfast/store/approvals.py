"""Approval in the ledger: the hash of a plan, the runs that wait for it, and what an edit takes back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, select, update

from holdfast.store import decisions, enrolling, ledger
from holdfast.store.database import Database
from holdfast.store.runs import Run, version_id
from holdfast.tables import attempts, campaign_versions, conversions, enrollments, messages, posts, runs

# How the reason of a run begins that waits for nobody any more: its plan was declined.
DECLINED = "not approved"


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a campaign as they are: their version, the campaign's text, by file the digest of what it
    uses of others, and the share that it holds out (None: it draws no arms)."""

    version: str
    source: str
    digests: dict[str, str]
    holdout: float | None


class PlanHash:
    """What a plan is approved by: twelve hexadecimal digits over the files, the holdout and the audience."""

    def __init__(self, version: str, holdout: float | None) -> None:
        self._digest = hashlib.sha256(f"{version} {holdout}".encode())

    def add(self, enrolled: Iterable[tuple[int, str]]) -> None:
        """Takes in the next customers with their arms; all of them in the order of their ids."""
        self._digest.update("".join(f"\n{customer_id} {arm}" for customer_id, arm in enrolled).encode())

    def __str__(self) -> str:
        return self._digest.hexdigest()[:12]


def hash_of_run(database: Database, run: Run) -> str:
    """The hash of the run's plan, over its audience as it is enrolled."""
    found, last = PlanHash(run.version, run.holdout), 0
    of_run = select(enrollments.c.customer_id, enrollments.c.arm).where(
        enrollments.c.run_id == run.id, enrollments.c.arm.is_not(None)
    )
    while True:
        following = of_run.where(enrollments.c.customer_id > last).order_by(enrollments.c.customer_id)
        with database.read() as connection:
            enrolled = connection.execute(following.limit(enrolling.SLICE)).all()
        if not enrolled:
            return str(found)
        found.add(map(tuple, enrolled))
        last = enrolled[-1].customer_id


def count_treated(connection: Connection, run_id: int) -> int:
    """The customers that the run is to write to."""
    treated = select(func.count()).where(enrollments.c.run_id == run_id, enrollments.c.arm == "treated")
    return connection.scalar(treated) or 0


def files_of_run(connection: Connection, run_id: int) -> tuple[str, dict[str, str]]:
    """The text of the campaign's file, and the digests of the others, as they are of the run."""
    v = campaign_versions.c
    source, digests = connection.execute(
        select(v.source, v.digests).join(runs, runs.c.version_id == v.id).where(runs.c.id == run_id)
    ).one()
    return source, digests


def move(database: Database, run: Run, state: str) -> bool:
    """Moves the run on from the state and version that it was read in; False: it was moved meanwhile."""
    with database.write() as connection:
        moved = update(runs).where(_is_still(run)).values(state=state, reason=None)
        return bool(connection.execute(moved).rowcount)


def approve(database: Database, run: Run, plan_hash: str, *, who: str, why: str, now: datetime) -> bool:
    """Lets the run that waits go, and keeps who said so; False: it was moved meanwhile."""
    with database.write() as connection:
        approved = update(runs).where(_is_still(run)).values(state="running", approved_hash=plan_hash)
        if not connection.execute(approved).rowcount:
            return False
        decisions.record(
            connection,
            campaign=run.campaign,
            run_id=run.id,
            what="approved",
            detail=plan_hash,
            messages=None,
            who=who,
            why=why,
            now=now,
        )
        return True


def decline(database: Database, run: Run, why: str) -> bool:
    """Stops the run that waits; False: it was moved meanwhile."""
    reason = f"{DECLINED}: {why}" if why else DECLINED
    with database.write() as connection:
        declined = update(runs).where(_is_still(run)).values(state="stopped", reason=reason)
        return bool(connection.execute(declined).rowcount)


def _is_still(run: Run) -> ColumnElement[bool]:
    version = select(campaign_versions.c.id).where(
        campaign_versions.c.campaign == run.campaign, campaign_versions.c.digest == run.version
    )
    return and_(
        runs.c.id == run.id, runs.c.state == run.state, runs.c.version_id == version.scalar_subquery()
    )


def void(database: Database, run: Run, files: Files, now: datetime) -> None:
    """Takes back the approval of a run whose files were edited: it is `planned`, by the files of now.

    One that has begun to send keeps its audience; what a worker has rendered by the files of before is no
    longer its. Of any other the audience is taken back too, to be enrolled anew; where that was broken off,
    this goes on.
    """
    with database.write(exclusive=True) as connection:
        row = _state(connection, run.id)
        if row.version != run.version or row.state not in ("planned", "awaiting_approval", "running"):
            return
        begun = _has_begun(connection, run.id)
        values: dict[str, Any] = {"state": "planned", "approved_hash": None, "reason": None}
        if begun:
            values["version_id"] = _version_id(connection, run, files, now)
            ledger.release_run(connection, run.id)
        connection.execute(update(runs).where(runs.c.id == run.id).values(values))
    while not begun and _take_back_slice(database, run, files, now):
        pass


def _has_begun(connection: Connection, run_id: int) -> bool:
    """Whether anything of the run was ever on its way out."""
    tried = exists().where(attempts.c.run_id == run_id)
    published = exists().where(posts.c.run_id == run_id, posts.c.attempts > 0)
    return bool(connection.scalar(select(tried | published)))


def _take_back_slice(database: Database, run: Run, files: Files, now: datetime) -> bool:
    """Takes the last slice back; whether there are more. With the first one the version changes, so that
    what is enrolled is of the run's version at any moment."""
    with database.write(exclusive=True) as connection:
        row = _state(connection, run.id)
        if row.version != run.version or row.state != "planned":
            return False
        low = max(0, row.enrolled_through - enrolling.SLICE)
        of_slice = and_(enrollments.c.run_id == run.id, enrollments.c.customer_id > low)
        enrolled = select(enrollments.c.id).where(of_slice)
        connection.execute(delete(messages).where(messages.c.enrollment_id.in_(enrolled)))
        connection.execute(delete(conversions).where(conversions.c.enrollment_id.in_(enrolled)))
        connection.execute(delete(enrollments).where(of_slice))
        values: dict[str, Any] = {"enrolled_through": low, "audience_at": None}
        if low == 0:
            connection.execute(delete(posts).where(posts.c.run_id == run.id))
            values |= {"version_id": _version_id(connection, run, files, now), "holdout": files.holdout}
        connection.execute(update(runs).where(runs.c.id == run.id).values(values))
        return bool(low)


def _version_id(connection: Connection, run: Run, files: Files, now: datetime) -> int:
    return version_id(connection, run.campaign, files.source, files.digests, now)


def _state(connection: Connection, run_id: int) -> Row[Any]:
    return connection.execute(
        select(runs.c.state, runs.c.enrolled_through, campaign_versions.c.digest.label("version"))
        .join(campaign_versions, campaign_versions.c.id == runs.c.version_id)
        .where(runs.c.id == run_id)
        # Whoever stops the run meanwhile waits, and is not overruled.
        .with_for_update(of=runs)
    ).one()
