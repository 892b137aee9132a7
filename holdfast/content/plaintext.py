"""The plain text part of an email, derived from its MJML or HTML source."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_PARAGRAPHS = frozenset(
    {"p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote", "section"}
    | {"mj-text", "mj-button", "mj-image", "mj-table", "mj-section"}
)
_LINES = frozenset({"br", "li", "tr"})
_SILENT = frozenset({"head", "style", "script", "title", "mj-head", "mj-style", "mj-preview", "mj-title"})
_LINKS = frozenset({"a", "mj-button"})
_IMAGES = frozenset({"img", "mj-image"})
# Entered, these have no end tag to leave by.
_VOID = frozenset({"br", "img", "hr", "meta", "link", "input"})


class _TextWriter(HTMLParser):
    """Collects text: blocks become paragraphs, links `label: url`, lists dashes, images their alt text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._silent = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag in _SILENT:
            self._silent += 1
        if self._silent:
            return
        if tag in _PARAGRAPHS:
            self._pieces.append("\n\n")
        elif tag in _LINES:
            self._pieces.append("\n- " if tag == "li" else "\n")
        elif tag == "td" or tag == "th":
            self._pieces.append(" ")
        elif tag == "hr" or tag == "mj-divider":
            self._pieces.append("\n\n---\n\n")
        if tag in _IMAGES:
            self._pieces.append(attributes.get("alt") or "")
        if tag in _LINKS:
            self._links.append((attributes.get("href") or "", len(self._pieces)))

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        if self._silent:
            return
        if tag in _LINKS and self._links:
            url, start = self._links.pop()
            label = "".join(self._pieces[start:]).strip()
            if url and not url.startswith("#") and url != label:
                self._pieces.append(f": {url}" if label else url)
        if tag in _PARAGRAPHS:
            self._pieces.append("\n\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if not self._silent:
            # A button's label ends in white space, and `: url` follows it.
            self._pieces.append(re.sub(r"\s+", " ", data))

    def text(self) -> str:
        text = re.sub(r" *\n *", "\n", re.sub(r" {2,}", " ", "".join(self._pieces)))
        return re.sub(r"\n{3,}", "\n\n", re.sub(r" +(: https?:)", r"\1", text)).strip() + "\n"


def derive_text(source: str) -> str:
    """What a reader without HTML sees. `source` is MJML or HTML; head, styles and comments are left out."""
    writer = _TextWriter()
    writer.feed(source)
    writer.close()
    return writer.text()
