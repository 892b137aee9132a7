"""The project that a flow run works on, opened once a process and shared by its tasks."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from prefect.task_runners import ThreadPoolTaskRunner

from holdfast.delivery import Workspace
