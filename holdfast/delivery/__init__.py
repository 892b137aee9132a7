"""The use cases of a campaign: plan it, dispatch its messages, settle what became of them."""

from datetime import datetime

from holdfast.delivery.dispatch import ChunkResult, dispatch_chunk
from holdfast.delivery.planning import Plan, advance, enroll, open_run, plan
from holdfast.delivery.settling import SettleResult, settle
from holdfast.delivery.workspace import Channels, Source, Workspace
from holdfast.store import runs
from holdfast.store.runs import Run

__all__ = [
    "Channels",
    "ChunkResult",
    "Plan",
    "Run",
    "SettleResult",
    "Source",
    "Workspace",
    "advance",
    "dispatch_chunk",
    "due",
    "enroll",
    "next_due",
    "open_run",
    "plan",
    "resume_runs",
    "settle",
    "stop_runs",
]


def due(ws: Workspace, name: str, now: datetime) -> dict[str, int]:
    """How many messages of the campaign may go out now, by channel."""
    with ws.database.read() as connection:
        return runs.count_due(connection, name, now)


def next_due(ws: Workspace, name: str, now: datetime) -> datetime | None:
    """When the next thing of the campaign is due, a message, a step or a doubt; None: nothing waits."""
    doubt_ends_after = ws.doubt_ends_after(ws.campaign(name))
    with ws.database.read() as connection:
        return runs.next_due(connection, name, doubt_ends_after, now)


def stop_runs(ws: Workspace, name: str, reason: str, now: datetime) -> int:
    """Stops the campaign's runs at their next batch; nobody sends their messages until they are resumed."""
    return runs.set_state(ws.database, name, {"running": "stopping"}, now, reason)


def resume_runs(ws: Workspace, name: str, now: datetime) -> int:
    """Lets the campaign's stopped runs go on; how many."""
    return runs.set_state(ws.database, name, {"stopping": "running", "stopped": "running"}, now)
