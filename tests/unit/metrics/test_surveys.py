from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.metrics.rates import Rate
from holdfast.metrics.surveys import Csat, Nps, Wave, csat, nps


def test_nps_is_promoters_less_detractors() -> None:
    score = nps({10: 30, 9: 20, 8: 20, 7: 10, 6: 5, 0: 15})
    assert score == Nps(promoters=50, passives=30, detractors=20)
    assert score.score == 30
    # 100² · (.5 + .2 - .3²) / 100
    assert score.variance == pytest.approx(61)
    assert (score.low, score.high) == pytest.approx((30 - 1.96 * 61**0.5, 30 + 1.96 * 61**0.5), abs=0.001)


@given(st.lists(st.integers(0, 10), min_size=1))
def test_the_interval_contains_the_score_and_has_a_width(answers: list[int]) -> None:
    score = nps(Counter(answers))
    assert score.answers == len(answers)
    assert score.score is not None
    assert score.low is not None
    assert score.high is not None
    assert -100 <= score.low <= score.score <= score.high <= 100
    assert score.low < score.high


def test_where_all_agree_few_answers_say_less_than_many() -> None:
    few, many = nps({10: 3}), nps({10: 3_000})
    assert (few.score, few.variance, few.high) == (100, 0, 100)
    assert few.low is not None
    assert many.low is not None
    assert few.low < 60
    assert many.low > 99


def test_csat_is_the_share_of_the_satisfied_beside_the_mean() -> None:
    satisfaction = csat({5: 4, 4: 2, 3: 1, 1: 1})
    assert satisfaction == Csat(answers=8, satisfied=6, total=32)
    assert (satisfaction.satisfied_per_answer, satisfaction.mean) == (Rate(6, 8), 4)


def test_without_answers_there_is_no_score() -> None:
    assert (nps({}).score, nps({}).variance, nps({}).low, nps({}).high) == (None,) * 4
    assert (csat({}).satisfied_per_answer.value, csat({}).mean) == (None, None)


def test_a_wave_has_its_response_rate_beside_what_was_answered() -> None:
    assert Wave("nps", 40, 3, {10: 2, 0: 1}).answers_per_delivered == Rate(3, 40)
    assert Wave("nps", 40, 3, {10: 2, 0: 1}).result == Nps(2, 0, 1)
    assert Wave("csat", 40, 3, {5: 2, 1: 1}).result == Csat(3, 2, 11)
    assert Wave("csat", 2, 3, {5: 3}).answers_per_delivered == Rate(0, 0)


def test_an_answer_that_is_not_on_the_scale_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^answers \[-1, 11\] are not on the scale from 0 to 10$"):
        nps({11: 1, 5: 2, -1: 1})
    with pytest.raises(ValueError, match=r"^answers \[0\] are not on the scale from 1 to 5$"):
        csat({0: 1})
