"""How complaints are dealt with: how long until the first answer, how long until the end, how many come back.

What is not answered or closed yet has lasted longer than anybody knows; leaving it out would make the slow
look fast. So times are estimated with it: Kaplan and Meier, JASA 53 (1958).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

from holdfast.metrics.rates import Rate, Z

# A product of shares misses it by a hair.
_HALF = 0.5 + 1e-12


@dataclass(frozen=True, slots=True)
class Survival:
    """One step of the curve: the share that lasts longer than `time`, with its 95 % interval."""

    time: float
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Lasting:
    """How long it takes: the median, with its 95 % interval, in the unit of what was given.

    `n` began, `ended` of them are over. A median that less than half of them reached is None, and so is an
    end of the interval that is not reached.
    """

    n: int
    ended: int
    median: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """What became of the cases that were opened in a period, in seconds.

    `still_open` are all that were open at its end. `closed` were closed, once at least, and `reopened` of
    these opened again.
    """

    opened: int
    still_open: int
    first_answer: Lasting
    resolution: Lasting
    closed: int
    reopened: int

    @property
    def reopened_per_closed(self) -> Rate:
        """Reopened / closed."""
        return Rate(self.reopened, self.closed)


def kaplan_meier(durations: Sequence[float], ended: Sequence[bool]) -> list[Survival]:
    """The curve, a step at each time at which something ended. What has not ended lasts longer than its
    duration.

    The share is ∏(1 - d/n) over the times so far, of n that lasted so long d ended; the interval is
    exp(-exp(log(-log S) ± z·√V / log S)), V = Σ d/(n(n - d)). Kalbfleisch and Prentice, The Statistical
    Analysis of Failure Time Data (2002), 1.4.
    """
    leaving = Counter(durations)
    ending = Counter(time for time, over in zip(durations, ended, strict=True) if over)
    at_risk, share, variance = len(durations), 1.0, 0.0
    curve = []
    for time in sorted(leaving):
        if deaths := ending[time]:
            share *= 1 - deaths / at_risk
            variance += deaths / (at_risk * (at_risk - deaths)) if deaths < at_risk else inf
            curve.append(Survival(time, share, *_interval(share, variance)))
        at_risk -= leaving[time]
    return curve


def lasting(durations: Sequence[float], ended: Sequence[bool]) -> Lasting:
    """The median: when half of them are over; its interval is where the curve's interval crosses a half.

    Brookmeyer and Crowley, Biometrics 38 (1982).
    """
    curve = kaplan_meier(durations, ended)

    def crosses(at: str) -> float | None:
        return next((step.time for step in curve if getattr(step, at) <= _HALF), None)

    return Lasting(len(durations), sum(ended), crosses("share"), crosses("low"), crosses("high"))


def _interval(share: float, variance: float) -> tuple[float, float]:
    if share == 0:
        return 0.0, 0.0
    middle, reach = log(-log(share)), Z * sqrt(variance) / -log(share)
    return exp(-exp(middle + reach)), exp(-exp(middle - reach))
