"""The brand's colour as pages and letters need it: legible on light and on dark, whatever it is."""

from __future__ import annotations

from collections.abc import Iterable
from colorsys import hls_to_rgb, rgb_to_hls
from dataclasses import dataclass

from markupsafe import Markup

WHITE, BLACK = "#ffffff", "#000000"
# What texts stand on, darkest on light and lightest on dark: the paper around a card, and the card.
PAPER, DARK_CARD = "#f3efe6", "#242623"

# Of text, by WCAG 2.2 AA; on dark more, where thin letters seem thinner.
_LEGIBLE, _LEGIBLE_ON_DARK = 4.5, 8.0
_NEARLY_LEGIBLE = 3.0
_STEPS = 100


@dataclass(frozen=True, slots=True)
class Scheme:
    """Colours on light or on dark paper, as #rrggbb, part of a letter's skeleton.

    `accent` is for links and outlines; `fill` is behind a button's text, `over` when a pointer is on it, `on`
    is that text; `tint` is behind words that stand out a little.
    """

    accent: Markup
    fill: Markup
    over: Markup
    on: Markup
    tint: Markup

    @classmethod
    def of(cls, accent: str, fill: str, over: str, on: str, tint: str) -> Scheme:
        """Of colours, which need no escaping."""
        return cls(*map(Markup, (accent, fill, over, on, tint)))


def on_light(colour: str) -> Scheme:
    """Links have the colour itself, or as much darker a one as can be read; buttons too, where that is little
    for white words, and else the colour itself, under black ones."""
    tint = mixed(WHITE, colour, 0.1)
    accent = _until_legible(colour, (PAPER, tint), _LEGIBLE, darker=True)
    if contrast(WHITE, colour) < _NEARLY_LEGIBLE:
        return Scheme.of(accent, colour, mixed(colour, WHITE, 0.16), BLACK, tint)
    fill = _until_legible(colour, (WHITE,), _LEGIBLE, darker=True)
    return Scheme.of(accent, fill, mixed(fill, BLACK, 0.16), WHITE, tint)


def on_dark(colour: str) -> Scheme:
    """A lighter tone of the colour."""
    accent = _until_legible(colour, (DARK_CARD,), _LEGIBLE_ON_DARK, darker=False)
    return Scheme.of(accent, accent, mixed(accent, WHITE, 0.25), BLACK, mixed(DARK_CARD, accent, 0.12))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21, by WCAG 2.2."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def mixed(one: str, other: str, share: float) -> str:
    """The first colour with so much of the other in it."""
    pairs = zip(_parts(one), _parts(other), strict=True)
    return _written(a + (b - a) * share for a, b in pairs)


def _until_legible(colour: str, papers: tuple[str, ...], least: float, *, darker: bool) -> str:
    """The nearest tone of the colour that can be read on each paper."""
    hue, light, saturation = rgb_to_hls(*_parts(colour))
    end = 0.0 if darker else 1.0
    for step in range(_STEPS):
        tone = _written(hls_to_rgb(hue, light + (end - light) * step / _STEPS, saturation))
        if all(contrast(tone, paper) >= least for paper in papers):
            return tone
    return BLACK if darker else WHITE


def _luminance(colour: str) -> float:
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in _parts(colour))
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _parts(colour: str) -> tuple[float, float, float]:
    red, green, blue = (part / 255 for part in bytes.fromhex(colour[1:]))
    return red, green, blue


def _written(parts: Iterable[float]) -> str:
    return "#" + bytes(round(part * 255) for part in parts).hex()
