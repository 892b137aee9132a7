"""Approval in Prefect: a flow run suspended with the plan before the operator, and resumed by the answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.states import Completed
from pydantic import Field

from holdfast import delivery, report
from holdfast.delivery import Run, Workspace
from holdfast.errors import OrchestrationError
from holdfast.orchestration.artifacts import plan_page, publish_plan
from holdfast.orchestration.deployments import find_deployment, no_answer
from holdfast.orchestration.follow_ups import next_moment, schedule_follow_up

Clock = Callable[[], datetime]

WHO = "somebody in Prefect"


class Approval(RunInput):
    """What the resume dialog of the UI asks below the plan."""

    approve: bool = Field(
        False, title="Approve this plan", description="Off: the run is stopped until it is resumed."
    )
    plan: str = Field("", description="The plan's hash. It is approved as it stands here.")
    because: str = Field("", title="Because", description="Kept with the approval.")


def seek_approval(ws: Workspace, campaign: str, clock: Clock) -> State | None:
    """Takes the answer about each plan of the campaign that waits, or suspends this flow run to ask for it.

    Suspended, the flow starts from its top when it is resumed. A plan that another flow run asks about is
    left to that one. Returns the state to end with where a plan was declined; None: go on with what may.
    """
    ended: State | None = None
    for run in delivery.awaiting(ws, campaign):
        plan = report.plan_report(ws, delivery.plan_of(ws, run, clock()))
        publish_plan(plan)
        if deployment.id is None or _asked_about(campaign, run):
            continue
        if moment := next_moment(ws, campaign, clock()):
            # Other runs of the campaign do not wait for this one's approval.
            schedule_follow_up(campaign, moment, flow_run.id)
        question = Approval.with_initial_data(description=plan_page(plan), plan=plan.plan.hash)
        answer = suspend_flow_run(question, key=_key(run, plan.plan.hash))
        if answer.approve and answer.plan == plan.plan.hash:
            why, of = answer.because, run.occurrence
            delivery.approve(ws, campaign, answer.plan, who=WHO, why=why, now=clock(), occurrence=of)
        else:
            delivery.decline(ws, run, "another plan was" if answer.approve else answer.because)
            ended = Completed(
                name="NotApproved", message="its plan was not approved; ask again with --resume"
            )
    return ended


def awaiting_approval(ws: Workspace, campaign: str, clock: Clock) -> State | None:
    """The state of a flow run that leaves a plan to be approved, with the command that does; None: none."""
    waiting = delivery.awaiting(ws, campaign)
    if not waiting:
        return None
    plan = delivery.plan_of(ws, waiting[0], clock())
    customers = plan.waterfall.entries["treated"]
    return Completed(
        name="AwaitingApproval",
        message=f"{plan.occurrence} waits: its {customers:,} customers are more than `approve_above`:"
        f" holdfast approve {campaign} {plan.hash}",
    )


def pass_on(campaign: str, run: Run, because: str, now: datetime) -> bool:
    """Has workers go on with a run that was approved: resumes the flow run that asks about it, or schedules
    one. False where the campaign is not deployed. Raises OrchestrationError when the server does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            found = find_deployment(client, campaign)
            if found is None:
                return False
            asking = _suspended(client, found.id, run)
            for suspended in asking:
                _resume(client, suspended.id, {"approve": True, "because": because})
    except httpx.HTTPError as error:
        raise no_answer(error) from None
    return bool(asking) or schedule_follow_up(campaign, now, f"approval {run.approved_hash}")


def _resume(client: SyncPrefectClient, flow_run_id: UUID, answer: dict[str, Any]) -> None:
    result = client.resume_flow_run(flow_run_id, run_input=answer)
    if result.status.value == "REJECT":
        raise OrchestrationError(
            "Prefect did not take the answer", hint="resume the suspended flow run in the UI"
        )


def _asked_about(campaign: str, run: Run) -> bool:
    with get_client(sync_client=True) as client:
        return bool(_suspended(client, UUID(str(deployment.id)), run))


def _suspended(client: SyncPrefectClient, deployment_id: UUID, run: Run) -> list[FlowRun]:
    """The flow runs that are suspended with a plan of the run, of now or from before an edit."""
    paused = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])),
    )
    return [
        found
        for found in client.read_flow_runs(flow_run_filter=paused)
        if found.state and (found.state.state_details.pause_key or "").startswith(_key(run, ""))
    ]


def _key(run: Run, plan_hash: str) -> str:
    """What Prefect knows the question by: the same plan of a run is asked about once in a flow run."""
    return f"run-{run.id}-plan-{plan_hash}"
