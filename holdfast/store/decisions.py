"""What people decided by hand about a campaign, with who and why. Append-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from holdfast.tables import decisions, runs


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. `what` is `approved` or `settled`; `detail` the plan's hash, or `accepted` or `resend`.

    `occurrence` is that of the run it was about; None: of all the campaign's. `messages` counts what it was
    about; None: it was not about messages.
    """

    campaign: str
    occurrence: str | None
    what: str
    detail: str
    messages: int | None
    who: str
    why: str
    decided_at: datetime


def record(
    connection: Connection,
    *,
    campaign: str,
    run_id: int | None,
    what: str,
    detail: str,
    messages: int | None,
    who: str,
    why: str,
    now: datetime,
) -> None:
    """Keeps a decision, in the transaction that does what was decided. The fields are `Decision`'s."""
    connection.execute(
        insert(decisions).values(
            campaign=campaign,
            run_id=run_id,
            what=what,
            detail=detail,
            messages=messages,
            who=who,
            why=why,
            decided_at=now,
        )
    )


def list_decisions(connection: Connection, campaign: str, latest: int = 10) -> list[Decision]:
    """The latest decisions about the campaign, the latest first."""
    rows = connection.execute(
        select(
            decisions.c.campaign,
            runs.c.occurrence,
            decisions.c.what,
            decisions.c.detail,
            decisions.c.messages,
            decisions.c.who,
            decisions.c.why,
            decisions.c.decided_at,
        )
        .select_from(decisions.outerjoin(runs, runs.c.id == decisions.c.run_id))
        .where(decisions.c.campaign == campaign)
        .order_by(decisions.c.id.desc())
        .limit(latest)
    )
    return [Decision(*row) for row in rows]
