"""One deployment a campaign, in the project's work pool, kept equal to the campaign files."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from holdfast.campaign.models import Campaign
from holdfast.errors import OrchestrationError
from holdfast.settings import Project

POOL = "holdfast"
TAG = "holdfast"
FLOW = "run_campaign"
ENTRYPOINT = "flows.run_campaign.run_campaign"


@dataclass(frozen=True, slots=True)
class Deployed:
    """What `deploy` changed, by campaign."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def deploy(project: Project, campaigns: Iterable[Campaign]) -> Deployed:
    """Makes this project's deployments those of `campaigns`; others' are left alone.

    A deployment that is already right is not written: Prefect would forget its scheduled runs, the late
    ones too. Raises OrchestrationError when the server does not answer.
    """
    report = Deployed()
    try:
        with get_client(sync_client=True) as client:
            _ensure_pool(client)
            flow_id = client.create_flow_from_name(FLOW)
            standing = {deployment.name: deployment for deployment in _ours(client, project)}
            for campaign in campaigns:
                wanted = _wanted(project, campaign)
                existing = standing.pop(campaign.campaign, None)
                if existing is not None and existing.version == wanted["version"]:
                    report.unchanged.append(campaign.campaign)
                    continue
                if existing is None and find_deployment(client, campaign.campaign) is not None:
                    raise OrchestrationError(
                        f"campaign {campaign.campaign!r} is deployed on this server from another folder",
                        hint="rename it, or delete the other deployment in the Prefect UI",
                    )
                client.create_deployment(flow_id, **wanted)
                (report.created if existing is None else report.updated).append(campaign.campaign)
            for deployment in standing.values():
                client.delete_deployment(deployment.id)
                report.removed.append(deployment.name)
    except httpx.HTTPError as error:
        raise no_answer(error) from None
    return report


def find_deployment(client: SyncPrefectClient, campaign: str) -> DeploymentResponse | None:
    """The campaign's deployment, where it was deployed."""
    try:
        return client.read_deployment_by_name(f"{FLOW}/{campaign}")
    except ObjectNotFound:
        return None


def no_answer(error: httpx.HTTPError) -> OrchestrationError:
    """Prefect's server refused or is gone. Its own text is left out: it may quote what was sent."""
    status = f" (HTTP {error.response.status_code})" if isinstance(error, httpx.HTTPStatusError) else ""
    return OrchestrationError(
        f"the Prefect server did not do what was asked{status}",
        hint="is it up? where Holdfast started it, its log is .holdfast/prefect/server.log",
    )


def _ours(client: SyncPrefectClient, project: Project) -> list[DeploymentResponse]:
    """Two projects may share a server: each has the deployments that work in its folder."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=tagged, limit=200, offset=len(found)):
        found += page
    return [one for one in found if (one.job_variables or {}).get("env") == _environment(project)]


def _wanted(project: Project, campaign: Campaign) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "name": campaign.campaign,
        "entrypoint": ENTRYPOINT,
        "description": campaign.description,
        "tags": [TAG],
        "parameters": {"campaign": campaign.campaign},
        "parameter_openapi_schema": parameter_schema(
            load_flow_from_entrypoint(ENTRYPOINT)
        ).model_dump_for_openapi(),
        "enforce_parameter_schema": True,
        "work_pool_name": POOL,
        # The worker's own environment is passed on to each run, secrets included; none is stored in Prefect.
        "job_variables": {
            # Without a command of ours, Prefect puts a supervisor before each run: seconds more to start.
            "command": f"{shlex.quote(sys.executable)} -m prefect.engine",
            "env": _environment(project),
            "working_dir": str(project.root),
        },
        "schedules": _schedules(project, campaign),
    }
    fingerprint = json.dumps(wanted, sort_keys=True, default=lambda value: value.model_dump(mode="json"))
    return wanted | {"version": hashlib.sha256(fingerprint.encode()).hexdigest()[:12]}


def _schedules(project: Project, campaign: Campaign) -> list[DeploymentScheduleCreate]:
    if campaign.schedule is None:
        return []
    cron = CronSchedule(
        cron=campaign.schedule.cron, timezone=campaign.schedule.timezone or project.business.timezone
    )
    return [DeploymentScheduleCreate(schedule=cron, active=True)]


def _environment(project: Project) -> dict[str, str]:
    return {"HOLDFAST_PROJECT": str(project.root)}


def _ensure_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
