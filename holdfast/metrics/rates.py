"""Rates: a part of a whole, with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

# Two-sided 95 %.
Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Rate:
    """A part of a whole. Of nothing the rate is undefined: value, low and high are None.

    Raises ValueError for a part that is negative or more than the whole.
    """

    numerator: int
    denominator: int

    def __post_init__(self) -> None:
        if not 0 <= self.numerator <= self.denominator:
            raise ValueError(f"{self.numerator} of {self.denominator} is not a part of a whole")

    @property
    def value(self) -> float | None:
        """The fraction, from 0 to 1."""
        return self.numerator / self.denominator if self.denominator else None

    @property
    def low(self) -> float | None:
        """The lower end of the Wilson 95 % interval."""
        return wilson(self.numerator, self.denominator)[0] if self.denominator else None

    @property
    def high(self) -> float | None:
        """The upper end of the Wilson 95 % interval."""
        return wilson(self.numerator, self.denominator)[1] if self.denominator else None


def wilson(k: int, n: int, z: float = Z) -> tuple[float, float]:
    """The score interval for k of n, n > 0, without continuity correction.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); method 3
    in Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998).
    """
    p = k / n
    middle = p + z * z / (2 * n)
    reach = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the bound is the estimate, which floating point misses by a hair.
    low = 0.0 if k == 0 else (middle - reach) / scale
    high = 1.0 if k == n else (middle + reach) / scale
    return low, high
