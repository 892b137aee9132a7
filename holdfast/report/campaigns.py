"""What a campaign achieved: its verdict, what that rests on, and how far its messages and posts came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from holdfast.campaign.models import Campaign, Goal
from holdfast.delivery.workspace import Workspace
from holdfast.metrics.effects import Arm, Interval, Verdict, newcombe, verdict
from holdfast.metrics.engagement import Funnel, PostEngagement
from holdfast.metrics.rates import Rate
from holdfast.report.formats import count, moment, percent
from holdfast.report.orders import OrderResults, order_results
from holdfast.report.plots import Bar, Effect
from holdfast.report.surveys import StepSurvey
from holdfast.store import aggregates, attribution, runs, surveys
from holdfast.store.aggregates import ArmSums, FunnelCounts, Latest
from holdfast.store.runs import Run
from holdfast.store.surveys import StepWaves

_PLOTTED = 12  # runs, the latest
_NOBODY = ArmSums(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class StepFunnel:
    """How far a step's messages came on one channel, by variant; without variants, by ''."""

    step: str
    channel: str
    variants: Mapping[str, Funnel]

    @property
    def bars(self) -> list[Bar]:
        """The stages to plot, all variants together."""
        stages = ("planned", "accepted", "delivered", "opened", "clicked")
        machines = {"opened": self.total("machine_opened"), "clicked": self.total("machine_clicked")}
        return [Bar(stage, self.total(stage), machines.get(stage, 0)) for stage in stages]

    def total(self, stage: str) -> int:
        """Messages of all variants that came to this stage, by the name of `Funnel`'s field."""
        return sum(getattr(funnel, stage) for funnel in self.variants.values())


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run: how many it enrolled for the first time, and those of them whose window is over, by arm."""

    occurrence: str
    state: str
    as_of: datetime
    assigned: int
    arms: Mapping[str, ArmSums]

    @property
    def matured(self) -> int:
        """Enrolled customers whose window is over."""
        return sum(arm.assigned for arm in self.arms.values())

    @property
    def uplift(self) -> Interval | None:
        """Treated minus holdout; None while one of them is empty."""
        return newcombe(*_rates(self.arms))


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """What a campaign achieved over all its runs, as of a moment. Times are in the business's zone.

    Customers count by their first entry. `verdict` is None without a goal. `arms` and `variants` (the first
    step's) are of customers whose window is over: the verdict's. `assigned` are all that were enrolled; the
    last of them is past the window at `matures_at`. `holdout_share` is what their runs were to hold out of
    them, of all together. `surveys` are those that customers were asked; `posts` are by channel. `data` says
    how far it all goes.
    """

    name: str
    description: str
    owner: str
    brand: str
    currency: str
    as_of: datetime
    data: Latest
    goal: Goal | None
    holdout_share: float
    verdict: Verdict | None
    assigned: int
    matures_at: datetime | None
    arms: Mapping[str, ArmSums]
    funnels: Sequence[StepFunnel]
    variants: Mapping[str, ArmSums]
    orders: OrderResults
    surveys: Sequence[StepSurvey]
    posts: Mapping[str, PostEngagement]
    runs: Sequence[RunResult]

    @property
    def matured(self) -> int:
        """Enrolled customers whose window is over."""
        return sum(arm.assigned for arm in self.arms.values())

    @property
    def effects(self) -> list[Effect]:
        """What to plot: the verdict's, then the latest runs', if there are several. No verdict, no plot."""
        if self.verdict is None or self.verdict.uplift is None:
            return []
        found = [Effect("all runs", *_rates(self.arms), self.verdict.uplift)]
        if len(self.runs) > 1:
            compared = [(run, uplift) for run in self.runs if (uplift := run.uplift)][-_PLOTTED:]
            found += [Effect(f"{run.as_of:%Y-%m-%d}", *_rates(run.arms), up) for run, up in compared]
        return found

    @property
    def headline(self) -> str:
        """The verdict as a sentence; of a campaign without a goal what its surveys came to."""
        if self.verdict is None and self._answered:
            return ", ".join(survey.sentence for survey in self._answered)
        if self.verdict is None:
            return "No goal: the campaign does not say what it is for, so its effect is not measured"
        return self.verdict.sentence[:1].upper() + self.verdict.sentence[1:]

    @property
    def meaning(self) -> str:
        """What the effect comes to in customers; '' where there is none to speak of."""
        if self.verdict is None or self.verdict.uplift is None or not self.verdict.uplift.excludes_zero:
            return ""
        uplift, treated = self.verdict.uplift, self.arms["treated"].assigned
        customers = [
            round(abs(share) * treated)
            for share in (uplift.difference, *sorted((uplift.low, uplift.high), key=abs))
        ]
        what = "would not have without it" if uplift.difference > 0 else "would have without it"
        converted = "converted who" if uplift.difference > 0 else "did not convert who"
        about, least, most = map(count, customers)
        return (
            f"Of {count(treated)} treated customers, about {about} {converted} {what}: "
            f"{least} to {most}, with 95% confidence."
        )

    @property
    def basis(self) -> str:
        """Whom the verdict is over, and who is still to come."""
        if self.goal is None and self._answered:
            customers = sum(sum(survey.total.answers.values()) for survey in self._answered)
            rates = ", ".join(percent(survey.total.answers_per_delivered.value) for survey in self._answered)
            return f"By {count(customers)} customers who answered: {rates} of the messages that arrived."
        if self.goal is None:
            return "Give it a goal (goal: {event: order, within: 14d}) and a holdout to know what it changes."
        waiting, until = self.assigned - self.matured, moment(self.matures_at)
        if not self.assigned:
            return "Nobody is enrolled yet."
        if not self.matured:
            return f"All {count(waiting)} customers enrolled are still in their window, until {until}."
        if not waiting:
            return f"Over all {count(self.assigned)} customers enrolled; everyone’s window is over."
        return (
            f"Over {count(self.matured)} customers whose window is over. "
            f"{count(waiting)} are still in theirs, until {until}, and do not count yet."
        )

    @property
    def _answered(self) -> list[StepSurvey]:
        return [survey for survey in self.surveys if survey.total.answers]


def campaign_report(ws: Workspace, name: str, now: datetime) -> CampaignReport:
    """What the campaign achieved, as of `now`. Raises RunError for a campaign that the project has not."""
    campaign, zone = ws.campaign(name), ZoneInfo(ws.project.business.timezone)
    within = campaign.goal.within if campaign.goal else timedelta(0)
    with ws.database.read() as connection:
        found = runs.list_runs(connection, name)
        enrolled = aggregates.run_arms(connection, name, now)
        # Without a goal nobody converts, and there is nothing to compare.
        matured = aggregates.run_arms(connection, name, now - within) if campaign.goal else {}
        arms = aggregates.arms(connection, name, now - within) if campaign.goal else {}
        data = aggregates.latest(connection, name, now)
        counted = aggregates.funnel(connection, name)
        attributed = attribution.of_campaign(connection, name, now)
        of_orders = campaign.goal is not None and campaign.goal.event == "order"
        spend = aggregates.run_spend(connection, name, now - within) if of_orders else {}
        variants = aggregates.variants(connection, name, campaign.sends[0].id, now - within)
        posts = aggregates.campaign_posts(connection, name)
        asked = {step.id: step.survey for step in campaign.sends if step.survey}
        surveyed = surveys.campaign_waves(connection, name, asked)
    share = ws.entry_plan(campaign).holdout if campaign.is_marketing else 0.0
    share = _share(found, matured, _share(found, enrolled, share))
    said = _verdict(arms, share, _by_share(found, matured)) if campaign.goal else None
    comparable = said is not None and said.uplift is not None
    return CampaignReport(
        name=name,
        description=campaign.description,
        owner=campaign.owner,
        brand=ws.project.brand.name,
        currency=ws.project.business.currency,
        as_of=now.astimezone(zone),
        data=Latest(*(at and at.astimezone(zone) for at in (data.enrolled, data.ordered, data.answered))),
        goal=campaign.goal,
        holdout_share=share,
        verdict=said,
        assigned=sum(sums.assigned for by_arm in enrolled.values() for sums in by_arm.values()),
        matures_at=data.enrolled and (data.enrolled + within).astimezone(zone),
        arms=arms,
        funnels=_funnels(campaign, counted),
        variants=variants,
        orders=order_results(attributed, found, spend if comparable else {}),
        surveys=_surveys(surveyed, found),
        posts=posts,
        runs=[
            RunResult(
                occurrence=run.occurrence,
                state=run.state,
                as_of=run.as_of.astimezone(zone),
                assigned=sum(sums.assigned for sums in enrolled.get(run.id, {}).values()),
                arms=matured.get(run.id, {}),
            )
            for run in found
        ],
    )


def campaigns_with_runs(ws: Workspace) -> list[str]:
    """The project's campaigns that ran, by name."""
    with ws.database.read() as connection:
        return sorted({run.campaign for run in runs.list_runs(connection)} & ws.sources.keys())


def _rates(arms: Mapping[str, ArmSums]) -> tuple[Rate, Rate]:
    """Conversions per assigned of treated and holdout; undefined where nobody is in the arm."""
    treated, holdout = (arms.get(arm, _NOBODY).conversions_per_assigned for arm in ("treated", "holdout"))
    return treated, holdout


def _share(found: Sequence[Run], by_run: Mapping[int, Mapping[str, ArmSums]], otherwise: float) -> float:
    """What the runs were to hold out of these customers together; `otherwise` where there are none."""
    drawn = {run.holdout or 0.0: 0 for run in found}
    for run in found:
        drawn[run.holdout or 0.0] += sum(arm.assigned for arm in by_run.get(run.id, {}).values())
    total = sum(drawn.values())
    return sum(n * share for share, n in drawn.items()) / total if total else otherwise


def _by_share(found: Sequence[Run], by_run: Mapping[int, Mapping[str, ArmSums]]) -> list[tuple[Arm, Arm]]:
    """Treated and holdout of the runs that held out the same share."""
    together: dict[float, list[Mapping[str, ArmSums]]] = {}
    for run in found:
        together.setdefault(run.holdout or 0.0, []).append(by_run.get(run.id, {}))

    def pooled(arm: str, runs: Sequence[Mapping[str, ArmSums]]) -> Arm:
        sums = [by_arm.get(arm, _NOBODY) for by_arm in runs]
        return Arm(sum(each.assigned for each in sums), sum(each.converted for each in sums))

    return [(pooled("treated", runs), pooled("holdout", runs)) for runs in together.values()]


def _verdict(arms: Mapping[str, ArmSums], share: float, by_share: Sequence[tuple[Arm, Arm]]) -> Verdict:
    matured = any(arm.assigned for arm in arms.values())
    return verdict(arms["treated"], arms["holdout"], share, matured, by_share)


def _funnels(campaign: Campaign, counted: Sequence[FunnelCounts]) -> list[StepFunnel]:
    """In the order of the campaign's steps; those that it no longer has come last."""
    order = [step.id for step in campaign.sends]
    by_step: dict[tuple[str, str], dict[str, Funnel]] = {}
    for row in counted:
        by_step.setdefault((row.step, row.channel), {})[row.variant or ""] = row
    places = sorted(by_step, key=lambda at: (order.index(at[0]) if at[0] in order else len(order), at))
    return [StepFunnel(step, channel, by_step[step, channel]) for step, channel in places]


def _surveys(surveyed: Sequence[StepWaves], found: Sequence[Run]) -> list[StepSurvey]:
    """Those that anybody was asked."""
    return [
        StepSurvey(
            each.step,
            each.survey,
            each.total,
            [(run.occurrence, each.runs[run.id]) for run in found if run.id in each.runs],
        )
        for each in surveyed
        if each.runs
    ]
