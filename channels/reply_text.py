"""What a person wrote in a reply, without the letter that it answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from email.message import Message
from html.parser import HTMLParser

# What people write themselves is shorter, and stands first.
_BYTES_READ = 50_000
_LONGEST_TEXT = 10_000

# Above the letter that is answered: "-----Original Message-----", Outlook's line, a signature's "-- ".
_RULE = re.compile(r"[-_]{5}.*|[-_=*\u2013\u2014]{3,}|--")
_SPACE = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n{3,}")

_UNSEEN = frozenset({"blockquote", "script", "style", "title", "head"})
_LINES = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "table", "ul", "ol"})


def own_words(parts: Sequence[Message]) -> str:
    """The text that stands above the quoted letter, of the first part with text; '' where there is none."""
    for kind in ("text/plain", "text/html"):
        for part in parts:
            if part.get_content_type() == kind and part.get_content_disposition() != "attachment":
                text = _text(part)
                return _unquoted(_seen(text) if kind == "text/html" else text)[:_LONGEST_TEXT]
    return ""


def content_of(part: Message) -> bytes:
    """The part's content, decoded; b'' for one that is made of parts."""
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(part: Message) -> str:
    content = content_of(part)[:_BYTES_READ]
    try:
        return content.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):  # no charset that there is, or none of text
        return content.decode(errors="replace")


def _unquoted(text: str) -> str:
    lines = _BLANK_LINES.sub("\n\n", "\n".join(line.strip() for line in text.splitlines())).split("\n")
    end = next((at for at, line in enumerate(lines) if line.startswith(">") or _RULE.fullmatch(line)), None)
    if end is None:
        return "\n".join(lines).strip()
    own = "\n".join(lines[:end]).strip()
    if lines[end].startswith(">"):
        own = _without_introduction(own)
    below = "\n".join(line for line in lines[end:] if not line.startswith(">"))
    return own or below.strip()


def _without_introduction(text: str) -> str:
    """Without "On Monday Acme wrote:", in whatever language; programs break it into two lines."""
    above, _, last = text.rpartition("\n\n")
    return above.strip() if last.endswith(":") and last.count("\n") <= 1 else text


def _seen(html: str) -> str:
    reader = _Reader()
    # It refuses some declarations that no page has; what it has read until then counts.
    with suppress(AssertionError):
        reader.feed(_closed(html))
        reader.close()
    return "".join(reader.found)


def _closed(html: str) -> str:
    """The page with what begins and never ends as text: for each of these the parser reads all the rest."""
    for begin, end in (("<!--", "-->"), ("<", ">")):
        whole, last, rest = html.rpartition(end)
        html = whole + last + rest.replace(begin, begin.replace("<", "&lt;"))
    return html


class _Reader(HTMLParser):
    """Collects the text of a page, without quotations."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._unseen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag in _LINES:
            self.found.append("\n")
        elif tag == "hr":  # what Outlook puts above the letter that is answered
            self.found.append("\n-----\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            while self._unseen.pop() != tag:
                pass
        elif tag in _LINES and tag != "br":
            self.found.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.found.append(_SPACE.sub(" ", data))
