"""Secrets kept in Prefect Secret blocks."""

from __future__ import annotations

from prefect.blocks.system import Secret

from holdfast.errors import SettingsError
from holdfast.orchestration.redaction import keep_out_of_logs


def read_block(name: str) -> str:
    """The value of the Prefect Secret block of this name. Raises SettingsError where there is none."""
    try:
        block: Secret[str] = Secret.load(name, _sync=True)  # type: ignore[assignment, call-arg]
    except ValueError:
        raise SettingsError(
            f"there is no Prefect Secret block named {name!r}",
            hint="create it in the Prefect UI under Blocks, type Secret",
        ) from None
    value = str(block.get())
    keep_out_of_logs(value)
    return value
