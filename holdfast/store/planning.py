"""Enrolling and planning as SQL over sets: who enters a run, with which arm; what a step means for each.

`entries` judges the selected customers and `step_messages` the enrolled ones. Both only select: the ledger
inserts what they give, and `holdfast plan` counts it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    not_,
    null,
    select,
)

from holdfast.audience.arms import coefficients, threshold, variant_thresholds
from holdfast.audience.policy import opening, zone_of
from holdfast.audience.reasons import Reason
from holdfast.audience.rules import Rule
from holdfast.campaign.models import Campaign, Step
from holdfast.settings import Cap
from holdfast.store.contact import (
    CONFIRMATION,
    Route,
    because,
    between,
    join_contact,
    kept_back,
    over_cap,
    picks,
    taken,
    why_none,
)
from holdfast.store.conversions import meets_goal
from holdfast.store.preferences import ranks, why_taken
from holdfast.store.segments import RuleContext, compile_filter, compile_rule, draw_expression
from holdfast.store.staging import stage, staging_table
from holdfast.tables import (
    UtcTime,
    consents,
    customers,
    enrollments,
    profiles,
    runs,
    to_microseconds,
)
from holdfast.units import DailyWindow


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """How customers enter one campaign, the project's defaults applied."""

    campaign: Campaign
    routes: tuple[Route, ...]
    holdout: float
    global_holdout: float
    secret: bytes


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step means, the project's defaults applied."""

    campaign: Campaign
    step: Step
    routes: tuple[Route, ...]
    cap: Cap | None
    window: DailyWindow | None
    business_zone: str
    secret: bytes
    # Of all the campaign's steps: withdrawing consent for any of them is unsubscribing from it.
    kinds: tuple[str, ...]
    # The routes are tried in each customer's own order, and in the step's where the customer has none.
    by_preference: bool = False


def entries(plan: EntryPlan, context: RuleContext, at: datetime, low: int, high: int) -> Select[Any]:
    """The customers that the rule selects with `low` < id <= `high`: customer_id, entry, arm, reason.

    Either `arm` and `entry` are set, or `reason`: enrolled before, held out of every campaign, or not to be
    written to. Only who passes all of these is drawn into an arm; an earlier entry's arm persists.
    The rule sees the facts of `context.as_of`; whether somebody may be written to is judged `at` the moment
    of planning, also in a back-dated run.
    """
    campaign = plan.campaign
    before = enrollments.alias("before")
    latest_entry = (
        select(func.max(enrollments.c.entry))
        .where(enrollments.c.campaign == campaign.campaign, enrollments.c.customer_id == customers.c.id)
        .scalar_subquery()
    )
    # Bounds for the rollup too: PostgreSQL does not carry them over, and would read all of it for each slice.
    rollup = and_(profiles.c.customer_id == customers.c.id, between(profiles.c.customer_id, low, high))
    source: FromClause = customers.outerjoin(profiles, rollup).outerjoin(
        before,
        and_(
            before.c.campaign == campaign.campaign,
            before.c.customer_id == customers.c.id,
            before.c.entry == latest_entry,
        ),
    )
    source, problems = join_contact(source, customers.c.id, plan.routes, campaign.purpose, at, (low, high))
    # Materialised: else each look-up would be evaluated once for every expression that uses it.
    found = (
        select(
            customers.c.id,
            customers.c.draw,
            before.c.entry,
            before.c.arm,
            _may_not_re_enter(campaign, before, context.as_of).label("enrolled_before"),
            kept_back(customers.c.id, campaign.purpose, campaign.topic, at).label("kept_back"),
            *(problem.label(f"problem_{kind}") for kind, problem in problems.items()),
        )
        .select_from(source)
        .where(compile_filter(campaign.audience, context), between(customers.c.id, low, high))
        .cte("selected")
        .prefix_with("MATERIALIZED")
    )
    everywhere: ColumnElement[bool] = false()
    here: ColumnElement[bool] = false()
    if campaign.is_marketing:
        everywhere = _drawn(found.c.draw, plan.global_holdout, plan.secret, "global_holdout")
        here = _drawn(found.c.draw, plan.holdout, plan.secret, "holdout", campaign.campaign)
    judged = select(
        found,
        func.coalesce(
            found.c.enrolled_before,
            case((everywhere, because(Reason.GLOBAL_HOLDOUT)), else_=null()),
            why_none(plan.routes, _problems(found, problems)),
            found.c.kept_back,
        ).label("reason"),
        func.coalesce(found.c.arm, case((here, literal("holdout")), else_=literal("treated"))).label(
            "drawn_arm"
        ),
    ).subquery("judged")
    enrolled = judged.c.reason.is_(None)
    return select(
        judged.c.id.label("customer_id"),
        case((enrolled, func.coalesce(judged.c.entry, 0) + 1), else_=null()).label("entry"),
        case((enrolled, judged.c.drawn_arm), else_=null()).label("arm"),
        judged.c.reason,
    )


def _may_not_re_enter(campaign: Campaign, before: FromClause, as_of: datetime) -> ColumnElement[Any]:
    """Why someone who was enrolled before may not enter again now; NULL: may."""
    in_progress = (before.c.next_step.is_not(None), because(Reason.IN_PROGRESS))
    if campaign.re_entry == "always":
        return case(in_progress, else_=null())
    if campaign.re_entry == "never":
        return case((before.c.id.is_not(None), because(Reason.ENROLLED_BEFORE)), else_=null())
    pause = campaign.re_entry.after
    occurred_at = select(runs.c.as_of).where(runs.c.id == before.c.run_id).scalar_subquery()
    too_soon = occurred_at > as_of - pause
    return case(in_progress, (too_soon, because(Reason.TOO_SOON)), else_=null())


def _drawn(draw: ColumnElement[int], share: float, secret: bytes, *salt: str) -> ColumnElement[bool]:
    if not share:
        return false()
    return draw_expression(draw, *coefficients(secret, *salt)) < threshold(share)


def _problems(source: FromClause, problems: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    return {kind: source.c[f"problem_{kind}"] for kind in problems}


def step_messages(
    plan: StepPlan, enrolled: FromClause, zones: Table | None, context: RuleContext, now: datetime
) -> Select[Any]:
    """What the step means for the enrolled: one row each, in the order of `MESSAGE_COLUMNS`.

    `enrolled` has enrollment_id, run_id, customer_id and enrolled_at. A row is `planned` with its channel
    and time, or `skipped` with the reason, in this order: has reached its end, the step's rule does not
    match, cannot be written to, kept back by the customer's own wish, capped.
    """
    campaign, step = plan.campaign, plan.step
    source: FromClause = enrolled.join(customers, customers.c.id == enrolled.c.customer_id).outerjoin(
        profiles, profiles.c.customer_id == customers.c.id
    )
    source, problems = join_contact(source, customers.c.id, plan.routes, campaign.purpose, now)
    preferred = ranks(plan.routes, customers.c.id, context.as_of) if plan.by_preference else {}
    found = (
        select(
            enrolled.c.enrollment_id,
            enrolled.c.run_id,
            enrolled.c.customer_id,
            customers.c.draw,
            zone_key().label("zone"),
            _reached_end(plan, enrolled, now).label("end"),
            _condition(step.if_, context).label("matches"),
            over_cap(customers.c.id, plan.cap, now).label("over_cap"),
            kept_back(customers.c.id, campaign.purpose, campaign.topic, now).label("kept_back"),
            *(problem.label(f"problem_{kind}") for kind, problem in problems.items()),
            *(rank.label(f"rank_{kind}") for kind, rank in preferred.items()),
        )
        .select_from(source)
        .cte("found")
        .prefix_with("MATERIALIZED")
    )
    usable = _problems(found, problems)
    reason = case(
        (found.c.end.is_not(None), found.c.end),
        (not_(found.c.matches), because(Reason.CONDITION)),
        (why_none(plan.routes, usable).is_not(None), why_none(plan.routes, usable)),
        (found.c.kept_back.is_not(None), found.c.kept_back),
        (found.c.over_cap, because(Reason.CAPPED)),
        else_=null(),
    )
    first = plan.routes[0]
    ranked = {kind: found.c[f"rank_{kind}"] for kind in preferred}
    chosen = picks(plan.routes, [usable[route.kind].is_(None) for route in plan.routes], ranked)
    joined: FromClause = found
    due_at: ColumnElement[Any] = literal(now, UtcTime)
    closes_at: ColumnElement[Any] = cast(null(), UtcTime)
    if zones is not None:
        joined = found.join(zones, zones.c.zone == found.c.zone)
        due_at, closes_at = zones.c.due_at, zones.c.closes_at
    return select(
        found.c.enrollment_id,
        found.c.run_id,
        found.c.customer_id,
        literal(step.id, Text).label("step"),
        func.coalesce(taken(chosen, "channel"), literal(first.channel)).label("channel"),
        func.coalesce(taken(chosen, "kind"), literal(first.kind)).label("kind"),
        literal(campaign.purpose, Text),
        _variant(plan, found.c.draw).label("variant"),
        why_taken(chosen, ranked).label("preference"),
        case((reason.is_(None), literal("planned")), else_=literal("skipped")).label("state"),
        reason.label("reason"),
        due_at.label("due_at"),
        closes_at,
    ).select_from(joined)


MESSAGE_COLUMNS = (
    "enrollment_id",
    "run_id",
    "customer_id",
    "step",
    "channel",
    "kind",
    "purpose",
    "variant",
    "preference",
    "state",
    "reason",
    "due_at",
    "closes_at",
)


def _condition(rule: Rule | None, context: RuleContext) -> ColumnElement[bool]:
    return literal(True, Boolean) if rule is None else compile_rule(rule, context)


def _reached_end(plan: StepPlan, enrolled: FromClause, now: datetime) -> ColumnElement[Any]:
    """Which of `exit_when` has happened since the enrollment; NULL: none."""
    campaign = plan.campaign
    ends: list[tuple[ColumnElement[bool], ColumnElement[str]]] = []
    if "converted" in campaign.exit_when and campaign.goal is not None:
        ends.append((exists().where(meets_goal(campaign.goal, enrolled, now)), because(Reason.CONVERTED)))
    if "unsubscribed" in campaign.exit_when:
        withdrawn = exists().where(
            consents.c.customer_id == enrolled.c.customer_id,
            consents.c.kind.in_(plan.kinds),
            consents.c.purpose == ("marketing" if campaign.purpose == CONFIRMATION else campaign.purpose),
            consents.c.granted.is_(False),
            consents.c.pending.is_(False),
            consents.c.recorded_at > enrolled.c.enrolled_at,
            consents.c.recorded_at <= now,
        )
        ends.append((withdrawn, because(Reason.UNSUBSCRIBED)))
    return case(*ends, else_=null()) if ends else null()


def _variant(plan: StepPlan, draw: ColumnElement[int]) -> ColumnElement[Any]:
    variants = plan.step.variants
    if not variants:
        return null()
    drawn = draw_expression(draw, *coefficients(plan.secret, "variant", plan.campaign.campaign, plan.step.id))
    ends = variant_thresholds({name: variant.weight for name, variant in variants.items()})
    return case(*((drawn < end, literal(name)) for name, end in ends))


# --- windows --------------------------------------------------------------------------------------


def zone_key() -> ColumnElement[str]:
    """What tells customers of different zones apart: their zone as written, and their country."""
    return func.coalesce(customers.c.timezone, "") + literal("|") + func.coalesce(customers.c.country, "")


# A table with a key, not VALUES: through those SQLite goes from start to end for every customer, and hundreds
# of zones made planning four times slower.
_zones = staging_table(
    "zones", Column("zone", Text, primary_key=True), Column("due_at", UtcTime), Column("closes_at", UtcTime)
)


def openings(connection: Connection, plan: StepPlan, enrolled: FromClause, now: datetime) -> Table | None:
    """For each zone among the enrolled, when its window is next open: zone, due_at, closes_at.

    Python computes them: SQLite knows no zones. They stand until the next ones, or the transaction's end.
    None: no window.
    """
    if plan.window is None:
        return None
    pairs = connection.execute(
        select(customers.c.timezone, customers.c.country)
        .distinct()
        .select_from(enrolled.join(customers, customers.c.id == enrolled.c.customer_id))
    ).all()
    return openings_of(connection, pairs, plan.window, plan.business_zone, now)


def openings_of(
    connection: Connection, pairs: Iterable[Any], window: DailyWindow, business_zone: str, now: datetime
) -> Table:
    """The table of `openings` for these (timezone, country) pairs."""
    rows = {}
    for timezone, country in pairs:
        opens_at, closes_at = _opening(window, timezone, country, business_zone, now)
        key = f"{timezone or ''}|{country or ''}"
        rows[key] = (key, to_microseconds(max(opens_at, now)), to_microseconds(closes_at))
    stage(connection, _zones, rows.values())
    return _zones


# Remembered: each slice of customers has much the same zones as the one before it.
@lru_cache(maxsize=1024)
def _opening(
    window: DailyWindow, timezone: str | None, country: str | None, business_zone: str, now: datetime
) -> tuple[datetime, datetime]:
    return opening(window, zone_of(timezone, country, business_zone), now)
