from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Table, insert

from holdfast.metrics.effects import verdict
from holdfast.metrics.engagement import PostEngagement
from holdfast.metrics.rates import Rate
from holdfast.store import aggregates
from holdfast.store.aggregates import ArmSums, KpiSums
from holdfast.store.database import Database
from holdfast.store.profiles import refresh_profiles
from holdfast.tables import (
    campaign_versions,
    conversions,
    customers,
    enrollments,
    messages,
    orders,
    posts,
    runs,
)

NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
ZONE = "Europe/Berlin"
MAY = 2026 * 12 + 4
DAY = timedelta(days=1)


def put(database: Database, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    with database.write() as connection:
        connection.execute(insert(table), list(rows))


def add_customers(database: Database, count: int) -> None:
    put(
        database,
        customers,
        (
            {"id": id_, "external_id": f"c{id_}", "draw": id_, "created_at": NOW, "updated_at": NOW}
            for id_ in range(1, count + 1)
        ),
    )


def add_runs(database: Database, *campaigns: str) -> None:
    """One run a campaign, with ids from 1."""
    for id_, campaign in enumerate(campaigns, start=1):
        version = {"id": id_, "campaign": campaign, "digest": "d", "source": "", "digests": {}}
        put(database, campaign_versions, [version | {"created_at": NOW}])
        run = {"id": id_, "campaign": campaign, "occurrence": "k", "state": "done", "version_id": id_}
        put(database, runs, [run | {"as_of": NOW, "created_at": NOW}])


def add_enrollment(database: Database, id_: int, **fields: Any) -> None:
    row = {"id": id_, "run_id": 1, "campaign": "winback", "customer_id": id_, "entry": 1, "arm": "treated"}
    put(database, enrollments, [row | {"enrolled_at": NOW} | fields])


def add_message(database: Database, enrollment_id: int, **fields: Any) -> None:
    row = {"enrollment_id": enrollment_id, "run_id": 1, "customer_id": enrollment_id, "step": "hello"}
    row |= {"channel": "email", "kind": "email", "purpose": "marketing", "state": "accepted", "due_at": NOW}
    put(database, messages, [row | fields])


@pytest.fixture
def winback(database: Database) -> Database:
    """Ten customers, and a run each of the campaigns winback (1) and thanks (2)."""
    add_customers(database, 10)
    add_runs(database, "winback", "thanks")
    return database


# --- arms -----------------------------------------------------------------------------------------


def test_arms_are_all_who_were_assigned_and_those_who_converted(winback: Database) -> None:
    for id_ in range(1, 8):
        add_enrollment(winback, id_, arm="holdout" if id_ > 5 else "treated")
    add_enrollment(winback, 8, entry=None, arm=None, reason="no_consent")
    add_enrollment(winback, 9, run_id=2, campaign="thanks")
    for id_, events, value in ((1, 1, 500), (2, 3, 9_000), (6, 1, 700), (9, 1, 100)):
        row = {"enrollment_id": id_, "converted_at": NOW, "events": events, "value": value}
        put(winback, conversions, [row])
    with winback.read() as connection:
        arms = aggregates.arms(connection, "winback")
    assert arms == {"treated": ArmSums(5, 2, 4, 9_500), "holdout": ArmSums(2, 1, 1, 700)}
    assert verdict(arms["treated"], arms["holdout"], 0.3, matured=True).uplift is not None


def test_who_still_has_time_to_convert_is_left_out(winback: Database) -> None:
    for id_, at in ((1, NOW - 2 * DAY), (2, NOW - DAY), (3, NOW)):
        add_enrollment(winback, id_, enrolled_at=at)
    with winback.read() as connection:
        arms = aggregates.arms(connection, "winback", NOW - DAY)
    assert arms == {"treated": ArmSums(2, 0, 0, 0), "holdout": ArmSums(0, 0, 0, 0)}


def test_customers_are_counted_once_by_their_first_entry(winback: Database) -> None:
    add_enrollment(winback, 1)
    add_enrollment(winback, 2, run_id=2, customer_id=1, entry=2)
    put(winback, conversions, [{"enrollment_id": 2, "converted_at": NOW, "events": 1, "value": 5}])
    with winback.read() as connection:
        assert aggregates.arms(connection, "winback")["treated"] == ArmSums(1, 0, 0, 0)


def test_variants_count_whom_they_were_drawn_for_sent_or_not(winback: Database) -> None:
    drawn = ("coupon", "coupon", "plain", "plain", "plain")
    for id_, variant in enumerate(drawn, start=1):
        add_enrollment(winback, id_, enrolled_at=NOW + (id_ == 5) * DAY)
        add_message(winback, id_, variant=variant, state="skipped" if id_ == 2 else "rejected")
    add_message(winback, 1, variant="coupon", rank=2, channel="telegram", kind="telegram")
    add_message(winback, 1, step="reminder", variant="short")
    put(winback, conversions, [{"enrollment_id": 1, "converted_at": NOW, "events": 2, "value": 5}])
    with winback.read() as connection:
        variants = aggregates.variants(connection, "winback", "hello", NOW)
    assert variants == {"coupon": ArmSums(2, 1, 2, 5), "plain": ArmSums(2, 0, 0, 0)}


# --- funnels --------------------------------------------------------------------------------------


def test_a_funnel_counts_each_message_once_people_and_machines_apart(winback: Database) -> None:
    for id_ in range(1, 9):
        add_enrollment(winback, id_)
    add_message(winback, 1, variant="b", delivered_at=NOW, opened_at=NOW, clicked_at=NOW)
    add_message(winback, 2, variant="b", delivered_at=NOW, machine_opened_at=NOW, opened_at=NOW)
    add_message(winback, 3, variant="b", clicked_at=NOW)  # its receipt is still to come
    add_message(winback, 4, variant="b", bounced_at=NOW)
    add_message(winback, 5, variant="b", state="skipped", reason="capped")
    add_message(winback, 6, variant="a", delivered_at=NOW, machine_clicked_at=NOW, unsubscribed_at=NOW)
    add_message(winback, 7, step="again", delivered_at=NOW, replied_at=NOW, complained_at=NOW)
    add_message(winback, 8, run_id=2, delivered_at=NOW)
    with winback.read() as connection:
        a, b, again = sorted(aggregates.funnel(connection, "winback"), key=lambda row: row.variant or "z")
    assert (b.step, b.variant, b.channel) == ("hello", "b", "email")
    assert (b.planned, b.accepted, b.delivered, b.bounced) == (5, 4, 3, 1)
    assert (b.opened, b.machine_opened, b.clicked, b.machine_clicked) == (2, 1, 2, 0)
    assert b.clicks_per_delivered == Rate(2, 3)
    assert (a.clicked, a.machine_clicked, a.unsubscribed, a.opened) == (0, 1, 1, 0)
    assert (again.step, again.variant, again.replied, again.complained) == ("again", None, 1, 1)


def test_a_channel_without_receipts_has_none_delivered(winback: Database) -> None:
    add_enrollment(winback, 1)
    add_message(winback, 1, clicked_at=NOW)
    with winback.read() as connection:
        [row] = aggregates.funnel(connection, "winback")
    assert (row.delivered, row.clicks_per_delivered, row.clicks_per_accepted) == (0, Rate(0, 0), Rate(1, 1))


def test_engagement_is_of_messages_sent_in_the_period_by_channel(winback: Database) -> None:
    for id_, at in ((1, NOW - DAY), (2, NOW), (3, NOW + DAY - timedelta(microseconds=1)), (4, NOW + DAY)):
        add_enrollment(winback, id_)
        channel = "email" if id_ % 2 else "telegram"
        add_message(winback, id_, channel=channel, sent_at=at, delivered_at=at, opened_at=at)
    with winback.read() as connection:
        found = aggregates.engagement(connection, NOW, NOW + DAY)
    assert {channel: funnel.opens_per_delivered for channel, funnel in found.items()} == {
        "email": Rate(1, 1),
        "telegram": Rate(1, 1),
    }


def test_numbers_of_posts_are_summed_by_channel(winback: Database) -> None:
    rows = (
        ("first", "x", 1, "accepted", NOW, 1_000, 20),
        ("second", "x", 1, "accepted", NOW + DAY, 500, None),
        ("third", "x", 1, "in_doubt", NOW, 9, 9),
        ("first", "mastodon", 1, "accepted", NOW, None, 3),
        ("first", "x", 2, "accepted", NOW, 7, 7),
    )
    names = ("step", "channel", "run_id", "state", "sent_at", "impressions", "likes")
    for row in rows:
        put(winback, posts, [dict(zip(names, row, strict=True)) | {"kind": "x", "due_at": NOW}])
    with winback.read() as connection:
        of_campaign = aggregates.campaign_posts(connection, "winback")
        of_period = aggregates.post_engagement(connection, NOW, NOW + DAY)
    assert of_campaign == {
        "mastodon": PostEngagement(posts=1, likes=3),
        "x": PostEngagement(posts=2, impressions=1_500, likes=20),
    }
    assert of_period["x"] == PostEngagement(posts=2, impressions=1_007, likes=27)
    assert of_campaign["mastodon"].engagements_per_impression is None


# --- months ---------------------------------------------------------------------------------------


def add_orders(database: Database, placed: Iterable[tuple[int, datetime, int, bool]]) -> None:
    put(
        database,
        orders,
        (
            {
                "external_id": f"o{number}",
                "customer_id": customer,
                "ordered_at": at,
                "month": 0,
                "total": total,
                "currency": "EUR",
                "status": "completed",
                "qualifying": qualifying,
            }
            for number, (customer, at, total, qualifying) in enumerate(placed)
        ),
    )
    with database.write() as connection:
        refresh_profiles(connection)


def month_of(database: Database, month: int = MAY, as_of: datetime = NOW, **options: Any) -> KpiSums:
    with database.read() as connection:
        return aggregates.kpis(connection, month, ZONE, as_of, **options)


def test_a_month_begins_and_ends_at_midnight_in_the_business_zone() -> None:
    berlin = ZoneInfo(ZONE)
    # Clocks go forward on 29 March 2026: the month has 743 hours.
    since, until = aggregates.month_bounds(2026 * 12 + 2, ZONE)
    assert (since, until) == (datetime(2026, 3, 1, tzinfo=berlin), datetime(2026, 4, 1, tzinfo=berlin))
    assert (until - since, since.tzinfo) == (timedelta(hours=743), UTC)
    assert aggregates.month_bounds(2026 * 12 + 11, "UTC")[1] == datetime(2027, 1, 1, tzinfo=UTC)


def test_orders_of_any_hour_give_what_a_computation_by_hand_gives(database: Database) -> None:
    chance = random.Random(7)  # noqa: S311
    since, until = aggregates.month_bounds(MAY, ZONE)
    edges = (since, until, since - aggregates.YEAR, until - aggregates.YEAR, until - aggregates.SOON)
    placed = [
        (
            1 + chance.randrange(200),
            # Many just at, before or after a bound of some period.
            chance.choice(edges) + chance.randint(-1, 1) * timedelta(microseconds=1)
            if chance.random() < 0.3
            else until - timedelta(seconds=chance.randrange(900 * 86_400)),
            chance.randrange(100, 20_000),
            chance.random() < 0.9,
        )
        for _ in range(700)
    ]
    add_customers(database, 200)
    add_orders(database, placed)
    own: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
    for customer, at, total, qualifying in sorted(placed, key=lambda order: order[1]):
        if qualifying and at < until:
            own[customer].append((at, total))

    def bought(start: datetime, end: datetime) -> set[int]:
        return {customer for customer, theirs in own.items() if any(start <= at < end for at, _ in theirs)}

    active_at_start, active_at_end = (
        bought(since - aggregates.YEAR, since),
        bought(until - aggregates.YEAR, until),
    )
    ever_before = bought(datetime.min.replace(tzinfo=UTC), since)
    month = [(customer, at, total) for customer, theirs in own.items() for at, total in theirs if since <= at]
    year = [total for theirs in own.values() for at, total in theirs if until - aggregates.YEAR <= at]
    observed = [
        [at for at, _ in theirs]
        for theirs in own.values()
        if until - aggregates.YEAR <= theirs[0][0] <= until - aggregates.SOON
    ]
    buyers = {customer for customer, _, _ in month}

    found = month_of(database)
    assert (found.since, found.until) == (since, until)
    retention, sales, window = found.retention, found.sales, found.repurchase
    assert retention.active_at_start == len(active_at_start)
    assert retention.active_at_end == len(active_at_end)
    assert retention.crr == Rate(len(active_at_start & active_at_end), len(active_at_start))
    assert retention.new == len(active_at_end - ever_before)
    assert retention.reactivated == len((active_at_end & ever_before) - active_at_start)
    assert (sales.orders, sales.revenue) == (len(month), sum(total for _, _, total in month))
    assert sales.median == median(total for _, _, total in month)
    assert sales.returning_share == Rate(len(buyers & ever_before), len(buyers))
    assert sales.repeat_orders == sum(since <= at for theirs in own.values() for at, _ in theirs[1:])
    assert (window.orders, window.revenue) == (len(year), sum(year))
    repeat = sum(sum(until - aggregates.YEAR <= at for at, _ in theirs) >= 2 for theirs in own.values())
    assert window.rpr == Rate(repeat, len(active_at_end))
    second = sum(len(times) > 1 and times[1] < times[0] + aggregates.SOON for times in observed)
    assert window.second_order_rate == Rate(second, len(observed))
    assert min(retention.new, retention.reactivated, second, sales.repeat_orders) > 0


def test_a_month_that_is_not_over_ends_now(database: Database) -> None:
    since, until = aggregates.month_bounds(MAY, ZONE)
    add_customers(database, 3)
    add_orders(database, [(1, since, 100, True), (2, since + DAY, 300, True), (3, until, 900, True)])
    found = month_of(database, as_of=since + DAY)
    assert (found.until, found.sales.orders, found.retention.new) == (since + DAY, 1, 1)
    assert month_of(database, as_of=until + DAY).sales.median == 200


def test_a_longer_window_keeps_more_customers_active(database: Database) -> None:
    since, _ = aggregates.month_bounds(MAY, ZONE)
    add_customers(database, 1)
    add_orders(database, [(1, since - 400 * DAY, 100, True)])
    assert month_of(database).retention.active_at_start == 0
    assert month_of(database, window=500 * DAY).retention.crr == Rate(1, 1)


def test_a_month_without_orders_is_undefined_not_0(database: Database) -> None:
    for month in (MAY, MAY + 600):
        empty = month_of(database, month)
        assert (empty.retention.crr.value, empty.sales.aov, empty.sales.median) == (None, None, None)
        assert (empty.repurchase.rpr.value, empty.sales.returning_share.value) == (None, None)
