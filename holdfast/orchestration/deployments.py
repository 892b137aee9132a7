"""A deployment a campaign, and one of each flow of the project itself, kept equal to the project's files."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from prefect import Flow
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
COLLECT = "collect_responses"
REFRESH = "refresh_metrics"
SYNC = "sync_customers"


@dataclass(frozen=True, slots=True)
class Deployed:
    """What `deploy` changed: campaigns, and the project's own flows, by name."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Deployment:
    """What one deployment is to be. `shown_as`: what people call it."""

    flow: str
    name: str
    shown_as: str
    description: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    cron: str | None = None
    timezone: str = "UTC"


def entrypoint(flow: str) -> str:
    """Where Prefect finds the flow: a module path."""
    return f"flows.{flow}.{flow}"


def project_deployment(root: Path) -> str:
    """What the deployments of a project's own flows are called: after its folder, and unlike any other's."""
    digest = hashlib.sha256(str(root).encode()).hexdigest()[:6]
    return f"{re.sub(r'[^a-zA-Z0-9_-]', '-', root.name)}-{digest}"


def deploy(project: Project, campaigns: Iterable[Campaign]) -> Deployed:
    """Makes this project's deployments those of `campaigns` and of its own flows; others' are left alone.

    A deployment that is already right is not written: Prefect would forget its scheduled runs, the late
    ones too. Raises OrchestrationError when the server does not answer.
    """
    report = Deployed()
    try:
        with get_client(sync_client=True) as client:
            _ensure_pool(client)
            standing = {(one.entrypoint, one.name): one for one in _ours(client, project)}
            for wanted in [*map(partial(_of_campaign, project), campaigns), *_of_project(project)]:
                existing = standing.pop((entrypoint(wanted.flow), wanted.name), None)
                written = _written(project, wanted)
                if existing is not None and existing.version == written["version"]:
                    report.unchanged.append(wanted.shown_as)
                    continue
                if existing is None and find_deployment(client, wanted.name, wanted.flow) is not None:
                    raise OrchestrationError(
                        f"campaign {wanted.name!r} is deployed on this server from another folder",
                        hint="rename it, or delete the other deployment in the Prefect UI",
                    )
                client.create_deployment(client.create_flow_from_name(wanted.flow), **written)
                (report.created if existing is None else report.updated).append(wanted.shown_as)
            for (entry, name), deployment in standing.items():
                client.delete_deployment(deployment.id)
                flow = str(entry).rpartition(".")[2]
                report.removed.append(name if flow == FLOW else flow)
    except httpx.HTTPError as error:
        raise no_answer(error) from None
    return report


def find_deployment(client: SyncPrefectClient, name: str, flow: str = FLOW) -> DeploymentResponse | None:
    """The deployment of this name, a campaign's unless another flow is named; None: it was not deployed."""
    try:
        return client.read_deployment_by_name(f"{flow}/{name}")
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


def _of_campaign(project: Project, campaign: Campaign) -> _Deployment:
    schedule = campaign.schedule
    return _Deployment(
        flow=FLOW,
        name=campaign.campaign,
        shown_as=campaign.campaign,
        description=campaign.description,
        parameters={"campaign": campaign.campaign},
        cron=schedule.cron if schedule else None,
        timezone=(schedule and schedule.timezone) or project.business.timezone,
    )


def _of_project(project: Project) -> list[_Deployment]:
    crons = {COLLECT: project.schedules.collect, REFRESH: project.schedules.refresh}
    if project.sources:
        crons[SYNC] = project.schedules.sync
    name = project_deployment(project.root)
    return [
        _Deployment(flow=flow, name=name, shown_as=flow, cron=cron, timezone=project.business.timezone)
        for flow, cron in crons.items()
    ]


def _written(project: Project, wanted: _Deployment) -> dict[str, Any]:
    """The deployment as Prefect takes it; its version is a digest of all that it says."""
    flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint(wanted.flow))
    written: dict[str, Any] = {
        "name": wanted.name,
        "entrypoint": entrypoint(wanted.flow),
        "description": wanted.description,
        "tags": [TAG],
        "parameters": wanted.parameters,
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
        "enforce_parameter_schema": True,
        "work_pool_name": POOL,
        # The worker's own environment is passed on to each run, secrets included; none is stored in Prefect.
        "job_variables": {
            # Without a command of ours, Prefect puts a supervisor before each run: seconds more to start.
            "command": f"{shlex.quote(sys.executable)} -m prefect.engine",
            "env": _environment(project),
            "working_dir": str(project.root),
        },
        "schedules": _schedules(wanted),
    }
    fingerprint = json.dumps(written, sort_keys=True, default=lambda value: value.model_dump(mode="json"))
    return written | {"version": hashlib.sha256(fingerprint.encode()).hexdigest()[:12]}


def _schedules(wanted: _Deployment) -> list[DeploymentScheduleCreate]:
    if wanted.cron is None:
        return []
    cron = CronSchedule(cron=wanted.cron, timezone=wanted.timezone)
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
