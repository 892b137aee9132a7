"""Collect what customers answered: read the inbox, ask the channels, settle doubt, count conversions.

Prefect may run this twice or lose it: an answer counts once, and what was not collected waits.
"""

# No deferred annotations here: Prefect reads the flow's through `redacted`, where their names mean nothing.
from prefect import State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from flows import now, workspace
from holdfast import responses
from holdfast.orchestration.deployments import COLLECT
from holdfast.orchestration.events import came_back, run_stopped
from holdfast.orchestration.follow_ups import pick_up, start_run
from holdfast.orchestration.occurrences import run_name
from holdfast.orchestration.redaction import redacted
from holdfast.responses import Collected


@flow(name=COLLECT, flow_run_name=run_name, persist_result=False)
@redacted()
def collect_responses() -> State:
    """Collects, and sees to it that whatever is due goes on: doubt that ended may be a message to send."""
    collected = collect()
    pick_up(workspace(), now())
    for run in collected.stopped:
        run_stopped(run.campaign, run.reason)
    for campaign, count in responses.newly_came_back(workspace(), now()).items():
        came_back(campaign, count)
    told = [f"{collected.new:,} new answers, {collected.conversions:,} conversions changed"]
    recovery = workspace().project.cases.recovery
    match responses.recover(workspace(), start_run, now()):
        case "started":
            told.append(f"started {recovery} for who has complained")
        case "not deployed":
            told.append(f"{recovery} is not deployed; start it with: holdfast run {recovery}")
    message = "; ".join(told)
    if collected.problems:
        return Failed(message="; ".join([message, *collected.problems]))
    return Completed(message=message)


@task(persist_result=False, cache_policy=NO_CACHE, task_run_name="collect")
@redacted()
def collect() -> Collected:
    """Everything that came since the last time."""
    return responses.collect(workspace(), now())
