"""Splitting what a template printed into the skeleton, equal for many, and the holes of its values."""

from __future__ import annotations

import re

import mrml

from holdfast.channel import Skeleton
from holdfast.content.environment import PLACEHOLDER, TOKEN_PLACEHOLDER
from holdfast.content.plaintext import derive_text
from holdfast.content.tracking import Tracking
from holdfast.errors import RenderError

MJML_TAGS = frozenset(
    """mjml mj-accordion mj-accordion-element mj-accordion-text mj-accordion-title mj-all mj-attributes
    mj-body mj-breakpoint mj-button mj-carousel mj-carousel-image mj-class mj-column mj-divider mj-font
    mj-group mj-head mj-hero mj-html-attributes mj-image mj-navbar mj-navbar-link mj-preview mj-raw
    mj-section mj-selector mj-social mj-social-element mj-spacer mj-style mj-table mj-text mj-title
    mj-wrapper""".split()  # noqa: SIM905
)

_HOLE = re.compile(PLACEHOLDER)
# Otherwise naming a well-known font makes every reader's mail program ask Google for it.
_AS_WRITTEN = mrml.RenderOptions(fonts={})


def compile_mjml(source: str) -> str:
    """The MJML as HTML; it loads the fonts of `mj-font`, and none beside.

    Raises RenderError with MJML's own words, which name tags and positions.
    """
    try:
        return mrml.to_html(source, None, _AS_WRITTEN).content
    except OSError as error:  # what mrml raises for anything
        raise RenderError(f"MJML: {error}") from None


def split(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The text's parts around its placeholders, and the number of each placeholder."""
    pieces = _HOLE.split(text)
    return tuple(pieces[::2]), tuple(map(int, pieces[1::2]))


def build_skeleton(suffix: str, source: str, text: str | None, tracking: Tracking | None = None) -> Skeleton:
    """The skeleton of a template's output: `.mjml` and `.html` have both parts, `.txt` the text alone.

    `text` is the output of the block `text`; None: it is derived, with the links as they were written.
    """
    if suffix == ".txt":
        parts, holes = split(source.strip())
        return Skeleton(text=parts, text_holes=holes)
    page = compile_mjml(source) if suffix == ".mjml" else source
    html, html_holes = split(tracking.rewrite(page, TOKEN_PLACEHOLDER) if tracking else page)
    parts, holes = split(derive_text(source) if text is None else text.strip() + "\n")
    return Skeleton(html, html_holes, parts, holes)
