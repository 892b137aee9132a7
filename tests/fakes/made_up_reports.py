"""Reports with made-up numbers, as a shop of some thousand customers could have them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from holdfast.campaign.models import Goal
from holdfast.metrics.attribution import Attributed
from holdfast.metrics.complaints import Care, lasting
from holdfast.metrics.effects import verdict
from holdfast.metrics.engagement import Funnel, PostEngagement
from holdfast.metrics.incremental import Extra
from holdfast.metrics.referral import Referral
from holdfast.metrics.retention import Retention
from holdfast.metrics.revenue import Repurchase, Sales
from holdfast.metrics.surveys import Wave
from holdfast.report.campaigns import CampaignReport, RunResult, StepFunnel
from holdfast.report.kpis import KpiSheet, MonthKpis
from holdfast.report.orders import OrderResults
from holdfast.report.surveys import StepSurvey
from holdfast.store.aggregates import ArmSums, KpiSums, Latest, month_bounds
from holdfast.surveys import Survey

ZONE = ZoneInfo("Europe/Berlin")
AS_OF = datetime(2026, 11, 9, 9, 0, tzinfo=ZONE)
OCTOBER = 2026 * 12 + 9


def campaign(**fields: Any) -> CampaignReport:
    """The report of a campaign with three runs, the last one's customers still in their window."""
    arms = {"treated": ArmSums(2214, 276, 301, 1_645_200), "holdout": ArmSums(246, 18, 19, 101_150)}
    halves = {
        "treated": [ArmSums(1107, 140, 152, 831_000), ArmSums(1107, 136, 149, 814_200)],
        "holdout": [ArmSums(123, 8, 9, 50_650), ArmSums(123, 10, 10, 50_500)],
    }
    made_up: dict[str, Any] = {
        "name": "winback",
        "description": "Bring back customers who have gone quiet, before they forget us.",
        "owner": "crm@acme.example",
        "brand": "Acme",
        "currency": "EUR",
        "as_of": AS_OF,
        "data": Latest(AS_OF, AS_OF - timedelta(hours=2), AS_OF - timedelta(minutes=3)),
        "goal": Goal(event="order", within=timedelta(days=14)),
        "holdout_share": 0.1,
        "verdict": verdict(arms["treated"], arms["holdout"], 0.1, True),
        "assigned": 3690,
        "matures_at": AS_OF + timedelta(days=10),
        "arms": arms,
        "funnels": [
            StepFunnel(
                "hello",
                "email",
                {
                    "coupon": funnel(1660, clicked=214, machine_clicked=61),
                    "plain": funnel(1661, clicked=131, machine_clicked=58),
                },
            ),
            StepFunnel("reminder", "email", {"": funnel(2480, clicked=118, machine_clicked=40)}),
        ],
        "orders": OrderResults(
            Attributed(orders=274, revenue=1_502_300, after_click=231),
            Extra(130.2, 22.9, 237.4),
            Extra(734_850, 118_300, 1_351_400),
        ),
        "variants": {
            "coupon": ArmSums(1104, 151, 166, 872_000),
            "plain": ArmSums(1110, 125, 135, 773_200),
        },
        "surveys": [],
        "posts": {
            "x": PostEngagement(posts=3, impressions=18_204, likes=311, replies=24, reposts=58, clicks=402)
        },
        "runs": [
            RunResult(
                f"2026-10-{date:02}T07:00:00Z",
                "done",
                datetime(2026, 10, date, 9, 0, tzinfo=ZONE),
                1230,
                {arm: parts[number] for arm, parts in halves.items()} if number < 2 else {},
            )
            for number, date in enumerate((5, 12, 26))
        ],
    }
    return CampaignReport(**(made_up | fields))


def funnel(planned: int, clicked: int, machine_clicked: int, receipts: bool = True) -> Funnel:
    """Messages of which most arrive."""
    accepted = planned - 12
    return Funnel(
        planned=planned,
        accepted=accepted,
        delivered=accepted - 31 if receipts else 0,
        bounced=31,
        opened=planned * 2 // 5,
        machine_opened=planned // 6,
        clicked=clicked,
        machine_clicked=machine_clicked,
        replied=0,
        unsubscribed=9,
        complained=1,
        answered=0,
    )


def care(hours: Sequence[float] = ()) -> Care:
    """Of cases that were answered after so many hours, closed after twice as many; and one that was not."""
    answered = [*(3600 * each for each in hours), 200 * 3600.0] if hours else []
    over = [*([True] * len(hours)), False] if hours else []
    return Care(
        opened=len(answered),
        still_open=len(answered) - len(hours),
        first_answer=lasting(answered, over),
        resolution=lasting([2 * each for each in answered], over),
        closed=len(hours),
        reopened=len(hours) // 3,
    )


def kpi_sheet(**fields: Any) -> KpiSheet:
    """October 2026, of a shop that slowly keeps more; nobody could stay through its first month."""
    made_up: dict[str, Any] = {
        "brand": "Acme",
        "currency": "EUR",
        "as_of": AS_OF,
        "complete": True,
        "months": [
            MonthKpis(OCTOBER - 12 + number, _sums(OCTOBER - 12 + number, number)) for number in range(13)
        ],
        "engagement": {"email": funnel(5801, clicked=463, machine_clicked=159)},
        "posts": {},
        "care": care(),
        "referral": Referral(customers=9_000, visits=0, inviters=0, came=0, ordered=0),
    }
    return KpiSheet(**(made_up | fields))


def _sums(month: int, number: int) -> KpiSums:
    since, until = month_bounds(month, ZONE.key)
    active, orders = 320 * number, 400 + 35 * number
    return KpiSums(
        since=since,
        until=until,
        retention=Retention(
            active_at_start=active, kept=active * (88 + number % 5) // 100, new=210, reactivated=37
        ),
        sales=Sales(
            orders=orders,
            revenue=orders * (5_400 + 60 * (number % 4)),
            median=4_910.0,
            buyers=orders - 30,
            repeat_orders=orders // 2,
            returning=orders // 3,
        ),
        repurchase=Repurchase(
            buyers=900 + 200 * number,
            repeat_buyers=(900 + 200 * number) * (28 + number) // 100,
            orders=1_900 + 420 * number,
            revenue=(1_900 + 420 * number) * 5_500,
            observed=700 + 90 * number,
            second_orders=200 + 30 * number,
        ),
    )


def survey(which: Survey = "nps") -> StepSurvey:
    """A survey of two runs, the second one still coming in."""
    answers = {"nps": {10: 61, 9: 40, 8: 29, 7: 12, 6: 7, 3: 2, 0: 4}, "csat": {5: 60, 4: 41, 3: 12, 1: 7}}
    waves = [Wave(which, 610, sum(answers[which].values()), answers[which]), Wave(which, 580, 0, {})]
    total = Wave(which, 1190, waves[0].answered, answers[which])
    return StepSurvey(
        "ask", which, total, [("2026-10-05T07:00:00Z", waves[0]), ("2026-10-12T07:00:00Z", waves[1])]
    )
