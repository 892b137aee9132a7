"""What a run decided, counted: the waterfall, the states of its messages; of a plan as of a run that was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, func, literal, select

from holdfast.audience.reasons import Reason
from holdfast.store.database import Database
from holdfast.store.planning import EntryPlan, StepPlan, entries, openings, step_messages
from holdfast.store.segments import RuleContext
from holdfast.tables import (
    LIVE_STATES,
    UtcTime,
    addresses,
    customers,
    enrollments,
    messages,
    runs,
)

ALREADY_IN = (Reason.ENROLLED_BEFORE, Reason.IN_PROGRESS, Reason.TOO_SOON)


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From whom the rule matched to who is written to.

    `entries` counts the matched by arm, or by why they were turned away. `first_step` counts the treated by
    what the first step means for them: (state, reason, channel) with `deferred` as the state of what waits
    for its window.
    """

    entries: Counter[str] = field(default_factory=Counter)
    first_step: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)

    @property
    def matched(self) -> int:
        """Customers that the rule matched."""
        return self.entries.total()

    @property
    def enrolled(self) -> int:
        """Customers in an arm: the denominator of every effect."""
        return self.entries["treated"] + self.entries["holdout"]

    def rows(self) -> list[tuple[str, int]]:
        """The waterfall from top to bottom: (words, customers); what is taken away is negative."""
        steps = [("matched", self.matched)]
        taken = [
            ("already enrolled", sum(self.entries[reason] for reason in ALREADY_IN)),
            ("held out of every campaign", self.entries[Reason.GLOBAL_HOLDOUT]),
            ("cannot be reached", self.entries[Reason.UNREACHABLE]),
            ("no consent", self.entries[Reason.NO_CONSENT]),
            ("suppressed", self.entries[Reason.SUPPRESSED]),
        ]
        steps += [(words, -n) for words, n in taken if n]
        steps.append(("enrolled", self.enrolled))
        steps += [("held out", -self.entries["holdout"])] if self.entries["holdout"] else []
        skipped: Counter[str] = Counter()
        sending: Counter[tuple[str, str]] = Counter()
        for (state, reason, channel), n in self.first_step.items():
            if state == "skipped":
                skipped[reason or ""] += n
            else:
                sending[(state, channel)] += n
        steps += [(f"skipped: {reason.replace('_', ' ')}", -n) for reason, n in sorted(skipped.items())]
        if sending:
            steps.append(("to send", sending.total()))
        words = {"deferred": "waits for its window, by", "planned": "by"}
        steps += [
            (f"  {words.get(state, state + ' by')} {channel}", n)
            for (state, channel), n in sorted(sending.items())
        ]
        return steps


def count_plan(
    database: Database,
    entry: EntryPlan,
    first: StepPlan,
    context: RuleContext,
    now: datetime,
    slice_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Waterfall, dict[str, int]]:
    """What a run now would decide, without writing: the waterfall, and messages to send by channel."""
    waterfall = Waterfall()
    with database.read() as connection:
        highest = connection.scalar(select(func.max(customers.c.id))) or 0
    for low in range(0, highest, slice_size):
        judged = entries(entry, context, now, low, low + slice_size).subquery("entries")
        with database.read() as connection:
            _count_entries(connection, waterfall, select(judged.c.arm, judged.c.reason, func.count())
                           .group_by(judged.c.arm, judged.c.reason))  # fmt: skip
            if first.step.after is None:
                # The entries stand in for the enrollments that they would become.
                enrolled = (
                    select(
                        literal(0).label("enrollment_id"),
                        literal(0).label("run_id"),
                        judged.c.customer_id,
                        literal(context.as_of, UtcTime).label("enrolled_at"),
                    )
                    .where(judged.c.arm == "treated")
                    .subquery("enrolled")
                )
                zones = openings(connection, first, enrolled, now)
                rows = step_messages(first, enrolled, zones, context, now).subquery("rows")
                deferred = (rows.c.due_at > now).label("deferred")
                for state, reason, channel, waits, n in connection.execute(
                    select(rows.c.state, rows.c.reason, rows.c.channel, deferred, func.count()).group_by(
                        rows.c.state, rows.c.reason, rows.c.channel, deferred
                    )
                ):
                    name = "deferred" if waits and state == "planned" else state
                    waterfall.first_step[(name, reason, channel)] += n
        if progress is not None:
            progress(min(low + slice_size, highest), highest)
    to_send: Counter[str] = Counter()
    for (state, _, channel), n in waterfall.first_step.items():
        if state != "skipped":
            to_send[channel] += n
    return waterfall, dict(to_send)


def _count_entries(
    connection: Connection, waterfall: Waterfall, counted: Select[tuple[str | None, str | None, int]]
) -> None:
    for arm, reason, n in connection.execute(counted):
        waterfall.entries[arm or reason or ""] += n


def run_waterfall(connection: Connection, run_id: int, first_step: str) -> Waterfall:
    """What the run decided, from the ledger; messages of the first step by their state now."""
    waterfall = Waterfall()
    _count_entries(
        connection,
        waterfall,
        select(enrollments.c.arm, enrollments.c.reason, func.count())
        .where(enrollments.c.run_id == run_id)
        .group_by(enrollments.c.arm, enrollments.c.reason),
    )
    for state, reason, channel, n in connection.execute(
        select(messages.c.state, messages.c.reason, messages.c.channel, func.count())
        .where(messages.c.run_id == run_id, messages.c.step == first_step)
        .group_by(messages.c.state, messages.c.reason, messages.c.channel)
    ):
        waterfall.first_step[(state, reason, channel)] += n
    return waterfall


def count_messages(connection: Connection, run_id: int) -> dict[tuple[str, str | None, str, str], int]:
    """Messages of the run: (step, variant, channel, state) -> n."""
    m = messages.c
    key = (m.step, m.variant, m.channel, m.state)
    rows = connection.execute(select(*key, func.count()).where(m.run_id == run_id).group_by(*key))
    return {(step, variant, channel, state): n for step, variant, channel, state, n in rows}


def count_states(connection: Connection, run_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Messages of each of the runs, by state."""
    m = messages.c
    found: dict[int, dict[str, int]] = {}
    for run_id, state, n in connection.execute(
        select(m.run_id, m.state, func.count()).where(m.run_id.in_(run_ids)).group_by(m.run_id, m.state)
    ):
        found.setdefault(run_id, {})[state] = n
    return found


def sample_messages(connection: Connection, run_id: int, n: int) -> list[Any]:
    """The run's first `n` live messages: customer_id, step, channel, kind, variant, address."""
    m = messages.c
    return list(
        connection.execute(
            select(m.customer_id, m.step, m.channel, m.kind, m.variant, addresses.c.address)
            .join(addresses, and_(addresses.c.customer_id == m.customer_id, addresses.c.kind == m.kind))
            .where(m.run_id == run_id, m.state.in_(LIVE_STATES))
            .order_by(m.id)
            .limit(n)
        )
    )


# --- one customer ---------------------------------------------------------------------------------


def find_customer(connection: Connection, external_id: str) -> int | None:
    """The customer's id in the database, by the shop's."""
    return connection.scalar(select(customers.c.id).where(customers.c.external_id == external_id))


def enrollments_of(
    connection: Connection, campaign: str, customer_id: int
) -> list[tuple[int, str, str | None, str | None]]:
    """The customer's enrollments in the campaign, oldest first: (id, occurrence, arm, reason)."""
    e = enrollments.c
    rows = connection.execute(
        select(e.id, runs.c.occurrence, e.arm, e.reason)
        .join(runs, runs.c.id == e.run_id)
        .where(e.campaign == campaign, e.customer_id == customer_id)
        .order_by(e.id)
    )
    return [(id_, occurrence, arm, reason) for id_, occurrence, arm, reason in rows]


def messages_of(
    connection: Connection, enrollment_id: int
) -> list[tuple[str, str, str, str | None, datetime | None]]:
    """The enrollment's messages in order: (step, channel, state, reason, when it was sent or is due)."""
    m = messages.c
    rows = connection.execute(
        select(m.step, m.channel, m.state, m.reason, func.coalesce(m.sent_at, m.due_at, type_=UtcTime))
        .where(m.enrollment_id == enrollment_id)
        .order_by(m.id)
    )
    return [(step, channel, state, reason, at) for step, channel, state, reason, at in rows]
