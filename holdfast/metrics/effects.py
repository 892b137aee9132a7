"""What a campaign changed: treated against holdout, by intention to treat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import NormalDist
from typing import Literal

from holdfast.metrics.rates import Rate, Z, wilson

# A p-value under it: the arms are not what was drawn, and nothing that compares them can be believed.
SRM_ALERT = 0.001
# Customers that an arm should have for the chi-square distribution to be near enough: with fewer, chance
# alone would sound the alarm up to fifty times as often.
_SRM_LEAST = 5
# Power .8: of effects of the smallest detectable size, four in five are detected.
_Z_POWER = NormalDist().inv_cdf(0.8)

VerdictKind = Literal["no_holdout", "immature", "mismatch", "cannot_tell", "better", "worse"]


@dataclass(frozen=True, slots=True)
class Arm:
    """Customers assigned to an arm, written to or not, and those of them who converted."""

    assigned: int
    converted: int

    @property
    def conversions_per_assigned(self) -> Rate:
        """Intention to treat: whoever was assigned is in the denominator."""
        return Rate(self.converted, self.assigned)


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference of two rates with its 95 % interval; fractions, from -1 to 1."""

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """There is a difference."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said of a campaign's effect, in a sentence and in numbers.

    `uplift` is treated minus holdout, `relative` the uplift over the holdout's rate; both are None where
    there is no verdict to be had. `srm_p` is the sample ratio test's, None where it has nothing to test.
    """

    kind: VerdictKind
    sentence: str
    uplift: Interval | None = None
    relative: float | None = None
    srm_p: float | None = None


def newcombe(a: Rate, b: Rate) -> Interval | None:
    """a - b with the hybrid score interval, without continuity correction; None when either is undefined.

    Method 10 in Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17 (1998).
    """
    if a.value is None or b.value is None:
        return None
    (low_a, high_a), (low_b, high_b) = wilson(a.numerator, a.denominator), wilson(b.numerator, b.denominator)
    difference = a.value - b.value
    return Interval(
        difference,
        difference - hypot(a.value - low_a, high_b - b.value),
        difference + hypot(high_a - a.value, b.value - low_b),
    )


def stratified(pairs: Sequence[tuple[Rate, Rate]]) -> Interval | None:
    """Newcombe's interval of a - b over groups, each compared in itself; None when no group has both rates.

    Groups weigh n₁n₂/(n₁ + n₂), as in Mantel and Haenszel; their intervals are put together as in Zou, Huang
    and Zhang, "A note on confidence interval estimation for a linear function of binomial proportions",
    Computational Statistics & Data Analysis 53 (2009). Of one group it is `newcombe`.
    """
    parts = [
        (a.denominator * b.denominator / (a.denominator + b.denominator), interval)
        for a, b in pairs
        if (interval := newcombe(a, b)) is not None
    ]
    if not parts:
        return None
    whole = sum(weight for weight, _ in parts)
    weighed = [(weight / whole, part) for weight, part in parts]
    difference = sum(share * part.difference for share, part in weighed)
    return Interval(
        difference,
        difference - hypot(*(share * (part.difference - part.low) for share, part in weighed)),
        difference + hypot(*(share * (part.high - part.difference) for share, part in weighed)),
    )


def sample_ratio_p(observed: Sequence[int], shares: Sequence[float]) -> float | None:
    """How likely counts at least this far from their shares are by chance: Pearson's chi-square test.

    The exact binomial test for two of which one should have fewer than five customers (Cochran, "Some methods
    for strengthening the common chi-square tests", Biometrics 10 (1954)).

    `observed` are the customers in each arm or variant, `shares` what each should have of them, in any unit.
    None where nothing can be tested: nobody is there, or one has all the shares.
    """
    from scipy.special import bdtr, bdtrc, chdtrc

    total, whole = sum(observed), sum(shares)
    if any(n for n, share in zip(observed, shares, strict=True) if not share):
        return 0.0
    expected = [(n, total * share / whole) for n, share in zip(observed, shares, strict=True) if share]
    if not total or len(expected) < 2:
        return None
    n, mean = min(expected, key=lambda group: group[1])
    if len(expected) == 2 and mean < _SRM_LEAST:
        so_few, so_many = bdtr(n, total, mean / total), bdtrc(n - 1, total, mean / total) if n else 1.0
        return float(min(1.0, 2 * min(so_few, so_many)))
    return float(chdtrc(len(expected) - 1, sum((n - mean) ** 2 / mean for n, mean in expected)))


def smallest_detectable(n_treated: int, n_holdout: int, base: float) -> float | None:
    """The smallest uplift over a holdout's rate of `base` that is found four times in five, as a fraction.

    Two-sided at 5 %, power .8, by the normal approximation with the variance pooled under the null: Fleiss,
    Levin and Paik, "Statistical Methods for Rates and Proportions" (2003), chapter 4, without continuity
    correction. None where even a rate of 1 would not be.
    """
    if not n_treated or not n_holdout:
        return None

    def needed(uplift: float) -> float:
        treated = base + uplift
        pooled = (n_treated * treated + n_holdout * base) / (n_treated + n_holdout)
        null = pooled * (1 - pooled) * (1 / n_treated + 1 / n_holdout)
        alternative = treated * (1 - treated) / n_treated + base * (1 - base) / n_holdout
        return Z * sqrt(null) + _Z_POWER * sqrt(alternative)

    # What is needed is a concave function of the uplift: there is one crossing, if any.
    low, high = 0.0, 1 - base
    if needed(high) > high or not high:
        return None
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle) > middle else (low, middle)
    return high


def verdict(
    treated: Arm,
    holdout: Arm,
    holdout_share: float,
    matured: bool,
    by_share: Sequence[tuple[Arm, Arm]] = (),
) -> Verdict:
    """What the arms say. `holdout_share` is the fraction that was to be held out.

    `matured`: the goal's window is over for everyone who is counted. Better and worse are said only then, and
    of arms that are as they were drawn. `by_share`: where customers were drawn at several shares, the arms of
    each. They are compared in themselves, because the arms of all together hold the times, and the customers,
    of the shares in different proportions.
    """
    if not holdout_share:
        return Verdict("no_holdout", "no holdout: nobody is held out, so the effect cannot be known")
    p = sample_ratio_p((treated.assigned, holdout.assigned), (1 - holdout_share, holdout_share))
    if not matured or not treated.assigned + holdout.assigned:
        return Verdict("immature", "too early: the time to convert is not over; no verdict before", srm_p=p)
    if p is not None and p < SRM_ALERT:
        sizes = f"{treated.assigned:,} treated and {holdout.assigned:,} held out"
        share = f"{holdout_share * 100:.3g}%"
        return Verdict("mismatch", f"sample ratio mismatch: {sizes}, drawn at {share}; no verdict", srm_p=p)
    compared = [(a, b) for a, b in by_share or [(treated, holdout)] if a.assigned and b.assigned]
    uplift = stratified([(a.conversions_per_assigned, b.conversions_per_assigned) for a, b in compared])
    base = holdout.conversions_per_assigned.value
    if uplift is None or base is None:
        return Verdict("cannot_tell", "cannot tell yet: one of the arms is empty", srm_p=p)
    relative = uplift.difference / base if base else None
    if uplift.excludes_zero:
        if uplift.difference > 0:
            sentence = f"{_points(uplift)}: more customers converted than without the campaign"
            return Verdict("better", sentence, uplift, relative, p)
        sentence = f"{_points(uplift)}: fewer customers converted than without the campaign"
        return Verdict("worse", sentence, uplift, relative, p)
    n_treated, n_holdout = (sum(arm.assigned for arm in arms) for arms in zip(*compared, strict=True))
    detectable = smallest_detectable(n_treated, n_holdout, base)
    limit = (
        "too few customers to detect any effect"
        if detectable is None
        else f"smallest detectable effect {detectable * 100:.1f} points"
    )
    return Verdict("cannot_tell", f"cannot tell yet: {_points(uplift)}, {limit}", uplift, relative, p)


def _points(interval: Interval) -> str:
    """`+0.7 points (0.5 to 0.9)`, with as many decimals as it takes to see that a bound is not 0."""
    bound = min(abs(interval.low), abs(interval.high)) * 100
    digits = next((n for n in (1, 2, 3) if interval.excludes_zero and round(bound, n)), 1)
    text = (
        f"{interval.difference * 100:+z.{digits}f} points"
        f" ({interval.low * 100:z.{digits}f} to {interval.high * 100:z.{digits}f})"
    )
    return text.replace("-", "\N{MINUS SIGN}")
