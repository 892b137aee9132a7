"""Work out what campaigns achieved and how the shop does, and put it into the Prefect UI."""

# No deferred annotations here: Prefect reads the flow's through `redacted`, where their names mean nothing.
from prefect import State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from flows import now, workspace
from holdfast import report
from holdfast.orchestration.artifacts import publish_kpis, publish_report
from holdfast.orchestration.deployments import REFRESH
from holdfast.orchestration.occurrences import run_name
from holdfast.orchestration.redaction import redacted
from holdfast.store import attribution, conversions


@flow(name=REFRESH, flow_run_name=run_name, persist_result=False)
@redacted()
def refresh_metrics() -> State:
    """A results page for each campaign that ran, and last month's KPI sheet."""
    ended = {"attributions": refresh_attributions(return_state=True)}
    ended |= {
        campaign: refresh_campaign.with_options(task_run_name=f"refresh {campaign}")(
            campaign, return_state=True
        )
        for campaign in report.campaigns_with_runs(workspace())
    }
    ended["the KPI sheet"] = refresh_kpis(return_state=True)
    done, failed = ([what for what in ended if ended[what].is_completed() is well] for well in (True, False))
    message = f"refreshed: {', '.join(done) or 'nothing'}"
    if failed:
        return Failed(message=f"{message}; failed: {', '.join(failed)}")
    return Completed(message=message)


@task(persist_result=False, cache_policy=NO_CACHE, task_run_name="attribute orders")
@redacted()
def refresh_attributions() -> None:
    """Attributes all orders anew: those that changed too."""
    ws = workspace()
    attribution.refresh_all(ws.database, ws.project.channels)


@task(persist_result=False, cache_policy=NO_CACHE)
@redacted()
def refresh_campaign(campaign: str) -> None:
    """Counts all its conversions anew, those of late orders too, and shows its results."""
    ws = workspace()
    if goal := ws.campaign(campaign).goal:
        conversions.refresh(ws.database, campaign, goal, now())
    publish_report(report.campaign_report(ws, campaign, now()))


@task(persist_result=False, cache_policy=NO_CACHE, task_run_name="refresh the KPI sheet")
@redacted()
def refresh_kpis() -> None:
    """The sheet of the last month that is over."""
    ws = workspace()
    publish_kpis(report.kpi_sheet(ws, report.month_before(ws, now()), now()))
