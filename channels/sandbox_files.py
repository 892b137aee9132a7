"""What the sandbox has written, read back: the newest messages or posts of a channel, for its page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parseaddr
from heapq import nlargest
from html.parser import HTMLParser
from pathlib import Path

_SNIPPET = 160  # characters: about what mail programs show of a letter in a list
_UNSEEN = frozenset({"head", "style", "script", "title", "template"})


@dataclass(frozen=True, slots=True)
class Written:
    """One message or post. `key` is its file's name without the ending, `at` when it was written, in UTC.

    `to` is empty for posts. `snippet` is its beginning, as it stands in a list.
    """

    key: str
    at: datetime
    to: str
    subject: str
    text: str
    html: str = ""
    sender: str = ""
    snippet: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def who(self) -> str:
        """The recipient as lists have it: the name of a letter's, where there is one."""
        name = parseaddr(self.to)[0] if self.headers else ""
        return name or self.to


@dataclass(frozen=True, slots=True)
class Outbox:
    """A channel's folder: its newest messages, the newest first, of `total`."""

    channel: str
    kind: str
    is_posts: bool
    folder: Path
    newest: list[Written]
    total: int


def read_outbox(channel: str, kind: str, folder: Path, *, is_posts: bool, latest: int) -> Outbox:
    """What is in the folder of a channel of this kind; a folder that is not there yet holds nothing."""
    ending = ".eml" if kind == "email" else ".txt"
    found = list(_files(folder, ending))
    read = _letter if ending == ".eml" else _post if is_posts else _message
    newest = []
    for written_at, name in nlargest(latest, found):
        path, at = folder / name, datetime.fromtimestamp(written_at / 1e9, UTC)
        newest.append(read(path.stem, at, path.read_bytes()))
    return Outbox(channel, kind, is_posts, folder, newest, len(found))


def _files(folder: Path, ending: str) -> Iterator[tuple[int, str]]:
    """Whole files with the time each was written, in nanoseconds; one under way has a dot before its name."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(ending) and not entry.name.startswith(".") and entry.is_file():
                    yield entry.stat().st_mtime_ns, entry.name


def _post(key: str, at: datetime, content: bytes) -> Written:
    return Written(key, at, to="", subject="", text=content.decode(errors="replace"))


def _message(key: str, at: datetime, content: bytes) -> Written:
    head, _, text = content.decode(errors="replace").partition("\n\n")
    fields = dict(line.partition(": ")[::2] for line in head.split("\n"))
    return Written(key, at, fields.get("To", ""), fields.get("Subject", ""), text, snippet=_short(text))


def _letter(key: str, at: datetime, content: bytes) -> Written:
    mail = message_from_bytes(content, policy=policy.default)
    html = _body(mail, "html")
    text = _body(mail, "plain")
    return Written(
        key=key,
        at=at,
        to=str(mail.get("To", "")),
        subject=str(mail.get("Subject", "")),
        text=text,
        html=html,
        sender=str(mail.get("From", "")),
        snippet=_words_of(html) or _short(text),
        headers=tuple((name, str(value)) for name, value in mail.items()),
    )


def _body(mail: EmailMessage, subtype: str) -> str:
    part = mail.get_body((subtype,))
    return part.get_content() if part else ""


def _words_of(html: str) -> str:
    """What a mail program shows of the letter in a list: its first words, the hidden preheader's too."""
    reader = _Words()
    # It refuses some declarations that no page has; what it has read until then counts.
    with suppress(AssertionError):
        reader.feed(html)
        reader.close()
    return _short("".join(reader.pieces))


def _short(text: str) -> str:
    return " ".join(text.split())[:_SNIPPET]


class _Words(HTMLParser):
    """Collects text that a reader can see, or a preheader that is hidden from them."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._unseen: str = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._unseen and tag in _UNSEEN:
            self._unseen = tag
        self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unseen:
            self._unseen = ""

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(data)
