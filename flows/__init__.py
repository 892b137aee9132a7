"""The Prefect flows. What they share: the project of this process, and the clock."""

import os
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock

from prefect.runtime import flow_run

from holdfast.delivery import Workspace
from holdfast.orchestration.blocks import read_block
from holdfast.orchestration.limits import Rates
from holdfast.wiring import open_workspace

_opening = Lock()


def workspace(flow_run_id: object = None) -> Workspace:
    """The project of this process, read anew for each flow run and shared by its tasks' threads.

    Without an id: for the flow run, or task of one, that asks. A Dask worker has chunks of several.
    """
    with _opening:
        return _workspace(str(flow_run_id or flow_run.id))


@lru_cache(maxsize=4)
def _workspace(flow_run_id: str) -> Workspace:
    ws = open_workspace(Path(os.environ.get("HOLDFAST_PROJECT", ".")).resolve(), read_block)
    ws.rates = Rates(ws.project.root)
    return ws


def now() -> datetime:
    """The clock that everything below the flow is given."""
    return datetime.now(UTC)
