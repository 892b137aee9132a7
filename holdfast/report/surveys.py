"""What came of surveys, as reports show it: a step's by run and together, and each result in few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.metrics.rates import Rate
from holdfast.metrics.surveys import Csat, Nps, Wave
from holdfast.report.formats import UNDEFINED, percent, rate_range, score
from holdfast.report.plots import Answer
from holdfast.surveys import SCALES, Survey

NAMES: dict[Survey, str] = {"nps": "NPS", "csat": "CSAT"}


@dataclass(frozen=True, slots=True)
class StepSurvey:
    """A step's survey: all runs together, by each customer's latest answer, and by run, in their order.

    `runs` are by occurrence those that anybody was asked in.
    """

    step: str
    survey: Survey
    total: Wave
    runs: Sequence[tuple[str, Wave]]

    @property
    def name(self) -> str:
        """`NPS`, `CSAT`."""
        return NAMES[self.survey]

    @property
    def sentence(self) -> str:
        """`NPS +34 (+21 to +47)`."""
        result = self.total.result
        return f"{self.name} {shown(result)} ({interval(result)})"

    @property
    def plotted(self) -> list[Answer]:
        """The scale with how many customers gave each answer, and the group that it counts in."""
        return [
            Answer(str(answer), self.total.answers.get(answer, 0), group_of(self.survey, answer))
            for answer in SCALES[self.survey]
        ]


def group_of(survey: Survey, answer: int) -> str:
    """What who answers so is called."""
    if survey == "csat":
        return "satisfied" if answer >= 4 else "not satisfied"
    return "promoters" if answer >= 9 else "passives" if answer >= 7 else "detractors"


def shown(result: Nps | Csat) -> str:
    """The result: `+34`, or the share of the satisfied, `82.0%`."""
    return score(result.score) if isinstance(result, Nps) else percent(result.satisfied_per_answer.value)


def interval(result: Nps | Csat) -> str:
    """Its 95% interval: `+21 to +47`."""
    if isinstance(result, Csat):
        return rate_range(result.satisfied_per_answer)
    return UNDEFINED if result.score is None else f"{score(result.low)} to {score(result.high)}"


def parts(result: Nps | Csat) -> dict[str, Rate | float | None]:
    """What it is made of: shares of the answers; beside satisfaction its mean."""
    if isinstance(result, Csat):
        return {"mean": result.mean}
    groups = {"promoters": result.promoters, "passives": result.passives, "detractors": result.detractors}
    return {name: Rate(n, result.answers) for name, n in groups.items()}
