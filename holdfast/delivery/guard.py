"""The guard of a run: stops it when its calls fail one after the other, or too much of it comes back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from holdfast.delivery.workspace import Workspace
from holdfast.errors import RunStopped
from holdfast.settings import StopIf
from holdfast.store import failures, runs
from holdfast.store.runs import Run


def check_rates(ws: Workspace, run: Run) -> None:
    """Stops the run, and raises RunStopped, where more of it came back than its guard allows.

    Each rate is judged once `after` messages are in its denominator. Cheap enough for every chunk.
    """
    stop_if = ws.guard(ws.campaign(run.campaign)).stop_if
    with ws.database.read() as connection:
        reason = _too_much_came_back(connection, run.id, stop_if)
    if reason:
        _stop(ws, run, reason, "look at the addresses and at what was sent")


def _too_much_came_back(connection: Connection, run_id: int, stop_if: StopIf) -> str | None:
    if stop_if.bounce_rate is None and stop_if.complaint_rate is None:
        return None
    came_back = failures.count_came_back(connection, run_id)
    rates = [
        (came_back.bounced, stop_if.bounce_rate, "sent", "refused or bounced"),
        (came_back.complained, stop_if.complaint_rate, "accepted", "reported as spam"),
    ]
    # So few as most runs have are not too many, however many were sent: that need not be summed up.
    suspect = [
        (n, limit, of, what)
        for n, limit, of, what in rates
        if limit is not None and n > limit * stop_if.after
    ]
    if not suspect:
        return None
    totals = failures.count_sent(connection, run_id)._asdict()
    for n, limit, of, what in suspect:
        total = totals[of]
        # Rounded: 29% of 100 is a little less than 29 in floats.
        if total >= stop_if.after and n > round(limit * total, 6):
            share = f"{n / total:.2%}, more than {100 * limit:g}%"
            return f"{n:,} of {total:,} messages {of} were {what}: {share}"
    return None


def check_calls(ws: Workspace, run: Run, channel: str) -> int:
    """How many of the run's latest calls on the channel failed in a row; stops it, and raises RunStopped,
    where they are too many.

    For after a call that got no message accepted or rejected, unless its provider asked for a pause: whoever
    does that is there. The calls of all workers count.
    """
    most = ws.guard(ws.campaign(run.campaign)).stop_if.errors
    with ws.database.read() as connection:
        failed = failures.failed_in_a_row(connection, run.id, channel, most)
    if failed.calls >= most:
        reason = (
            f"{failed.calls} calls in a row failed on channel {channel!r},"
            f" with {failed.in_doubt:,} messages in doubt and {failed.retried:,} not taken"
        )
        _stop(ws, run, reason, "look at the provider and the network")
    return failed.calls


def _stop(ws: Workspace, run: Run, reason: str, look_at: str) -> None:
    # One worker stops it and says so; the others find it stopped at their next batch.
    if runs.stop_by_guard(ws.database, run.id, reason):
        raise _stopped(run, reason, f"{look_at}; ")


def check_stopped(ws: Workspace, worked_on: Sequence[Run]) -> None:
    """Raises RunStopped where a guard, wherever it was asked, has stopped one of these runs."""
    with ws.database.read() as connection:
        now_as = [runs.get_run(connection, run.id) for run in worked_on]
    for run in now_as:
        if run.is_stopped_by_guard:
            raise _stopped(run, (run.reason or "").removeprefix(runs.BY_GUARD))


def _stopped(run: Run, reason: str, look_at: str = "") -> RunStopped:
    return RunStopped(
        f"run {run.occurrence!r} of {run.campaign!r} was stopped by its guard: {reason}",
        hint=f"{look_at}go on with: holdfast run {run.campaign} --resume",
    )
