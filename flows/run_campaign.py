"""Run one campaign: enroll its audience, plan what is due, send it in chunks, show what came of it.

Prefect may run this twice, retry it, cancel it late or lose it: the ledger keeps messages from going out
twice.
"""

# No deferred annotations here: Prefect reads the flow's through `redacted`, where their names mean nothing.
from prefect import Flow, State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed
from pydantic import AwareDatetime

from flows import now, workspace
from holdfast import delivery, report
from holdfast.delivery import ChunkResult, Workspace
from holdfast.delivery.guard import check_stopped
from holdfast.delivery.planning import running
from holdfast.errors import RunStopped
from holdfast.orchestration.approvals import awaiting_approval, seek_approval
from holdfast.orchestration.artifacts import Progress, publish_results, publish_samples, publish_waterfall
from holdfast.orchestration.chunks import send_due
from holdfast.orchestration.deployments import FLOW
from holdfast.orchestration.events import run_stopped
from holdfast.orchestration.follow_ups import next_moment, schedule_follow_up
from holdfast.orchestration.occurrences import is_cancelling, is_missed, occurrence, run_name, was_suspended
from holdfast.orchestration.redaction import redacted


@redacted()
def stop(flow: Flow[..., object], flow_run: FlowRun, state: State) -> None:
    """A cancelled flow run stops the campaign's runs, wherever else they are worked on."""
    halt(workspace(flow_run.id), flow_run.parameters["campaign"], "cancelled in Prefect")


def halt(ws: Workspace, campaign: str, reason: str) -> None:
    """Ends sending: nobody takes another batch of the campaign's runs; with none out, they are stopped."""
    delivery.stop_runs(ws, campaign, reason, now())
    delivery.settle(ws, campaign, now())


@flow(name=FLOW, flow_run_name=run_name, on_cancellation=[stop], persist_result=False)
@redacted()
def run_campaign(
    campaign: str,
    key: str | None = None,
    as_of: AwareDatetime | None = None,
    follow_up: bool = False,
    resume: bool = False,
) -> State:
    """Runs the occurrence that `key` or the schedule names.

    A follow-up, and `resume`, start none: they go on with earlier ones. `as_of` is the moment whose facts
    select the audience; default: now.
    """
    ws = workspace()
    if resume:
        # Once: what was declined or stopped since it asked for an approval is not what it was to resume.
        if not was_suspended():
            delivery.resume_runs(ws, campaign, now())
    elif not follow_up:
        if is_missed(ws.campaign(campaign).schedule, now()):
            return Completed(
                name="Missed", message="missed: found too late, nobody was enrolled (on_missed: skip)"
            )
        delivery.open_run(ws, campaign, occurrence(key), as_of or now(), now())
    try:
        progress = Progress(campaign)
        enroll(campaign, progress)
        if declined := seek_approval(ws, campaign, now):
            return declined
        # Before anything is sent: what a lost worker left, and doubt that ended, may set a run going again.
        delivery.settle(ws, campaign, now())
        if not (runs := running(ws, campaign)):
            return awaiting_approval(ws, campaign, now) or Completed(
                message="nothing to do: this campaign has no run that may send"
            )
        send_due(ws, campaign, progress, dispatch, now)
        if delivery.posts_due(ws, campaign, now()):
            publish_posts(campaign, flow_run.id)
        delivery.settle(ws, campaign, now())
        publish(campaign, runs[-1].id)
    except RunStopped as stopped:
        delivery.settle(ws, campaign, now())
        run_stopped(campaign, str(stopped))
        raise
    except KeyboardInterrupt:
        halt(ws, campaign, "stopped at the keyboard")
        return Cancelled(message="stopped at the keyboard; go on with --resume")
    except TerminationSignal:
        if is_cancelling():
            raise
        goes_on = schedule_follow_up(campaign, now(), flow_run.id)
        how = "a follow-up run goes on" if goes_on else "go on with --resume"
        return Completed(name="Interrupted", message=f"the process was told to end; {how}")
    if is_cancelling():
        return Cancelled(message="stopped at a batch; go on with --resume")
    check_stopped(ws, runs)
    message = "; ".join(filter(None, [arrange_follow_up(ws, campaign), ws.rehearsed(ws.campaign(campaign))]))
    return awaiting_approval(ws, campaign, now) or Completed(message=message)


@task(persist_result=False, cache_policy=NO_CACHE, task_run_name="enroll")
@redacted()
def enroll(campaign: str, progress: Progress) -> None:
    """Enrolls the audiences of the campaign's runs; does nothing for those that are enrolled as planned."""
    delivery.prepare(workspace(), campaign, now(), lambda done, total: progress("enroll", done, total))


@task(persist_result=False, cache_policy=NO_CACHE, retries=0)
@redacted()
def dispatch(campaign: str, channel: str, owner: str, most: int) -> ChunkResult:
    """Sends one chunk of at most so many messages, in whatever process.

    Never retried by Prefect: the ledger knows what may be sent again.
    """
    return delivery.dispatch_chunk(workspace(), campaign, channel, owner, now, most)


@task(persist_result=False, cache_policy=NO_CACHE, retries=0, task_run_name="publish posts")
@redacted()
def publish_posts(campaign: str, owner: str) -> None:
    """Publishes the posts that are due. Never retried by Prefect, as `dispatch`."""
    delivery.publish_due(workspace(), campaign, owner, now)


@task(persist_result=False, cache_policy=NO_CACHE, task_run_name="publish")
@redacted()
def publish(campaign: str, run_id: int) -> None:
    """Puts the run's waterfall, results and samples into the Prefect UI."""
    publish_waterfall(campaign, report.waterfall(workspace(), run_id))
    publish_results(campaign, report.results(workspace(), run_id))
    publish_samples(campaign, report.samples(workspace(), run_id))


def arrange_follow_up(ws: Workspace, campaign: str) -> str:
    """Schedules the run that goes on with what waits; says what happens next."""
    moment = next_moment(ws, campaign, now())
    if moment is None:
        return "done"
    waits = f"waits until {moment:%Y-%m-%d %H:%M} UTC"
    if not schedule_follow_up(campaign, moment, flow_run.id):
        waits += "; it is not deployed: run it again then with --resume"
    return waits
