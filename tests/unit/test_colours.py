"""The brand's colour can be read wherever it stands, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.content.colours import DARK_CARD, PAPER, WHITE, contrast, on_dark, on_light

COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


@given(COLOURS)
@example("#ffff00")
@example("#777777")
@example("#000000")
def test_every_colour_gives_legible_ones(colour: str) -> None:
    light, dark = on_light(colour), on_dark(colour)
    for text, paper in (
        *((light.accent, paper) for paper in (WHITE, PAPER, light.tint)),
        *((dark.accent, paper) for paper in (DARK_CARD, dark.tint)),
        *((scheme.on, paper) for scheme in (light, dark) for paper in (scheme.fill, scheme.over)),
    ):
        assert contrast(text, paper) >= 4.5, (text, paper)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#ffffff", "#000000", 21), ("#777777", "#ffffff", 4.48), ("#1f5c4d", "#1f5c4d", 1)],
)
def test_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == contrast(other, one) == pytest.approx(ratio, abs=0.005)


def test_a_colour_that_can_be_read_is_left_as_it_is_and_lightened_in_the_dark() -> None:
    assert on_light("#1f5c4d").accent == "#1f5c4d"
    assert (on_light("#ffd400").fill, on_light("#ffd400").on) == ("#ffd400", "#000000")
    assert (on_light("#e91e63").fill, on_light("#e91e63").on) == ("#e6165d", "#ffffff")
    assert on_dark("#1f5c4d").accent == "#6bcdb5"
