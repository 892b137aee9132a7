"""Plots of reports, as SVG text: calm, labelled directly, safe for the colour-blind, the same every time.

A plot has no background of its own; text is text, in the page's font. On a page it goes in by `inline`, which
leaves the colours to the page's style sheet (light and dark); elsewhere by `data_uri`, on white.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from threading import Lock
from typing import TYPE_CHECKING, Any

from holdfast.report.formats import count, percent, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from holdfast.metrics.effects import Interval
    from holdfast.metrics.rates import Rate

WIDE, NARROW = 680, 340

COLOURS = {
    "ink": "#1c2329",
    "quiet": "#5f6a74",
    "line": "#cfd6dc",
    "accent": "#0a66a0",
    "soft": "#9cc7e4",
}
INK, QUIET, LINE, ACCENT, SOFT = COLOURS.values()
PAPER = "#ffffff"
_MARGIN = 16  # pixels of paper around a plot that stands alone

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "hatch.color": ACCENT,
    "hatch.linewidth": 0.9,
    "xtick.color": LINE,
    "xtick.labelcolor": QUIET,
    "xtick.labelsize": 11,
    "xtick.major.size": 3,
}
_drawing = Lock()


@dataclass(frozen=True, slots=True)
class Effect:
    """One row of the plot of effects: both arms' rates and their difference."""

    label: str
    treated: Rate
    holdout: Rate
    uplift: Interval


@dataclass(frozen=True, slots=True)
class Bar:
    """One stage of a funnel: messages that people, and that machines, brought there; some are of both."""

    label: str
    people: int
    machines: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer on a survey's scale: how many customers gave it, and what they are called."""

    label: str
    customers: int
    group: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A number over months, None where it is undefined, with its interval if it has one; the last as text."""

    title: str
    months: Sequence[str]
    values: Sequence[float | None]
    label: str
    lows: Sequence[float | None] = ()
    highs: Sequence[float | None] = ()


def effects(rows: Sequence[Effect], width: int = WIDE) -> str:
    """Arms and uplift with their 95% intervals, the first row in full ink: it is the verdict's."""
    stacked = width < 500
    height, left = 46 + 42 * len(rows), 96
    with _canvas(width, height * (2 if stacked else 1)) as figure:
        if stacked:
            rates = _axes(figure, left, 24, width - left - 12, height - 46)
            uplift = _axes(figure, left, height + 24, width - left - 12, height - 46)
        else:
            half = (width - left - 36) / 2
            rates = _axes(figure, left, 24, half, height - 46)
            uplift = _axes(figure, left + half + 28, 24, half - 4, height - 46)
        _draw_rates(rates, rows)
        _draw_uplift(uplift, rows)
        for axes in (rates, uplift) if stacked else (rates,):
            for y, row in enumerate(rows):
                _text(axes, -left, y, row.label, QUIET if y else INK)
        return _svg(figure, "Conversion of both arms, and their difference")


def _draw_rates(axes: Axes, rows: Sequence[Effect]) -> None:
    top = max(rate.high or 0.0 for row in rows for rate in (row.treated, row.holdout))
    _rows(axes, len(rows), "share converted", lambda value: percent(value).replace(".0%", "%"))
    _limit(axes, 0, top or 1, room=92)
    for y, row in enumerate(rows):
        for arm, rate, offset, filled in (
            ("treated", row.treated, -0.16, True),
            ("holdout", row.holdout, 0.16, False),
        ):
            if rate.value is None or rate.low is None or rate.high is None:
                continue
            _dot(axes, rate.value, rate.low, rate.high, y + offset, ACCENT if filled else QUIET, filled)
            name = f"{arm} " if y == 0 else ""
            _beside(axes, rate.high, y + offset, f"{name}{percent(rate.value)}", QUIET)


def _draw_uplift(axes: Axes, rows: Sequence[Effect]) -> None:
    low = min(0.0, *(row.uplift.low for row in rows))
    high = max(0.0, *(row.uplift.high for row in rows))
    _rows(axes, len(rows), "uplift, points", points)
    _limit(axes, low, high if high > low else 0.01, room=48)
    axes.axvline(0, color=QUIET, linewidth=1)
    for y, row in enumerate(rows):
        _dot(axes, row.uplift.difference, row.uplift.low, row.uplift.high, y, QUIET if y else ACCENT, True)
        _beside(axes, row.uplift.high, y, points(row.uplift.difference), QUIET if y else INK, bold=not y)


def funnel(bars: Sequence[Bar], width: int = WIDE) -> str:
    """A bar a stage; under what people did, hatched, what machines did."""
    row, left, right = 28, 96, 150 if width >= 500 else 118
    with _canvas(width, row * len(bars) + 4) as figure:
        axes = _axes(figure, left, 2, width - left - right, row * len(bars))
        axes.set(ylim=(len(bars) - 0.5, -0.5), xticks=[], yticks=[])
        axes.set_xlim(0, max((max(bar.people, bar.machines) for bar in bars), default=0) or 1)
        axes.spines["bottom"].set_visible(False)
        for y, bar in enumerate(bars):
            label = count(bar.people)
            axes.barh(y, bar.people, 0.52, color=ACCENT)
            if bar.machines:
                # Below, not after: a message can be in both.
                axes.barh(y + 0.37, bar.machines, 0.22, facecolor="none", hatch="//////", linewidth=0)
                label += f", machines {count(bar.machines)}"
            _text(axes, -left, y, bar.label)
            _beside(axes, max(bar.people, bar.machines), y, label, INK)
        return _svg(figure, "From planned messages to clicks")


def answers(scale: Sequence[Answer], width: int = WIDE) -> str:
    """A column an answer, from the lowest to the highest; below, the groups with their share of all."""
    total = sum(answer.customers for answer in scale)
    groups = list(dict.fromkeys(answer.group for answer in scale))
    colours = dict(zip(reversed(groups), (ACCENT, SOFT, QUIET), strict=False))
    with _canvas(width, 168 if width >= 500 else 180) as figure:
        axes = _axes(figure, 4, 20, width - 8, 100)
        axes.set(xlim=(-0.5, len(scale) - 0.5), yticks=[], xticks=range(len(scale)))
        axes.set_ylim(0, max((answer.customers for answer in scale), default=0) or 1)
        axes.set_xticklabels([answer.label for answer in scale])
        axes.tick_params(length=0)
        for x, answer in enumerate(scale):
            axes.bar(x, answer.customers, 0.72, color=colours[answer.group])
            if answer.customers:
                axes.annotate(count(answer.customers), (x, answer.customers), (0, 4), ha="center",
                              textcoords="offset points", color=QUIET, fontsize=11)  # fmt: skip
        for group in groups:
            places = [x for x, answer in enumerate(scale) if answer.group == group]
            axes.plot([places[0] - 0.36, places[-1] + 0.36], [-0.26] * 2, color=colours[group], linewidth=3,
                      transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip
            share = percent(sum(scale[x].customers for x in places) / total if total else None)
            axes.annotate(f"{group}\n{share}" if width < 500 else f"{group} {share}",
                          (sum(places) / len(places), 0), (0, -30), xycoords=("data", "axes fraction"),
                          textcoords="offset points", ha="center", va="top", color=INK, fontsize=11,
                          annotation_clip=False)  # fmt: skip
        return _svg(figure, "Customers by their latest answer")


def curves(series: Sequence[Curve], width: int = WIDE) -> str:
    """Small multiples over the same months, each on its own scale, the last value labelled."""
    columns = len(series) if width >= 500 else 1
    rows, gap, tall = -(-len(series) // columns), 28, 132
    each = (width - gap * (columns - 1)) / columns
    with _canvas(width, rows * tall) as figure:
        for number, curve in enumerate(series):
            x, y = (number % columns) * (each + gap), (number // columns) * tall
            _draw_curve(_axes(figure, x + 4, y + 26, each - 66, tall - 54), curve)
        return _svg(figure, ", ".join(curve.title for curve in series) + " by month")


def _draw_curve(axes: Axes, curve: Curve) -> None:
    nan = float("nan")
    places = range(len(curve.months))
    values = [nan if value is None else value for value in curve.values]
    if curve.lows:
        lows = [nan if low is None else low for low in curve.lows]
        highs = [nan if high is None else high for high in curve.highs]
        axes.fill_between(places, lows, highs, color=SOFT, alpha=0.45, linewidth=0)
    axes.plot(places, values, color=ACCENT, linewidth=1.6, solid_capstyle="round")
    axes.set(xlim=(0, max(len(places) - 1, 1)), yticks=[], xticks=[0, len(places) - 1])
    axes.set_xticklabels([curve.months[0], curve.months[-1]])
    axes.margins(y=0.15)
    axes.set_title(curve.title, loc="left", fontsize=12, color=INK, pad=8)
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    if values and values[-1] == values[-1]:
        axes.plot(places[-1], values[-1], "o", color=ACCENT, markersize=5, clip_on=False)
        _beside(axes, places[-1], values[-1], curve.label, INK, bold=True)


# --- what the plots are made of -------------------------------------------------------------------


def _rows(axes: Axes, n: int, title: str, label: Callable[[float], str]) -> None:
    """Axes for `n` rows from top to bottom, with a few ticks."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set(ylim=(n - 0.5, -0.5), yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axes.set_title(title, loc="left", fontsize=11, color=QUIET, pad=8)


def _limit(axes: Axes, low: float, high: float, room: int) -> None:
    """From low to high, with some pixels on the right for labels beside the dots."""
    edge = 6 if low < 0 else 0
    a_pixel = (high - low) / (axes.bbox.width - room - edge)
    axes.set_xlim(low - edge * a_pixel, high + room * a_pixel)


def _dot(axes: Axes, value: float, low: float, high: float, y: float, color: str, filled: bool) -> None:
    axes.plot([low, high], [y, y], color=color, linewidth=1.4, solid_capstyle="round")
    face = color if filled else "none"
    axes.plot(value, y, "o", color=color, markerfacecolor=face, markeredgewidth=1.4, markersize=7)


def _beside(axes: Axes, x: float, y: float, text: str, color: str, *, bold: bool = False) -> None:
    weight = "bold" if bold else "normal"
    axes.annotate(text, (x, y), (7, 0), textcoords="offset points", va="center_baseline", color=color,
                  weight=weight, annotation_clip=False)  # fmt: skip


def _text(axes: Axes, x: float, y: float, text: str, color: str = INK) -> None:
    """Text at `x` pixels from the axes' left, on the row."""
    axes.annotate(text, (0, y), (x, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                  va="center_baseline", color=color, annotation_clip=False)  # fmt: skip


@contextmanager
def _canvas(width: int, height: int) -> Iterator[Figure]:
    """An empty figure of this many pixels, in the style of reports."""
    import matplotlib
    from matplotlib.figure import Figure

    # The style is matplotlib's global state while a plot is drawn. Ids differ by the width: on a page that
    # hides one of two plots, what the other refers to must be its own.
    with _drawing, matplotlib.rc_context(_STYLE | {"svg.hashsalt": f"holdfast {width}"}):
        yield Figure(figsize=(width / 72, height / 72), dpi=72)


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at this place, in pixels from the figure's upper left corner."""
    across, down = figure.get_size_inches() * 72
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def _svg(figure: Figure, title: str) -> str:
    """The figure as one <svg> element: no dates, no ids that another plot of the page has too, any font."""
    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<defs>") :]
    drawn = re.sub(r'(<g) id="[^"]*"', r"\1", drawn)
    drawn = re.sub(r"font-family: [^;\"]*", "font-family: inherit", drawn)
    drawn = re.sub(r' transform="rotate\(-0 [^"]*"', "", drawn)
    width, height = figure.get_size_inches() * figure.dpi
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'aria-label="{title}" viewBox="0 0 {width:g} {height:g}" stroke-linejoin="round">\n{drawn}'
    )


def inline(svg: str) -> str:
    """The plot for a page of ours: as wide as its place, in the page's colours --ink, --accent …"""
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    return svg


def data_uri(svg: str) -> str:
    """The plot as an image for any page, on white paper of its own: legible where the page is dark."""
    _, width, height = re.split(r'viewBox="0 0 (\d+) (\d+)"', svg, maxsplit=1)[:3]
    across, down = int(width) + 2 * _MARGIN, int(height) + 2 * _MARGIN
    place = f'x="{-_MARGIN}" y="{-_MARGIN}" width="{across}" height="{down}"'
    svg = svg.replace(
        f'viewBox="0 0 {width} {height}"',
        f'width="{across}" height="{down}" viewBox="{-_MARGIN} {-_MARGIN} {across} {down}" '
        'font-family="system-ui, sans-serif"',
    ).replace("<defs>", f'<rect {place} fill="{PAPER}"/>\n<defs>', 1)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
