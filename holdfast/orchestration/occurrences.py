"""The occurrence a flow run stands for, as Prefect names it, and whether it was found in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from holdfast.campaign.models import Schedule

# Without `send_within`: how late a scheduled occurrence may be found and is still not missed.
_IN_TIME = timedelta(hours=1)


def scheduled_time() -> datetime:
    """The moment this flow run was scheduled for; a run made by hand, when it was made. Retries keep it."""
    moment: datetime = flow_run.scheduled_start_time
    return moment.astimezone(UTC)


def occurrence(key: str | None) -> str:
    """The operator's key, else the scheduled moment in UTC, like 2026-10-05T07:00:00Z."""
    return key or scheduled_time().isoformat(timespec="seconds").replace("+00:00", "Z")


def is_missed(schedule: Schedule | None, now: datetime) -> bool:
    """Whether a run that the schedule made was found too late to enroll anyone.

    A run that began before (a retry) was in time. Runs made by hand and follow-ups are never missed.
    """
    if schedule is None or schedule.on_missed == "run" or flow_run.run_count > 1 or not _by_schedule():
        return False
    in_time = _IN_TIME if schedule.send_within is None else schedule.send_within
    return now - scheduled_time() > in_time


def is_cancelling() -> bool:
    """Whether somebody asked Prefect to cancel this flow run."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run.id).state
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def was_suspended() -> bool:
    """Whether this flow run was suspended before: it has started from its top again."""
    with get_client(sync_client=True) as client:
        return bool(client.read_flow_run(flow_run.id).empirical_policy.pause_keys)


def _by_schedule() -> bool:
    with get_client(sync_client=True) as client:
        return bool(client.read_flow_run(flow_run.id).auto_scheduled)


def run_name() -> str:
    """What Prefect shows the flow run as: the campaign, or the flow, and its date."""
    parameters = flow_run.parameters
    suffix = " follow-up" if parameters.get("follow_up") else ""
    return f"{parameters.get('campaign') or flow_run.flow_name} {scheduled_time():%Y-%m-%d}{suffix}"
