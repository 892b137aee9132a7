"""What a campaign's customers did more than they would have without it: Welch's interval, in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, slots=True)
class Moments:
    """A quantity over the `n` customers of an arm, those with none of it too: its sum, and its squares'."""

    n: int
    total: float
    squares: float

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """A customer's, of one or more."""
        return self.total / self.n

    @property
    def variance(self) -> float:
        """The sample's, of two customers or more."""
        return max(0.0, self.squares - self.total * self.mean) / (self.n - 1)


@dataclass(frozen=True, slots=True)
class Extra:
    """How much more the treated had in all than they would have had untreated, with its 95 % interval."""

    amount: float
    low: float
    high: float


def incremental(groups: Sequence[tuple[Moments, Moments]]) -> Extra | None:
    """Treated over holdout, times the treated, over groups that are each compared in themselves.

    None where no group has two customers in both arms. The interval is that of Welch, "The generalization of
    'Student's' problem when several different population variances are involved", Biometrika 34 (1947), with
    the degrees of freedom of Satterthwaite, "An approximate distribution of estimates of variance
    components", Biometrics Bulletin 2 (1946): a sum over groups has as many components as arms.
    """
    from scipy.special import stdtrit

    compared = [(treated, holdout) for treated, holdout in groups if min(treated.n, holdout.n) > 1]
    if not compared:
        return None
    amount = sum(treated.n * (treated.mean - holdout.mean) for treated, holdout in compared)
    parts = [
        (treated.n**2 * arm.variance / arm.n, arm.n - 1)
        for treated, holdout in compared
        for arm in (treated, holdout)
    ]
    variance = sum(part for part, _ in parts)
    if not variance:
        return Extra(amount, amount, amount)
    freedom = variance**2 / sum(part**2 / n for part, n in parts)
    reach = float(stdtrit(freedom, 0.975)) * sqrt(variance)
    return Extra(amount, amount - reach, amount + reach)
