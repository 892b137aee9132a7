"""Follow-up runs: what is not due yet is one scheduled run that the UI shows, never a flow that polls."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Scheduled

from holdfast import delivery
from holdfast.delivery import Workspace
from holdfast.delivery.planning import unfinished
from holdfast.orchestration.deployments import find_deployment, no_answer

TAG = "follow-up"
# A follow-up this much earlier or later does as well: it schedules the next one itself.
_SAME_MOMENT = timedelta(seconds=30)


def schedule_follow_up(campaign: str, moment: datetime, scheduled_by: str) -> bool:
    """Schedules a run of the campaign's deployment that only goes on with what is due at `moment`.

    `scheduled_by` names who asks (a flow run's id), so that asking twice gives one run. Nothing is scheduled
    where a follow-up for that moment or an earlier one is waiting. False where the campaign is not deployed.
    Raises OrchestrationError when the server does not answer.
    """
    key = f"{campaign} {moment.isoformat()} {scheduled_by}"
    try:
        with get_client(sync_client=True) as client:
            deployment = find_deployment(client, campaign)
            if deployment is None:
                return False
            if _waiting(client, deployment.id, moment + _SAME_MOMENT):
                return True
            run = _request(client, deployment.id, campaign, moment, key)
            # Prefect's keys are for ever: one that was used gives the old run back, however it ended.
            while run.state is not None and run.state.is_final():
                run = _request(client, deployment.id, campaign, moment, f"{key} after {run.id}")
            return True
    except httpx.HTTPError as error:
        raise no_answer(error) from None


def start_run(campaign: str, asked_by: str) -> bool:
    """Starts a run of the campaign's deployment, an occurrence of its own; once for who asks, however often.

    False where the campaign is not deployed. Raises OrchestrationError when the server does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            deployment = find_deployment(client, campaign)
            if deployment is None:
                return False
            client.create_flow_run_from_deployment(
                deployment.id,
                parameters={"campaign": campaign},
                idempotency_key=f"{campaign} for {asked_by}",
            )
            return True
    except httpx.HTTPError as error:
        raise no_answer(error) from None


def next_moment(ws: Workspace, campaign: str, now: datetime) -> datetime | None:
    """When to go on with the campaign's runs, in a minute at the earliest; None: none goes on by itself.

    Nothing due and yet not done: another worker has the rest in hand, or had it when it died, and its lease
    runs out.
    """
    if not unfinished(ws, campaign):
        return None
    return max(
        delivery.next_due(ws, campaign, now) or now + ws.project.dispatch.lease, now + timedelta(minutes=1)
    )


def pick_up(ws: Workspace, now: datetime) -> list[str]:
    """Sees to a follow-up for each deployed campaign where something waits; their names.

    A worker that was lost may have left one without.
    """
    return [
        name
        for name in sorted(ws.sources)
        if (moment := next_moment(ws, name, now))
        and schedule_follow_up(name, moment, f"pick-up {now.isoformat()}")
    ]


def _waiting(client: SyncPrefectClient, deployment_id: UUID, until: datetime) -> bool:
    scheduled = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        tags=FlowRunFilterTags(all_=[TAG]),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=until),
    )
    return bool(client.read_flow_runs(flow_run_filter=scheduled, limit=1))


def _request(
    client: SyncPrefectClient, deployment_id: UUID, campaign: str, moment: datetime, key: str
) -> FlowRun:
    return client.create_flow_run_from_deployment(
        deployment_id,
        parameters={"campaign": campaign, "follow_up": True},
        state=Scheduled(scheduled_time=moment),
        name=f"{campaign} {moment:%Y-%m-%d} follow-up",
        tags=[TAG],
        idempotency_key=key,
    )
