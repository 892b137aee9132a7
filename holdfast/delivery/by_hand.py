"""Doubt that a person ends: they know, or decide, what nobody could prove."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from holdfast.delivery.workspace import Workspace
from holdfast.errors import RunError
from holdfast.store import decisions, doubt, posts, runs
from holdfast.store.doubt import Chosen, InDoubt

Settlement = Literal["accepted", "resend"]
"""What they say: they were taken; or they may be sent again, whatever became of them."""


def choose(ws: Workspace, name: str, occurrence: str | None = None, channel: str | None = None) -> Chosen:
    """The campaign's doubt; of one occurrence, on one channel, where given. Raises RunError if unknown."""
    ws.campaign(name)
    if channel is not None and channel not in ws.project.channels:
        known = ", ".join(sorted(ws.project.channels))
        raise RunError(f"there is no channel {channel!r}", hint=f"there are: {known}")
    if occurrence is None:
        return Chosen(name, channel=channel)
    with ws.database.read() as connection:
        run = runs.find_run(connection, name, occurrence)
    if run is None:
        raise RunError(
            f"{name} has no occurrence {occurrence!r}", hint=f"look for it with: holdfast status {name}"
        )
    return Chosen(name, run.id, channel)


def count_doubt(ws: Workspace, chosen: Chosen, settlement: Settlement, now: datetime) -> tuple[InDoubt, int]:
    """What would be settled so; and how many messages and posts would not: their call may be under way."""
    doubt.reclaim(ws.database)
    posts.reclaim_posts(ws.database)
    with ws.database.read() as connection:
        settled = doubt.count_in_doubt(connection, _open_to(ws, chosen, settlement, now))
        return settled, sum(doubt.count_in_doubt(connection, chosen)) - sum(settled)


def settle_by_hand(
    ws: Workspace, chosen: Chosen, settlement: Settlement, *, who: str, why: str, now: datetime
) -> InDoubt:
    """Settles the doubt and records the decision; how many it was about. With none, nothing is recorded.

    `now` is the moment that they were asked.
    What is to be resent may reach a customer twice. Its run goes on unless it was stopped.
    """
    end = doubt.accept if settlement == "accepted" else doubt.resend
    with ws.database.write(exclusive=True) as connection:
        settled = end(connection, _open_to(ws, chosen, settlement, now), now)
        if any(settled):
            decisions.record(
                connection,
                campaign=chosen.campaign,
                run_id=chosen.run_id,
                what="settled",
                detail=settlement if chosen.channel is None else f"{settlement} on {chosen.channel}",
                messages=sum(settled),
                who=who,
                why=why,
                now=now,
            )
    doubt_ends_after = ws.doubt_ends_after(ws.campaign(chosen.campaign))
    runs.settle_states(ws.database, chosen.campaign, doubt_ends_after, ws.project.dispatch.lease, now)
    return settled


def _open_to(ws: Workspace, chosen: Chosen, settlement: Settlement, now: datetime) -> Chosen:
    """Without what was sent since they were asked, and what must not be resent yet: before its lease is over,
    the call may still take it."""
    before = timedelta() if settlement == "accepted" else ws.project.dispatch.lease
    return replace(chosen, sent_until=now - before)
