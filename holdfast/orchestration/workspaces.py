"""The project that a flow run works on, opened once a process and shared by its tasks."""

from __future__ import annotations
