"""The use cases of a campaign: plan it, dispatch messages, publish posts, settle what became of them."""

from datetime import datetime

from holdfast.delivery.approval import approve, decline, prepare
from holdfast.delivery.dispatch import ChunkResult, dispatch_chunk
from holdfast.delivery.planning import (
    Plan,
    advance,
    awaiting,
    enroll,
    open_run,
    plan,
    plan_of,
    plan_of_occurrence,
)
from holdfast.delivery.publishing import PublishResult, publish_due
from holdfast.delivery.settling import SettleResult, settle
from holdfast.delivery.workspace import Channels, Source, Workspace
from holdfast.store import posts, runs
from holdfast.store.runs import Run

__all__ = [
    "Channels",
    "ChunkResult",
    "Plan",
    "PublishResult",
    "Run",
    "SettleResult",
    "Source",
    "Workspace",
    "advance",
    "approve",
    "awaiting",
    "decline",
    "dispatch_chunk",
    "due",
    "enroll",
    "next_due",
    "open_run",
    "plan",
    "plan_of",
    "plan_of_occurrence",
    "posts_due",
    "prepare",
    "publish_due",
    "resume_runs",
    "settle",
    "stop_runs",
]


def due(ws: Workspace, name: str, now: datetime) -> dict[str, int]:
    """How many messages of the campaign may go out now, by channel."""
    with ws.database.read() as connection:
        return runs.count_due(connection, name, now)


def posts_due(ws: Workspace, name: str, now: datetime) -> int:
    """How many posts of the campaign may be published now."""
    with ws.database.read() as connection:
        return len(posts.due_posts(connection, name, now))


def next_due(ws: Workspace, name: str, now: datetime) -> datetime | None:
    """When the next thing of the campaign is due, a message, step, post or doubt; None: nothing waits."""
    doubt_ends_after = ws.doubt_ends_after(ws.campaign(name))
    with ws.database.read() as connection:
        moments = [
            runs.next_due(connection, name, doubt_ends_after, now),
            posts.next_due_post(connection, name, ws.project.dispatch.lease, now),
        ]
    return min((moment for moment in moments if moment is not None), default=None)


def stop_runs(ws: Workspace, name: str, reason: str, now: datetime) -> int:
    """Stops the campaign's runs at their next batch; nobody sends their messages until they are resumed."""
    return runs.set_state(ws.database, name, ("planned", "running"), "stopping", reason)


def resume_runs(ws: Workspace, name: str, now: datetime) -> int:
    """Lets the campaign's stopped runs go on, once they are approved where they have to be; how many."""
    needs_review = ws.guard(ws.campaign(name)).approve_above is not None
    goes_on = "planned" if needs_review else "running"
    return runs.set_state(ws.database, name, ("stopping", "stopped"), goes_on)
