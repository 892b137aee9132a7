"""Read what is new in the project's sources: customers, their orders, lines, refunds and events.

Prefect may run this twice or lose it: what was read is marked together with what was kept of it, and reading
it again changes nothing.
"""

# No deferred annotations here: Prefect reads the flow's through `redacted`, where their names mean nothing.
from prefect import State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from flows import now, workspace
from holdfast import sync
from holdfast.orchestration.blocks import read_block
from holdfast.orchestration.deployments import SYNC
from holdfast.orchestration.occurrences import run_name
from holdfast.orchestration.redaction import redacted
from holdfast.sync import SyncReport


@flow(name=SYNC, flow_run_name=run_name, persist_result=False)
@redacted()
def sync_customers() -> State:
    """Every source in turn; one that cannot be read keeps none of the others from it."""
    reports: list[SyncReport] = []
    for source in workspace().project.sources:
        reports += sync_source.with_options(task_run_name=f"sync {source}")(source)
    message = "; ".join(map(str, reports)) or "nothing new in the sources"
    return (
        Failed(message=message) if any(report.problem for report in reports) else Completed(message=message)
    )


@task(persist_result=False, cache_policy=NO_CACHE)
@redacted()
def sync_source(source: str) -> list[SyncReport]:
    """What is new in one source."""
    return sync.sync(workspace(), now(), read_block, only=source)
