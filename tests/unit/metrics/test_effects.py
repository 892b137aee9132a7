from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from holdfast.metrics.effects import (
    Arm,
    Interval,
    newcombe,
    sample_ratio_p,
    smallest_detectable,
    stratified,
    verdict,
)
from holdfast.metrics.rates import Rate


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    denominator = draw(st.integers(1, 10_000_000))
    return Rate(draw(st.integers(0, denominator)), denominator)


def compared(a: Rate, b: Rate) -> Interval:
    interval = newcombe(a, b)
    assert interval is not None
    return interval


# --- differences ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), 873-890, table II, method 10.
        (Rate(56, 70), Rate(48, 80), 0.0524, 0.3339),
        (Rate(9, 10), Rate(3, 10), 0.1705, 0.8090),
        (Rate(5, 56), Rate(0, 29), -0.0381, 0.1926),
        (Rate(0, 10), Rate(0, 20), -0.1611, 0.2775),
        (Rate(10, 10), Rate(0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_gives_the_published_intervals(a: Rate, b: Rate, low: float, high: float) -> None:
    interval = compared(a, b)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(rates(), rates())
def test_the_interval_contains_the_difference_and_lies_between_minus_1_and_1(a: Rate, b: Rate) -> None:
    interval = compared(a, b)
    assert -1 <= interval.low <= interval.difference <= interval.high <= 1


@given(rates(), rates())
def test_the_arms_exchanged_give_the_interval_mirrored(a: Rate, b: Rate) -> None:
    there, back = compared(a, b), compared(b, a)
    assert (back.difference, back.low, back.high) == (-there.difference, -there.high, -there.low)


def test_a_difference_with_an_undefined_rate_is_undefined() -> None:
    assert newcombe(Rate(1, 2), Rate(0, 0)) is None
    assert newcombe(Rate(0, 0), Rate(1, 2)) is None


def test_of_one_group_the_stratified_interval_is_newcombes() -> None:
    assert stratified([(Rate(56, 70), Rate(48, 80)), (Rate(0, 0), Rate(9, 9))]) == compared(
        Rate(56, 70), Rate(48, 80)
    )
    assert stratified([(Rate(1, 2), Rate(0, 0))]) is None


def test_groups_are_compared_in_themselves_and_cover_the_truth() -> None:
    chance = np.random.default_rng(5)
    sizes, rates = ((2_000, 100), (700, 700)), (0.25, 0.05)
    draws, uplift, covered = 2_000, 0.02, 0
    counts = [
        (chance.binomial(n, base + uplift, draws), chance.binomial(m, base, draws))
        for (n, m), base in zip(sizes, rates, strict=True)
    ]
    for draw in range(draws):
        found = stratified(
            [
                (Rate(int(a[draw]), n), Rate(int(b[draw]), m))
                for (a, b), (n, m) in zip(counts, sizes, strict=True)
            ]
        )
        assert found is not None
        covered += found.low <= uplift <= found.high
    low, high = binom.ppf((0.001, 0.999), draws, 0.95)
    assert low <= covered <= high


# --- sample ratios --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "p"),
    [
        # The example of Fabijan et al., "Diagnosing sample ratio mismatch", KDD 2019, and one not so clear.
        ((821_588, 815_482), 1.82e-6),
        ((44_000, 45_000), 8.02e-4),
    ],
)
def test_sample_ratios_have_the_published_p(observed: tuple[int, int], p: float) -> None:
    assert sample_ratio_p(observed, (1, 1)) == pytest.approx(p, rel=0.002)


def test_shares_are_in_any_unit_and_of_any_number_of_groups() -> None:
    counts = (480, 260, 260)
    assert sample_ratio_p(counts, (50, 25, 25)) == sample_ratio_p(counts, (0.5, 0.25, 0.25))
    # Chi-square 0.8 + 0.4 + 0.4 with two degrees of freedom: exp(-x / 2).
    assert sample_ratio_p(counts, (2, 1, 1)) == pytest.approx(np.exp(-0.8))


def test_customers_where_none_should_be_are_impossible() -> None:
    assert sample_ratio_p((900, 1), (1, 0)) == 0


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("customers", [1, 2, 5, 20, 50, 300])
def test_few_customers_are_no_mismatch_by_chance(customers: int, share: float) -> None:
    alarms = [
        float(binom.pmf(held_out, customers, share))
        for held_out in range(customers + 1)
        if verdict(Arm(customers - held_out, 0), Arm(held_out, 0), share, True).kind == "mismatch"
    ]
    assert sum(alarms) < 0.004


def test_a_holdout_many_times_too_large_is_a_mismatch_however_small_it_should_be() -> None:
    assert verdict(Arm(960, 0), Arm(40, 0), 0.002, True).kind == "mismatch"
    assert sample_ratio_p((0, 2), (0.9, 0.1)) == pytest.approx(0.02)


@pytest.mark.parametrize(("observed", "shares"), [((0, 0), (0.9, 0.1)), ((70, 0), (1, 0))])
def test_where_there_is_no_ratio_to_test_there_is_no_p(
    observed: tuple[int, int], shares: tuple[float, float]
) -> None:
    assert sample_ratio_p(observed, shares) is None


# --- what can be detected -------------------------------------------------------------------------


def test_the_published_sample_size_is_the_first_that_detects_the_effect() -> None:
    # From 10 to 12 %, power .8: 3,841 an arm (Fleiss, without continuity correction).
    enough, too_few = smallest_detectable(3841, 3841, 0.10), smallest_detectable(3840, 3840, 0.10)
    assert enough is not None
    assert too_few is not None
    assert enough <= 0.02 < too_few


def test_an_effect_of_the_smallest_detectable_size_is_found_four_times_in_five() -> None:
    n_treated, n_holdout, base = 18_000, 2_000, 0.08
    uplift = smallest_detectable(n_treated, n_holdout, base)
    assert uplift is not None
    chance = np.random.default_rng(20_261)
    draws = 2_000
    treated, held_out = (
        chance.binomial(n_treated, base + uplift, draws),
        chance.binomial(n_holdout, base, draws),
    )
    found = sum(
        compared(Rate(int(a), n_treated), Rate(int(b), n_holdout)).low > 0
        for a, b in zip(treated, held_out, strict=True)
    )
    assert 0.77 < found / draws < 0.83


@given(st.integers(1, 10_000_000), st.integers(1, 10_000_000), st.floats(0, 1))
def test_more_customers_detect_no_less(n_treated: int, n_holdout: int, base: float) -> None:
    few, many = (smallest_detectable(n * n_treated, n * n_holdout, base) for n in (1, 2))
    assert few is None or (many is not None and 0 < many <= few <= 1 - base + 1e-12)


@pytest.mark.parametrize(
    ("n_treated", "n_holdout", "base"), [(0, 9, 0.1), (9, 0, 0.1), (4, 1, 0.5), (900, 100, 1)]
)
def test_where_no_effect_could_be_found_there_is_no_smallest(
    n_treated: int, n_holdout: int, base: float
) -> None:
    assert smallest_detectable(n_treated, n_holdout, base) is None


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("treated", "holdout", "kind", "sentence"),
    [
        (
            Arm(900_000, 67_500),
            Arm(100_000, 6_800),
            "better",
            "+0.7 points (0.5 to 0.9): more customers converted than without the campaign",
        ),
        (
            Arm(900_000, 61_200),
            Arm(100_000, 7_500),
            "worse",
            "−0.7 points (−0.9 to −0.5): fewer customers converted than without the campaign",
        ),
        (
            Arm(900_000, 67_500),
            Arm(100_000, 7_321),
            "better",
            "+0.18 points (0.01 to 0.35): more customers converted than without the campaign",
        ),
        (
            Arm(45_000, 3_645),
            Arm(5_000, 400),
            "cannot_tell",
            "cannot tell yet: +0.1 points (−0.7 to 0.9), smallest detectable effect 1.2 points",
        ),
        (
            Arm(900, 0),
            Arm(100, 0),
            "cannot_tell",
            "cannot tell yet: +0.0 points (−3.7 to 0.4), smallest detectable effect 4.8 points",
        ),
        (
            Arm(9, 3),
            Arm(2, 1),
            "cannot_tell",
            "cannot tell yet: −16.7 points (−62.5 to 34.5), too few customers to detect any effect",
        ),
        (Arm(5, 2), Arm(0, 0), "cannot_tell", "cannot tell yet: one of the arms is empty"),
        (
            Arm(1_800, 90),
            Arm(100, 2),
            "mismatch",
            "sample ratio mismatch: 1,800 treated and 100 held out, drawn at 10%; no verdict",
        ),
    ],
)
def test_a_verdict_is_a_sentence(treated: Arm, holdout: Arm, kind: str, sentence: str) -> None:
    given_verdict = verdict(treated, holdout, 0.1, matured=True)
    assert (given_verdict.kind, given_verdict.sentence) == (kind, sentence)


def test_a_verdict_carries_its_numbers() -> None:
    given_verdict = verdict(Arm(900_000, 67_500), Arm(100_000, 6_800), 0.1, matured=True)
    assert given_verdict.uplift == newcombe(Rate(67_500, 900_000), Rate(6_800, 100_000))
    assert given_verdict.relative == pytest.approx(0.007 / 0.068)
    assert given_verdict.srm_p == 1


def test_without_conversions_in_the_holdout_there_is_no_relative_uplift() -> None:
    assert verdict(Arm(900, 9), Arm(100, 0), 0.1, matured=True).relative is None


def test_nothing_is_said_before_the_window_is_over() -> None:
    early = verdict(Arm(900_000, 67_500), Arm(100_000, 6_800), 0.1, matured=False)
    assert (early.kind, early.uplift, early.relative) == ("immature", None, None)
    assert early.sentence == "too early: the time to convert is not over; no verdict before"


def test_nobody_yet_is_too_early() -> None:
    assert verdict(Arm(0, 0), Arm(0, 0), 0.1, matured=True).kind == "immature"


def test_a_mismatch_has_a_p_and_no_effect() -> None:
    mismatch = verdict(Arm(1_800, 90), Arm(100, 2), 0.1, matured=True)
    assert mismatch.srm_p is not None
    assert mismatch.srm_p < 0.001
    assert (mismatch.uplift, mismatch.relative) == (None, None)


def test_where_the_share_changed_no_effect_comes_of_the_mix() -> None:
    # No effect at either share, but the second one was drawn when hardly anybody buys.
    many, few = (Arm(9_500, 1_900), Arm(500, 100)), (Arm(5_000, 250), Arm(5_000, 250))
    together = Arm(14_500, 2_150), Arm(5_500, 350)
    told = verdict(*together, 0.275, True, [many, few])
    assert (told.kind, told.srm_p) == ("cannot_tell", 1)
    assert told.uplift is not None
    assert told.uplift.difference == 0


def test_customers_who_were_drawn_without_a_holdout_are_compared_with_nobody() -> None:
    before, drawn = (Arm(9_000, 4_000), Arm(0, 0)), (Arm(900, 90), Arm(100, 10))
    told = verdict(Arm(9_900, 4_090), Arm(100, 10), 0.01, True, [before, drawn])
    assert told.sentence == verdict(*drawn, 0.1, True).sentence


def test_where_everybody_was_held_out_there_is_nothing_to_wait_for() -> None:
    told = verdict(Arm(0, 0), Arm(100, 5), 1.0, matured=True)
    assert (told.kind, told.sentence) == ("cannot_tell", "cannot tell yet: one of the arms is empty")


def test_without_a_holdout_the_effect_cannot_be_known() -> None:
    without = verdict(Arm(900, 90), Arm(0, 0), 0.0, matured=True)
    assert (without.kind, without.uplift, without.srm_p) == ("no_holdout", None, None)
    assert without.sentence == "no holdout: nobody is held out, so the effect cannot be known"


def test_with_no_effect_one_verdict_in_twenty_is_a_false_alarm() -> None:
    chance = np.random.default_rng(3)
    draws, customers, share, base = 2_000, 20_000, 0.1, 0.08
    held_out = chance.binomial(customers, share, draws)
    converted = chance.binomial(customers - held_out, base), chance.binomial(held_out, base)
    kinds = [
        verdict(Arm(int(customers - n), int(a)), Arm(int(n), int(b)), share, matured=True).kind
        for n, a, b in zip(held_out, *converted, strict=True)
    ]
    alarms = sum(kind in ("better", "worse") for kind in kinds)
    low, high = binom.ppf((0.001, 0.999), draws, 0.05)
    assert low <= alarms <= high
    assert kinds.count("mismatch") <= binom.ppf(0.999, draws, 0.001)
