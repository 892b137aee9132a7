"""Sums for metrics, in set SQL that is the same on both databases: campaigns, channels, months."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    FromClause,
    and_,
    case,
    cast,
    func,
    or_,
    select,
    type_coerce,
)

from holdfast.metrics.effects import Arm
from holdfast.metrics.engagement import Funnel, PostEngagement
from holdfast.metrics.incremental import Moments
from holdfast.metrics.retention import Retention
from holdfast.metrics.revenue import Repurchase, Sales
from holdfast.tables import (
    MESSAGE_RESPONSES,
    conversions,
    enrollments,
    messages,
    orders,
    posts,
    profiles,
    responses,
    runs,
)

YEAR = timedelta(days=365)
# How soon after the first order the second one counts as soon.
SOON = timedelta(days=90)

# --- campaigns ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelCounts(Funnel):
    """The funnel of a step's messages with one variant on one channel. They are all of the treated arm."""

    step: str
    variant: str | None
    channel: str


@dataclass(frozen=True, slots=True)
class ArmSums(Arm):
    """An arm, all goal events in its customers' windows, and what their orders came to, in minor units."""

    events: int
    value: int


def funnel(connection: Connection, campaign: str) -> list[FunnelCounts]:
    """The campaign's messages by step, variant and channel, in that order."""
    m = messages.c
    of_campaign = m.run_id.in_(select(runs.c.id).where(runs.c.campaign == campaign))
    counts = funnel_counts()
    query = select(m.step, m.variant, m.channel, *counts.values()).where(of_campaign)
    rows = connection.execute(query.group_by(m.step, m.variant, m.channel))
    found = [
        FunnelCounts(step=step, variant=variant, channel=channel, **dict(zip(counts, numbers, strict=True)))
        for step, variant, channel, *numbers in rows
    ]
    return sorted(found, key=lambda row: (row.step, row.variant or "", row.channel))


def engagement(connection: Connection, since: datetime, until: datetime) -> dict[str, Funnel]:
    """By channel, what became of the messages that were sent in [since, until)."""
    m = messages.c
    counts = funnel_counts()
    query = select(m.channel, *counts.values()).where(m.sent_at >= since, m.sent_at < until)
    rows = connection.execute(query.group_by(m.channel))
    found = {channel: Funnel(**dict(zip(counts, numbers, strict=True))) for channel, *numbers in rows}
    return dict(sorted(found.items()))


def funnel_counts() -> Mapping[str, ColumnElement[int]]:
    """The fields of `Funnel`. Without any receipt the channel gives none, and delivered says nothing."""
    m = messages.c
    proofs = [f"{kind}_at" for kind in MESSAGE_RESPONSES if kind != "bounced"]
    proofs += ["machine_opened_at", "machine_clicked_at"]
    proven = func.count().filter(or_(*(m[proof].is_not(None) for proof in proofs)))
    return {
        "planned": func.count(),
        "accepted": func.count().filter(m.state == "accepted"),
        **{kind: func.count(m[f"{kind}_at"]) for kind in MESSAGE_RESPONSES},
        "delivered": case((func.count(m.delivered_at) == 0, 0), else_=proven),
        "machine_opened": func.count(m.machine_opened_at),
        "machine_clicked": func.count(m.machine_clicked_at),
    }


def arms(connection: Connection, campaign: str, matured_before: datetime | None = None) -> dict[str, ArmSums]:
    """The campaign's arms, `treated` and `holdout`: its customers, each counted by their first entry.

    With `matured_before` only who was enrolled by then: an end of the goal's window before now. Later entries
    are left out, because the treatment has a say in who comes to have one.
    """
    found = _arm_sums(connection, enrollments, enrollments.c.arm, _first_entries(campaign, matured_before))
    return {arm: found.get(arm, ArmSums(0, 0, 0, 0)) for arm in ("treated", "holdout")}


def run_arms(
    connection: Connection, campaign: str, matured_before: datetime | None = None
) -> dict[int, dict[str, ArmSums]]:
    """The arms of each of the campaign's runs, by the run's id: the parts of what `arms` counts."""
    e, within = enrollments.c, _first_entries(campaign, matured_before)
    found: dict[int, dict[str, ArmSums]] = {}
    for arm in ("treated", "holdout"):
        for run_id, sums in _arm_sums(connection, enrollments, e.run_id, and_(within, e.arm == arm)).items():
            found.setdefault(run_id, {})[arm] = sums
    return found


@dataclass(frozen=True, slots=True)
class Spend:
    """What customers of an arm ordered in their windows: how often, and for how much, in minor units."""

    orders: Moments
    revenue: Moments

    def __add__(self, other: Spend) -> Spend:
        return Spend(self.orders + other.orders, self.revenue + other.revenue)


def run_spend(
    connection: Connection, campaign: str, matured_before: datetime | None = None
) -> dict[int, dict[str, Spend]]:
    """By run and arm, what those ordered whom `run_arms` counts."""
    e, c = enrollments.c, conversions.c
    # In floating point: squares of large orders pass 64 bits.
    squares = (func.coalesce(func.sum(cast(part, Float) * part), 0.0) for part in (c.events, c.value))
    rows = connection.execute(
        select(e.run_id, e.arm, func.count(), _sum(c.events), _sum(c.value), *squares)
        .select_from(enrollments.outerjoin(conversions, c.enrollment_id == e.id))
        .where(_first_entries(campaign, matured_before))
        .group_by(e.run_id, e.arm)
    )
    found: dict[int, dict[str, Spend]] = {}
    for run_id, arm, n, events, value, events_squared, value_squared in rows:
        spend = Spend(Moments(n, events, events_squared), Moments(n, value, value_squared))
        found.setdefault(run_id, {})[arm] = spend
    return found


def variants(
    connection: Connection, campaign: str, step: str, matured_before: datetime | None = None
) -> dict[str, ArmSums]:
    """The treated by the variant of this step that they were drawn for, sent or not; as `arms` counts them.

    Who never came to the step is in none of them, so this is for a campaign's first step.
    """
    m, e = messages.c, enrollments.c
    drawn = enrollments.join(messages, and_(m.enrollment_id == e.id, m.step == step, m.rank == 1))
    where = and_(_first_entries(campaign, matured_before), m.variant.is_not(None))
    return dict(sorted(_arm_sums(connection, drawn, m.variant, where).items()))


def _first_entries(campaign: str, matured_before: datetime | None) -> ColumnElement[bool]:
    e = enrollments.c
    first = and_(e.campaign == campaign, e.entry == 1)
    return first if matured_before is None else and_(first, e.enrolled_at <= matured_before)


def _arm_sums(
    connection: Connection, enrolled: FromClause, key: ColumnElement[Any], where: ColumnElement[bool]
) -> dict[Any, ArmSums]:
    c = conversions.c
    joined = enrolled.outerjoin(conversions, c.enrollment_id == enrollments.c.id)
    query = select(key, func.count(), func.count(c.enrollment_id), _sum(c.events), _sum(c.value))
    rows = connection.execute(query.select_from(joined).where(where).group_by(key))
    return {name: ArmSums(*sums) for name, *sums in rows}


@dataclass(frozen=True, slots=True)
class Latest:
    """How far the data goes: when somebody was last enrolled, ordered, answered. None: never."""

    enrolled: datetime | None
    ordered: datetime | None
    answered: datetime | None


def latest(connection: Connection, campaign: str, now: datetime) -> Latest:
    """How far the data goes: this campaign's enrollments by `now`, and all orders and answers."""
    last = func.max(enrollments.c.enrolled_at)
    return Latest(
        connection.scalar(select(last).where(_first_entries(campaign, now))),
        connection.scalar(select(func.max(profiles.c.last_order_at))),
        connection.scalar(select(responses.c.received_at).order_by(responses.c.id.desc()).limit(1)),
    )


# --- posts ----------------------------------------------------------------------------------------


def campaign_posts(connection: Connection, campaign: str) -> dict[str, PostEngagement]:
    """By channel, what the networks counted of the campaign's posts."""
    of_campaign = posts.c.run_id.in_(select(runs.c.id).where(runs.c.campaign == campaign))
    return _post_engagement(connection, of_campaign)


def post_engagement(connection: Connection, since: datetime, until: datetime) -> dict[str, PostEngagement]:
    """By channel, what the networks counted of the posts that were published in [since, until)."""
    return _post_engagement(connection, and_(posts.c.sent_at >= since, posts.c.sent_at < until))


def _post_engagement(connection: Connection, where: ColumnElement[bool]) -> dict[str, PostEngagement]:
    p = posts.c
    counted = ("impressions", "likes", "replies", "reposts", "clicks")
    query = select(p.channel, func.count(), *(cast(func.sum(p[name]), BigInteger) for name in counted))
    rows = connection.execute(query.where(where, p.state == "accepted").group_by(p.channel))
    names = ("posts", *counted)
    found = {channel: PostEngagement(**dict(zip(names, sums, strict=True))) for channel, *sums in rows}
    return dict(sorted(found.items()))


# --- months ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiSums:
    """A month's numbers, of [since, until) in UTC: to its end, or as far as it had gone.

    `retention` is from its start to its end, `repurchase` of the window before its end.
    """

    since: datetime
    until: datetime
    retention: Retention
    sales: Sales
    repurchase: Repurchase


def month_bounds(month: int, zone: str) -> tuple[datetime, datetime]:
    """When the month (year * 12 + month - 1) begins and ends in the zone, as UTC."""
    local = (datetime(m // 12, m % 12 + 1, 1, tzinfo=ZoneInfo(zone)) for m in (month, month + 1))
    since, until = (moment.astimezone(UTC) for moment in local)
    return since, until


def kpis(connection: Connection, month: int, zone: str, as_of: datetime, window: timedelta = YEAR) -> KpiSums:
    """The numbers of a month (year * 12 + month - 1) in the zone, from orders placed before `as_of`.

    `window` is how long an order makes a customer active. A month that `as_of` is in ends there.
    """
    since, until = month_bounds(month, zone)
    until = max(since, min(until, as_of))
    per_customer = _orders_by_customer(since, until, window)
    c = per_customer.c

    def customers(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count().filter(*conditions)

    old, bought = c.first_order_at < since, c.orders > 0
    at_start, at_end = c.orders_before_start > 0, c.orders_before_end > 0
    observed = and_(c.first_order_at >= until - window, c.first_order_at <= until - SOON)
    row = connection.execute(
        select(
            customers(at_start).label("active_at_start"),
            customers(at_start, at_end).label("kept"),
            customers(~at_start, at_end, ~old).label("new"),
            customers(~at_start, at_end, old).label("reactivated"),
            _sum(c.orders).label("orders"),
            _sum(c.revenue).label("revenue"),
            customers(bought).label("buyers"),
            customers(bought, old).label("returning_buyers"),
            customers(at_end).label("window_buyers"),
            customers(c.orders_before_end > 1).label("repeat_buyers"),
            _sum(c.orders_before_end).label("window_orders"),
            _sum(c.revenue_before_end).label("window_revenue"),
            customers(observed).label("observed"),
            customers(observed, c.orders_soon > 1).label("second_orders"),
        )
    ).one()
    return KpiSums(
        since=since,
        until=until,
        retention=Retention(
            active_at_start=row.active_at_start, kept=row.kept, new=row.new, reactivated=row.reactivated
        ),
        sales=Sales(
            orders=row.orders,
            revenue=row.revenue,
            median=_median_order(connection, since, until, row.orders),
            buyers=row.buyers,
            # A new buyer's first order is the only one of the month that is nobody's repetition.
            repeat_orders=row.orders - (row.buyers - row.returning_buyers),
            returning=row.returning_buyers,
        ),
        repurchase=Repurchase(
            buyers=row.window_buyers,
            repeat_buyers=row.repeat_buyers,
            orders=row.window_orders,
            revenue=row.window_revenue,
            observed=row.observed,
            second_orders=row.second_orders,
        ),
    )


def _orders_by_customer(since: datetime, until: datetime, window: timedelta) -> Any:
    """Customers with qualifying orders in [since - window, until), and how many when."""
    o, p = orders.c, profiles.c
    in_month, before_end = o.ordered_at >= since, o.ordered_at >= until - window
    soon = type_coerce(p.first_order_at, BigInteger) + SOON // timedelta(microseconds=1)
    return (
        select(
            # Of one customer it is one; an aggregate keeps the grouping in the index's order.
            func.min(p.first_order_at).label("first_order_at"),
            func.count().filter(o.ordered_at < since).label("orders_before_start"),
            func.count().filter(before_end).label("orders_before_end"),
            _sum(case((before_end, o.total))).label("revenue_before_end"),
            func.count().filter(in_month).label("orders"),
            _sum(case((in_month, o.total))).label("revenue"),
            func.count().filter(type_coerce(o.ordered_at, BigInteger) < soon).label("orders_soon"),
        )
        .join_from(orders, profiles, p.customer_id == o.customer_id)
        .where(o.qualifying, o.ordered_at >= since - window, o.ordered_at < until)
        .group_by(o.customer_id)
        .subquery()
    )


def _median_order(connection: Connection, since: datetime, until: datetime, count: int) -> float | None:
    """The median value of the `count` qualifying orders of [since, until)."""
    if not count:
        return None
    o = orders.c
    in_month = select(o.total).where(o.qualifying, o.ordered_at >= since, o.ordered_at < until)
    middle = in_month.order_by(o.total).offset((count - 1) // 2).limit(2 - count % 2)
    return fmean(connection.scalars(middle))


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    # PostgreSQL sums bigints to a numeric.
    return cast(func.coalesce(func.sum(column), 0), BigInteger)
