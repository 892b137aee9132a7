"""Where a message goes next that was refused: the same step by another channel, as the next rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, exists, insert, literal, not_, or_, select

from holdfast.store.contact import Fallback, join_contact, picks, taken
from holdfast.store.database import Database
from holdfast.store.preferences import ranks, why_taken
from holdfast.tables import UtcTime, messages


def insert_fallbacks(
    connection: Connection,
    database: Database,
    rejected: Sequence[int],
    fallbacks: Mapping[str, Fallback],
    purpose: str,
    now: datetime,
) -> None:
    """Plans the next rank for those of the rejected messages that can be reached on another route.

    `fallbacks` by step. In the transaction that rejects them.
    """
    for step, fallback in fallbacks.items():
        if rejected and fallback.routes:
            of_step = and_(messages.c.id.in_(database.among(rejected)), messages.c.step == step)
            _insert(connection, of_step, fallback, purpose, now)


def _insert(
    connection: Connection, which: ColumnElement[bool], fallback: Fallback, purpose: str, now: datetime
) -> None:
    routes, later = fallback.routes, messages.alias("later")
    source, problems = join_contact(messages, messages.c.customer_id, routes, purpose, now)
    preferred = ranks(routes, messages.c.customer_id, now) if fallback.by_preference else {}
    # Materialised, as in planning: several routes are compared by the same look-ups.
    failed = (
        select(
            messages,
            *(problem.label(f"problem_{kind}") for kind, problem in problems.items()),
            *(rank.label(f"rank_{kind}") for kind, rank in preferred.items()),
            *(
                _tried(route.channel).label(f"tried_{number}")
                for number, route in enumerate(routes)
                if fallback.by_preference
            ),
        )
        .select_from(source)
        .where(
            which,
            messages.c.state == "rejected",
            ~exists().where(
                later.c.enrollment_id == messages.c.enrollment_id,
                later.c.step == messages.c.step,
                later.c.rank > messages.c.rank,
            ),
        )
        .cte("failed")
        .prefix_with("MATERIALIZED")
    )
    usable = [
        and_(
            failed.c[f"problem_{route.kind}"].is_(None),
            *([not_(failed.c[f"tried_{number}"])] if fallback.by_preference else []),
        )
        for number, route in enumerate(routes)
    ]
    ranked = {kind: failed.c[f"rank_{kind}"] for kind in preferred}
    chosen = picks(routes, usable, ranked)
    connection.execute(
        insert(messages).from_select(
            ["enrollment_id", "run_id", "customer_id", "step", "rank", "channel", "kind", "purpose",
             "variant", "preference", "state", "due_at", "closes_at"],
            select(
                failed.c.enrollment_id,
                failed.c.run_id,
                failed.c.customer_id,
                failed.c.step,
                failed.c.rank + 1,
                taken(chosen, "channel"),
                taken(chosen, "kind"),
                failed.c.purpose,
                failed.c.variant,
                why_taken(chosen, ranked),
                literal("planned"),
                literal(now, UtcTime),
                failed.c.closes_at,
            ).where(or_(*usable)),
        )
    )  # fmt: skip


def _tried(channel: str) -> ColumnElement[bool]:
    before = messages.alias("before")
    return (
        exists()
        .where(
            before.c.enrollment_id == messages.c.enrollment_id,
            before.c.step == messages.c.step,
            before.c.channel == channel,
        )
        .correlate(messages)
    )
