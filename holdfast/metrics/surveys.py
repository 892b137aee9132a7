"""What customers answered: recommendation (NPS) and satisfaction (CSAT).

Which answers count, the latest of each customer in a wave, is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from holdfast.metrics.rates import Rate, Z
from holdfast.surveys import SCALES, Survey

# Added to promoters and detractors, and twice to passives, where all agree: Rocks, "Interval estimation for
# the net promoter score", The American Statistician 70 (2016).
_ADJUSTMENT = 0.75


@dataclass(frozen=True, slots=True)
class Nps:
    """Net promoter score of answers from 0 to 10, in points from -100 to 100; None without answers."""

    promoters: int
    passives: int
    detractors: int

    @property
    def answers(self) -> int:
        """Promoters, passives and detractors."""
        return self.promoters + self.passives + self.detractors

    @property
    def score(self) -> float | None:
        """100 · (promoters - detractors) / answers."""
        return 100 * (self.promoters - self.detractors) / self.answers if self.answers else None

    @property
    def variance(self) -> float | None:
        """Of the score: 100² · (p + d - (p - d)²) / n, with p and d as shares of the n answers."""
        return _variance(self.promoters, self.detractors, self.answers) if self.answers else None

    @property
    def low(self) -> float | None:
        """The lower end of the 95 % interval."""
        return None if self.score is None else max(-100.0, self.score - self._reach)

    @property
    def high(self) -> float | None:
        """The upper end of the 95 % interval."""
        return None if self.score is None else min(100.0, self.score + self._reach)

    @property
    def _reach(self) -> float:
        # Where all agree the variance is 0, and so would the interval's width be, of however few answers.
        extra = 0.0 if self.variance else _ADJUSTMENT
        return Z * sqrt(_variance(self.promoters + extra, self.detractors + extra, self.answers + 4 * extra))


@dataclass(frozen=True, slots=True)
class Csat:
    """Satisfaction of answers from 1 to 5; None without answers."""

    answers: int
    satisfied: int
    total: int

    @property
    def satisfied_per_answer(self) -> Rate:
        """The share of 4 and 5."""
        return Rate(self.satisfied, self.answers)

    @property
    def mean(self) -> float | None:
        """The mean answer, from 1 to 5."""
        return self.total / self.answers if self.answers else None


@dataclass(frozen=True, slots=True)
class Wave:
    """Messages that asked a survey, as far as they were `delivered`, and those of them that were `answered`;
    and how many customers gave each of the `answers` as their latest."""

    survey: Survey
    delivered: int
    answered: int
    answers: Mapping[int, int]

    @property
    def answers_per_delivered(self) -> Rate:
        """The response rate."""
        return Rate(self.answered, self.delivered) if self.answered <= self.delivered else Rate(0, 0)

    @property
    def result(self) -> Nps | Csat:
        """What the answers come to. Raises ValueError for one that is not on the survey's scale."""
        return nps(self.answers) if self.survey == "nps" else csat(self.answers)


def nps(answers: Mapping[int, int]) -> Nps:
    """The score of so many customers by their answer. Raises ValueError for one not from 0 to 10."""
    _require_scale(answers, SCALES["nps"])
    promoters = sum(n for answer, n in answers.items() if answer >= 9)
    detractors = sum(n for answer, n in answers.items() if answer <= 6)
    return Nps(promoters, sum(answers.values()) - promoters - detractors, detractors)


def csat(answers: Mapping[int, int]) -> Csat:
    """Satisfaction of so many customers by their answer. Raises ValueError for one not from 1 to 5."""
    _require_scale(answers, SCALES["csat"])
    return Csat(
        sum(answers.values()),
        sum(n for answer, n in answers.items() if answer >= 4),
        sum(answer * n for answer, n in answers.items()),
    )


def _require_scale(answers: Mapping[int, int], scale: range) -> None:
    outside = sorted(answer for answer in answers if answer not in scale)
    if outside:
        raise ValueError(f"answers {outside} are not on the scale from {scale[0]} to {scale[-1]}")


def _variance(promoters: float, detractors: float, n: float) -> float:
    p, d = promoters / n, detractors / n
    return 100**2 * (p + d - (p - d) ** 2) / n
