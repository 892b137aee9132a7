"""The KPI sheet of a month: who stayed, who came again, what they spent, what messages did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Literal
from zoneinfo import ZoneInfo

from holdfast.delivery.workspace import Workspace
from holdfast.errors import RunError
from holdfast.metrics.attribution import Attributed
from holdfast.metrics.complaints import Care
from holdfast.metrics.engagement import Funnel, PostEngagement
from holdfast.metrics.rates import Rate
from holdfast.metrics.referral import Referral
from holdfast.metrics.revenue import clv
from holdfast.metrics.surveys import Csat, Nps, Wave, csat, nps
from holdfast.report import complaints
from holdfast.report.formats import count, mean, money, month_name, percent, score
from holdfast.report.plots import Curve
from holdfast.store import aggregates, attribution, complaint_care, referrals, surveys
from holdfast.store.aggregates import KpiSums
from holdfast.surveys import Survey

MONTHS_BEFORE = 12
CLV_YEARS = 3


@dataclass(frozen=True, slots=True)
class MonthKpis:
    """One month (year * 12 + month - 1) in numbers. Money is minor units. `surveys` are those asked."""

    month: int
    sums: KpiSums
    surveys: Mapping[Survey, Wave] = field(default_factory=dict)
    attributed: Attributed = field(default_factory=lambda: Attributed(orders=0, revenue=0, after_click=0))

    @property
    def name(self) -> str:
        """`October 2026`."""
        return month_name(self.month)

    @property
    def short_name(self) -> str:
        """`Oct 2026`."""
        return f"{self.name[:3]} {self.name[-4:]}"

    @property
    def clv(self) -> float | None:
        """Historical customer lifetime value: a buyer of the last year, carried on for CLV_YEARS years."""
        bought = self.sums.repurchase
        return clv(bought.aov, bought.orders_per_buyer, CLV_YEARS)

    @property
    def nps(self) -> Nps:
        """Of the customers who answered in the month, by their latest answer in it."""
        return nps(self.surveys["nps"].answers if "nps" in self.surveys else {})

    @property
    def csat(self) -> Csat:
        """The same of satisfaction."""
        return csat(self.surveys["csat"].answers if "csat" in self.surveys else {})

    def response_rate(self, survey: Survey) -> Rate:
        """Of the messages sent in the month that asked it, and were delivered: those that were answered."""
        return self.surveys[survey].answers_per_delivered if survey in self.surveys else Rate(0, 0)


@dataclass(frozen=True, slots=True)
class Kpi:
    """One line of the sheet: its names, its definition in words, and its value of a month in a form."""

    key: str
    name: str
    meaning: str
    of: Callable[[MonthKpis], Rate | Nps | float | None]
    form: Literal["rate", "fraction", "count", "money", "score", "mean"] = "rate"

    def shown(self, month: MonthKpis, currency: str) -> str:
        """The value as people read it, without its interval."""
        value = self.of(month)
        if isinstance(value, Rate):
            return percent(value.value)
        if isinstance(value, Nps):
            return score(value.score)
        if self.form == "mean":
            return mean(value)
        if self.form == "money":
            return money(value, currency)
        return count(value) if self.form == "count" else percent(value)


SURVEYS = "What they said"
KPIS: Mapping[str, Sequence[Kpi]] = {
    "Who stayed": (
        Kpi(
            "crr",
            "Retention (CRR)",
            "active at the start who still are at the end",
            attrgetter("sums.retention.crr"),
        ),
        Kpi(
            "churn",
            "Churn (CCR)",
            "active at the start who no longer are",
            attrgetter("sums.retention.churn"),
        ),
        Kpi(
            "crr_textbook",
            "CRR, textbook",
            "(E − N) / S: counts the reactivated as kept",
            attrgetter("sums.retention.textbook_crr"),
            "fraction",
        ),
        Kpi(
            "reactivated",
            "Reactivated",
            "active at the end, not at the start, not new",
            attrgetter("sums.retention.reactivated"),
            "count",
        ),
        Kpi("new", "New", "first ordered in the month", attrgetter("sums.retention.new"), "count"),
    ),
    "Who came again": (
        Kpi(
            "rpr",
            "Repeat purchase (RPR)",
            "two orders or more in 365 days, of who had one",
            attrgetter("sums.repurchase.rpr"),
        ),
        Kpi(
            "second_order_rate",
            "Second order soon",
            "within 90 days of the first, of who were observed so long",
            attrgetter("sums.repurchase.second_order_rate"),
        ),
        Kpi(
            "returning_share",
            "Returning share",
            "bought in the month and before it, of who bought",
            attrgetter("sums.sales.returning_share"),
        ),
        Kpi(
            "repeat_orders_per_order",
            "Repeat orders",
            "not their customer’s first, of the month’s",
            attrgetter("sums.sales.repeat_orders_per_order"),
        ),
    ),
    "What they spent": (
        Kpi("aov", "Average order (AOV)", "revenue / orders", attrgetter("sums.sales.aov"), "money"),
        Kpi(
            "median_order",
            "Median order",
            "half of the orders were larger",
            attrgetter("sums.sales.median"),
            "money",
        ),
        Kpi("orders", "Orders", "not cancelled, test or refunded", attrgetter("sums.sales.orders"), "count"),
        Kpi(
            "revenue", "Revenue", "of these orders, net of refunds", attrgetter("sums.sales.revenue"), "money"
        ),
        Kpi(
            "attributed_revenue",
            "Attributed revenue",
            "of these orders, those after a message that was opened or clicked; not what messages brought",
            attrgetter("attributed.revenue"),
            "money",
        ),
        Kpi(
            "historical_clv",
            "Historical CLV",
            f"AOV × orders a year × {CLV_YEARS} years, by the last 365 days; no prediction",
            attrgetter("clv"),
            "money",
        ),
    ),
    SURVEYS: (
        Kpi(
            "nps",
            "NPS",
            "promoters (9, 10) less detractors (0 to 6), of 100: points from −100 to 100",
            attrgetter("nps"),
            "score",
        ),
        Kpi(
            "nps_answers_per_delivered",
            "NPS, answered",
            "of the month’s messages that asked, and arrived",
            lambda month: month.response_rate("nps"),
        ),
        Kpi("csat", "CSAT", "4 or 5 on the scale from 1 to 5", attrgetter("csat.satisfied_per_answer")),
        Kpi("csat_mean", "CSAT, mean", "of the answers, from 1 to 5", attrgetter("csat.mean"), "mean"),
        Kpi(
            "csat_answers_per_delivered",
            "CSAT, answered",
            "of the month’s messages that asked, and arrived",
            lambda month: month.response_rate("csat"),
        ),
    ),
}


HEADLINES = [
    kpi
    for kpis in KPIS.values()
    for kpi in kpis
    if kpi.key in ("crr", "rpr", "returning_share", "aov", "orders")
]
"""The lines that are shown for each month."""


@dataclass(frozen=True, slots=True)
class KpiSheet:
    """A month's KPIs, with the twelve months before it; `months` ends with the sheet's own.

    Months are in the zone of `as_of`, the business's. `engagement` is of messages sent in the month, `posts`
    of posts published in it, by channel; `care` is of cases opened in it, and `referral` of what came of
    invitations. `complete`: the month was over at `as_of`.
    """

    brand: str
    currency: str
    as_of: datetime
    complete: bool
    months: Sequence[MonthKpis]
    engagement: Mapping[str, Funnel]
    posts: Mapping[str, PostEngagement]
    care: Care
    referral: Referral

    @property
    def month(self) -> MonthKpis:
        """The sheet's month."""
        return self.months[-1]

    @property
    def kpis(self) -> Mapping[str, Sequence[Kpi]]:
        """The lines to show: those of surveys where one was asked."""
        asked = {survey for month in self.months for survey in month.surveys}
        said = [kpi for kpi in KPIS[SURVEYS] if kpi.key.partition("_")[0] in asked]
        return {title: lines for title, lines in {**KPIS, SURVEYS: said}.items() if lines}

    @property
    def care_lines(self) -> list[tuple[str, str, str]]:
        """Name, value and meaning of each line about complaints."""
        return complaints.lines(self.care)

    @property
    def curves(self) -> list[Curve]:
        """What to plot: CRR, RPR and AOV over the months."""
        orders = [month.sums.sales.aov for month in self.months]
        return [
            self._rates("Retention (CRR)", lambda sums: sums.retention.crr),
            self._rates("Repeat purchase (RPR)", lambda sums: sums.repurchase.rpr),
            Curve("Average order (AOV)", self._names, orders, money(orders[-1], self.currency)),
        ]

    @property
    def _names(self) -> list[str]:
        return [month.short_name for month in self.months]

    def _rates(self, title: str, rate: Callable[[KpiSums], Rate]) -> Curve:
        rates = [rate(month.sums) for month in self.months]
        values = [rate.value for rate in rates]
        lows, highs = [rate.low for rate in rates], [rate.high for rate in rates]
        return Curve(title, self._names, values, percent(values[-1]), lows, highs)


def kpi_sheet(ws: Workspace, month: int, now: datetime) -> KpiSheet:
    """The KPIs of a month (year * 12 + month - 1) in the business's zone, as far as it goes by `now`.

    Raises RunError for a month that has not begun.
    """
    business = ws.project.business
    since, until = aggregates.month_bounds(month, business.timezone)
    if since > now:
        raise RunError(f"{month_name(month)} has not begun", hint="ask for an earlier month")
    numbers = range(month - MONTHS_BEFORE, month + 1)
    asked = {
        (name, step.id): step.survey
        for name, source in ws.sources.items()
        for step in source.campaign.sends
        if step.survey
    }
    with ws.database.read() as connection:
        sums = [aggregates.kpis(connection, number, business.timezone, now) for number in numbers]
        waves = surveys.monthly_waves(connection, [(each.since, each.until) for each in sums], asked)
        attributed = [attribution.of_period(connection, each.since, each.until) for each in sums]
        months = [MonthKpis(*each) for each in zip(numbers, sums, waves, attributed, strict=True)]
        engagement = aggregates.engagement(connection, since, until)
        posts = aggregates.post_engagement(connection, since, until)
        care = complaint_care.care(connection, since, min(until, now), now)
        customers = months[-1].sums.retention.active_at_end
        referral = referrals.results(connection, since, until, customers)
    return KpiSheet(
        brand=ws.project.brand.name,
        currency=business.currency,
        as_of=now.astimezone(ZoneInfo(business.timezone)),
        complete=until <= now,
        months=months,
        engagement=engagement,
        posts=posts,
        care=care,
        referral=referral,
    )


def month_before(ws: Workspace, now: datetime) -> int:
    """The last month that is over at `now`, in the business's zone."""
    local = now.astimezone(ZoneInfo(ws.project.business.timezone))
    return local.year * 12 + local.month - 2
