from __future__ import annotations

from dataclasses import replace

from holdfast.metrics.engagement import Funnel, PostEngagement
from holdfast.metrics.rates import Rate

FUNNEL = Funnel(
    planned=1_000,
    accepted=900,
    delivered=880,
    bounced=20,
    opened=300,
    machine_opened=500,
    clicked=60,
    machine_clicked=90,
    replied=5,
    unsubscribed=4,
    complained=1,
    answered=12,
)


def test_rates_are_of_people_or_of_machines_over_what_their_names_say() -> None:
    assert FUNNEL.clicks_per_delivered == Rate(60, 880)
    assert FUNNEL.machine_clicks_per_delivered == Rate(90, 880)
    assert FUNNEL.opens_per_delivered == Rate(300, 880)
    assert FUNNEL.machine_opens_per_delivered == Rate(500, 880)
    assert FUNNEL.clicks_per_open == Rate(60, 300)
    assert FUNNEL.clicks_per_accepted == Rate(60, 900)
    assert FUNNEL.delivered_per_accepted == Rate(880, 900)
    assert FUNNEL.bounces_per_accepted == Rate(20, 900)
    assert FUNNEL.replies_per_delivered == Rate(5, 880)
    assert FUNNEL.unsubscribes_per_delivered == Rate(4, 880)
    assert FUNNEL.complaints_per_delivered == Rate(1, 880)
    assert FUNNEL.answers_per_delivered == Rate(12, 880)


def test_without_receipts_rates_over_the_delivered_are_undefined() -> None:
    without = replace(FUNNEL, delivered=0)
    assert without.clicks_per_delivered == Rate(0, 0)
    assert without.clicks_per_accepted == Rate(60, 900)


def test_more_clicks_than_opens_have_no_rate() -> None:
    # Images are often not loaded: the opens are not the whole of which the clicks would be a part.
    assert replace(FUNNEL, opened=50).clicks_per_open == Rate(0, 0)


def test_engagement_with_posts_is_over_impressions() -> None:
    post = PostEngagement(posts=2, impressions=400, likes=10, replies=3, reposts=2, clicks=5)
    assert post.engagements_per_impression == 0.05
    assert replace(post, impressions=0).engagements_per_impression is None
