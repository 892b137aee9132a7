"""The Prefect flows. What they share: the project of this process, and the clock."""

import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from holdfast.delivery import Workspace
from holdfast.orchestration.blocks import read_block
from holdfast.wiring import open_workspace


@cache
def workspace() -> Workspace:
    """The project of this process, opened once and shared by the tasks' threads."""
    return open_workspace(Path(os.environ.get("HOLDFAST_PROJECT", ".")).resolve(), read_block)


def now() -> datetime:
    """The clock that everything below the flow is given."""
    return datetime.now(UTC)
