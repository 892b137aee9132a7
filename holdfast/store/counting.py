"""What a run decided, counted: the waterfall, the states of its messages; of a plan as of a run that was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Boolean, ColumnElement, Connection, FromClause, and_, func, literal, select

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

    @property
    def to_send(self) -> dict[str, int]:
        """Messages of the first step that are still to go out, by channel."""
        found: Counter[str] = Counter()
        for (state, _, channel), n in self.first_step.items():
            if state in ("planned", "deferred", "leased"):
                found[channel] += n
        return dict(found)

    def channels(self) -> list[dict[str, str | int]]:
        """The treated by channel: why some are skipped, who waits for a window, who is sent to."""
        found: dict[str, Counter[str]] = {}
        for (state, reason, channel), n in sorted(self.first_step.items(), key=lambda item: item[0][2]):
            words = f"skipped: {(reason or '').replace('_', ' ')}" if state == "skipped" else "to send"
            row = found.setdefault(channel, Counter())
            row["treated"] += n
            row[words] += n
            if state == "deferred":
                row["of these, later in their window"] += n
        skipped = sorted({words for row in found.values() for words in row if words.startswith("skipped")})
        columns = ["treated", *skipped, "to send", "of these, later in their window"]
        return [
            {"channel": channel, **{words: row[words] for words in columns}} for channel, row in found.items()
        ]

    def rows(self) -> list[tuple[str, int]]:
        """The waterfall from top to bottom: (words, customers); what is taken away is negative."""
        steps = [("matched", self.matched)]
        taken = [
            ("already enrolled", sum(self.entries[reason] for reason in ALREADY_IN)),
            ("held out of every campaign", self.entries[Reason.GLOBAL_HOLDOUT]),
            ("cannot be reached", self.entries[Reason.UNREACHABLE]),
            ("no consent", self.entries[Reason.NO_CONSENT]),
            ("suppressed", self.entries[Reason.SUPPRESSED]),
            ("nothing to confirm", self.entries[Reason.NOTHING_TO_CONFIRM]),
            ("open complaint", self.entries[Reason.OPEN_COMPLAINT]),
            ("topic refused", self.entries[Reason.TOPIC_REFUSED]),
            ("paused", self.entries[Reason.PAUSED]),
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


@dataclass(frozen=True, slots=True)
class Sample:
    """One message, to be shown to people before or after it is sent."""

    customer_id: int
    step: str
    channel: str
    kind: str
    variant: str | None
    address: str | None


def count_plan(
    database: Database,
    entry: EntryPlan,
    first: StepPlan,
    context: RuleContext,
    now: datetime,
    slice_size: int,
    tell: Callable[[list[tuple[int, str]]], None],
    samples: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Waterfall, list[Sample]]:
    """What a run now would decide, without writing: the waterfall, and some of its messages.

    `tell` gets everybody who would be enrolled, (customer, arm) in the order of ids.
    """
    waterfall = Waterfall()
    found: list[Sample] = []
    with database.read() as connection:
        highest = connection.scalar(select(func.max(customers.c.id))) or 0
    for low in range(0, highest, slice_size):
        judged = entries(entry, context, now, low, low + slice_size).subquery("entries")
        with database.read() as connection:
            rows = connection.execute(
                select(judged.c.customer_id, judged.c.arm, judged.c.reason).order_by(judged.c.customer_id)
            ).all()
            waterfall.entries.update(arm or reason for _, arm, reason in rows)
            tell([(customer_id, arm) for customer_id, arm, _ in rows if arm])
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
                planned = step_messages(first, enrolled, zones, context, now).subquery("planned")
                _count_first_step(connection, waterfall, planned, now)
                if len(found) < samples:
                    found += _samples(connection, planned, planned.c.customer_id, samples - len(found))
        if progress is not None:
            progress(min(low + slice_size, highest), highest)
    return waterfall, found


def run_waterfall(
    connection: Connection, run_id: int, first_step: str, now: datetime | None = None
) -> Waterfall:
    """What the run decided, from the ledger; messages of the first step by their state now.

    With `now`, those that wait for their window are `deferred`, as in a plan.
    """
    waterfall = Waterfall()
    e = enrollments.c
    for arm, reason, n in connection.execute(
        select(e.arm, e.reason, func.count()).where(e.run_id == run_id).group_by(e.arm, e.reason)
    ):
        waterfall.entries[arm or reason or ""] += n
    of_step = select(messages).where(messages.c.run_id == run_id, messages.c.step == first_step)
    _count_first_step(connection, waterfall, of_step.subquery("of_step"), now)
    return waterfall


def _count_first_step(
    connection: Connection, waterfall: Waterfall, planned: FromClause, now: datetime | None
) -> None:
    m = planned.c
    deferred = (literal(False, Boolean) if now is None else and_(m.state == "planned", m.due_at > now)).label(
        "deferred"
    )
    counted = select(m.state, m.reason, m.channel, deferred, func.count().label("n"))
    for state, reason, channel, waits, n in connection.execute(
        counted.group_by(m.state, m.reason, m.channel, deferred)
    ):
        waterfall.first_step["deferred" if waits else state, reason, channel] += n


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


def sample_messages(connection: Connection, run_id: int, n: int) -> list[Sample]:
    """The run's first `n` live messages."""
    live = messages.select().where(messages.c.run_id == run_id, messages.c.state.in_(LIVE_STATES)).subquery()
    return _samples(connection, live, live.c.id, n)


def _samples(connection: Connection, of: FromClause, order: ColumnElement[int], n: int) -> list[Sample]:
    m = of.c
    to = and_(addresses.c.customer_id == m.customer_id, addresses.c.kind == m.kind)
    rows = connection.execute(
        select(m.customer_id, m.step, m.channel, m.kind, m.variant, addresses.c.address)
        .join(addresses, to)
        .where(m.state != "skipped")
        .order_by(order)
        .limit(n)
    )
    return [Sample(*row) for row in rows]


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
) -> list[tuple[str, str, str | None, str, str | None, datetime | None]]:
    """The enrollment's messages in order: (step, channel, why this one by the customer's preference, state,
    reason, when it was sent or is due)."""
    m = messages.c
    rows = connection.execute(
        select(
            m.step,
            m.channel,
            m.preference,
            m.state,
            m.reason,
            func.coalesce(m.sent_at, m.due_at, type_=UtcTime),
        )
        .where(m.enrollment_id == enrollment_id)
        .order_by(m.id)
    )
    return [tuple(row) for row in rows]
