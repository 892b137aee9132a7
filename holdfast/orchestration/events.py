"""What Prefect is told beside states, so that operators can hang automations on it: see docs/operating.md.

Prefect adds the flow run, flow and deployment that an event came from. Payloads hold names, sentences and
counts, never a customer's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.events import emit_event

from holdfast.responses import CameBack

STOPPED = "holdfast.run.stopped"
CAME_BACK = "holdfast.messages.bounced"


def run_stopped(campaign: str, reason: str) -> None:
    """A guard stopped a run of the campaign."""
    _emit(STOPPED, campaign, {"reason": reason})


def came_back(campaign: str, count: CameBack) -> None:
    """Messages of the campaign bounced, or were reported as spam, since the last event of this kind."""
    _emit(CAME_BACK, campaign, {"bounced": count.bounced, "complained": count.complained})


def _emit(event: str, campaign: str, payload: Mapping[str, Any]) -> None:
    emit_event(
        event,
        resource={
            "prefect.resource.id": f"holdfast.campaign.{campaign}",
            "prefect.resource.name": campaign,
        },
        payload={"campaign": campaign, **payload},
    )
