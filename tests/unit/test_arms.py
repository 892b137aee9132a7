"""The draw: fair, independent between decisions, blind to the order of ids, fixed by the secret."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audience.arms import (
    P,
    arm,
    coefficients,
    draw_number,
    position,
    threshold,
    variant,
    variant_thresholds,
)

SECRET = b"sixteen bytes or more"
N = 100_000


@pytest.fixture(scope="module")
def numbers() -> list[int]:
    """The numbers of 100,000 customers with sequential ids."""
    return [draw_number(SECRET, f"customer-{number}") for number in range(N)]


def positions(numbers: list[int], *salt: str) -> list[int]:
    a, b = coefficients(SECRET, *salt)
    return [position(x, a, b) for x in numbers]


def tolerance(share: float, n: int = N) -> float:
    """Five standard errors."""
    return 5 * math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.5, 0.999])
def test_the_holdout_has_the_share_that_was_asked_for(numbers: list[int], share: float) -> None:
    drawn = Counter(arm(place, share) for place in positions(numbers, "holdout", "winback"))
    assert drawn["holdout"] / N == pytest.approx(share, abs=tolerance(share))
    assert drawn["holdout"] + drawn["treated"] == N


def test_no_share_holds_out_nobody_and_the_whole_share_everybody(numbers: list[int]) -> None:
    assert threshold(0.0) == 0
    assert threshold(1.0) == P
    assert all(0 <= place < P for place in positions(numbers, "holdout", "winback"))


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_outside_of_0_to_1_is_an_error(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold(share)


def test_draws_with_different_salts_are_independent(numbers: list[int]) -> None:
    limit = threshold(0.2)
    held_out = {
        salt: {number for number, place in enumerate(positions(numbers, *salt)) if place < limit}
        for salt in [
            ("holdout", "winback"),
            ("holdout", "thanks"),
            ("sample", ""),
            ("variant", "winback", "hello"),
        ]
    }
    salts = list(held_out)
    for one in salts:
        for other in salts[salts.index(one) + 1 :]:
            both = len(held_out[one] & held_out[other]) / N
            assert both == pytest.approx(0.04, abs=tolerance(0.04)), (one, other)


def test_neighbouring_ids_are_not_held_out_together(numbers: list[int]) -> None:
    limit = threshold(0.1)
    held_out = [place < limit for place in positions(numbers, "holdout", "winback")]
    pairs = sum(one and other for one, other in pairwise(held_out))
    assert pairs / N == pytest.approx(0.01, abs=tolerance(0.01))


def test_the_draw_is_the_same_for_ever() -> None:
    # A change here draws every running campaign's arms anew.
    assert draw_number(SECRET, "c-1") == 351_350_191
    assert coefficients(SECRET, "holdout", "winback") == (524_835_169, 824_265_036)


def test_secret_and_salt_change_the_draw_and_salts_do_not_run_together() -> None:
    drawn = {
        coefficients(SECRET, "holdout", "ab"),
        coefficients(SECRET, "holdouta", "b"),
        coefficients(SECRET, "holdout", "ab", ""),
        coefficients(SECRET + b"!", "holdout", "ab"),
    }
    assert len(drawn) == 4
    assert draw_number(SECRET, "c-1") != draw_number(SECRET + b"!", "c-1")


@given(st.text(max_size=40), st.lists(st.text(max_size=10), max_size=3))
def test_numbers_and_coefficients_stay_in_their_ranges(external_id: str, salt: list[str]) -> None:
    a, b = coefficients(SECRET, *salt)
    x = draw_number(SECRET, external_id)
    assert 0 <= x < P
    assert 1 <= a < P
    assert 0 <= b < P
    assert 0 <= position(x, a, b) < P


def test_a_larger_share_holds_out_everybody_of_a_smaller_one() -> None:
    for place in (0, threshold(0.1) - 1, threshold(0.1), P - 1):
        assert [arm(place, share) for share in (0.1, 0.2)] != ["holdout", "treated"]


def test_variants_are_drawn_by_their_weights(numbers: list[int]) -> None:
    weights = {"plain": 50, "coupon": 30, "gift": 20}
    drawn = Counter(variant(place, weights) for place in positions(numbers, "variant", "winback", "hello"))
    for name, weight in weights.items():
        assert drawn[name] / N == pytest.approx(weight / 100, abs=tolerance(weight / 100))


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 1_000_000), min_size=1, max_size=8))
def test_variants_share_out_all_positions(weights: dict[str, int]) -> None:
    ends = [end for _, end in variant_thresholds(weights)]
    assert [name for name, _ in variant_thresholds(weights)] == list(weights)
    assert ends == sorted(ends)
    assert ends[-1] == P
    assert variant(0, weights) == next(iter(weights))
    assert variant(P - 1, weights) == list(weights)[-1]


def test_a_step_whose_variants_have_no_weight_is_an_error() -> None:
    with pytest.raises(ValueError, match="no variant"):
        variant_thresholds({})
