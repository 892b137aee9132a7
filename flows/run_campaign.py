"""Run one campaign: enroll its audience, plan what is due, send it in chunks, show what came of it.

Prefect may run this twice, retry it, cancel it late or lose it: the ledger keeps messages from going out
twice.
"""

# No deferred annotations here: Prefect reads the flow's through `redacted`, where their names mean nothing.
from math import ceil

from prefect import Flow, State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import AwareDatetime

from flows import now, workspace
from holdfast import delivery, report
from holdfast.delivery import ChunkResult, Workspace
from holdfast.delivery.planning import running
from holdfast.errors import HoldfastError
from holdfast.orchestration.artifacts import Progress, publish_results, publish_samples, publish_waterfall
from holdfast.orchestration.deployments import FLOW
from holdfast.orchestration.follow_ups import next_moment, schedule_follow_up
from holdfast.orchestration.interrupts import check_keyboard
from holdfast.orchestration.occurrences import is_cancelling, is_missed, occurrence, run_name
from holdfast.orchestration.redaction import redacted
from holdfast.orchestration.results import results


@redacted()
def stop(flow: Flow[..., object], flow_run: FlowRun, state: State) -> None:
    """A cancelled flow run stops the campaign's runs, wherever else they are worked on."""
    halt(workspace(), flow_run.parameters["campaign"], "cancelled in Prefect")


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
    workspace.cache_clear()
    ws = workspace()
    if resume:
        delivery.resume_runs(ws, campaign, now())
    elif not follow_up:
        if is_missed(ws.campaign(campaign).schedule, now()):
            return Completed(
                name="Missed", message="missed: found too late, nobody was enrolled (on_missed: skip)"
            )
        delivery.open_run(ws, campaign, occurrence(key), as_of or now(), now())
    # Before anything else: what a lost worker left, and doubt that has ended, may set a run going again.
    delivery.settle(ws, campaign, now())
    if not (runs := running(ws, campaign)):
        return Completed(message="nothing to do: this campaign has no run that may send")
    try:
        progress = Progress(campaign)
        enroll(campaign, progress)
        while send_due(ws, campaign, progress):
            pass
        if delivery.posts_due(ws, campaign, now()):
            publish_posts(campaign, flow_run.id)
        delivery.settle(ws, campaign, now())
        publish(campaign, runs[-1].id)
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
    return Completed(message=arrange_follow_up(ws, campaign))


@task(persist_result=False, cache_policy=NO_CACHE, task_run_name="enroll")
@redacted()
def enroll(campaign: str, progress: Progress) -> None:
    """Enrolls the audiences of the campaign's runs; does nothing for those that are enrolled."""
    for run in running(workspace(), campaign):
        delivery.enroll(workspace(), run, now(), lambda done, total: progress("enroll", done, total))


def send_due(ws: Workspace, campaign: str, progress: Progress) -> bool:
    """Plans and sends what is due by now, chunk by chunk; whether there was anything to take."""
    delivery.advance(ws, campaign, now())
    due = delivery.due(ws, campaign, now())
    chunks = {channel: ceil(n / ws.project.dispatch.chunk) for channel, n in due.items()}
    leased, failures = 0, []
    pool: ThreadPoolTaskRunner[ChunkResult] = ThreadPoolTaskRunner(max_workers=ws.project.dispatch.threads)
    with pool:
        try:
            tasks = [
                pool.submit(
                    dispatch.with_options(task_run_name=f"dispatch {channel} {number}/{n}"),
                    {"campaign": campaign, "channel": channel, "owner": flow_run.id},
                )
                for channel, n in chunks.items()
                for number in range(1, n + 1)
            ]
            for result in results(tasks, while_waiting=lambda: stop_when_cancelled(ws, campaign)):
                if isinstance(result, HoldfastError):
                    failures.append(result)
                else:
                    leased += result.leased
                    progress("dispatch", leased, sum(due.values()))
        except KeyboardInterrupt:
            # Before the pool waits for its threads: they end at their next batch.
            delivery.stop_runs(ws, campaign, "stopped at the keyboard", now())
            raise
        except TerminationSignal:
            stop_when_cancelled(ws, campaign)
            raise
    if failures:
        raise failures[0]
    return leased > 0


@task(persist_result=False, cache_policy=NO_CACHE, retries=0)
@redacted()
def dispatch(campaign: str, channel: str, owner: str) -> ChunkResult:
    """Sends one chunk. Never retried by Prefect: the ledger knows what may be sent again."""
    return delivery.dispatch_chunk(workspace(), campaign, channel, owner, now)


@task(persist_result=False, cache_policy=NO_CACHE, retries=0, task_run_name="publish posts")
@redacted()
def publish_posts(campaign: str, owner: str) -> None:
    """Publishes the posts that are due. Never retried by Prefect, as `dispatch`."""
    delivery.publish_due(workspace(), campaign, owner, now)


def stop_when_cancelled(ws: Workspace, campaign: str) -> None:
    """Prefect interrupts the main thread alone; the others read the ledger's run state at each batch."""
    check_keyboard()
    if is_cancelling():
        delivery.stop_runs(ws, campaign, "cancelled in Prefect", now())


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
