"""What lies in the sandbox's mailbox, as those see it who got it."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.utils import parseaddr
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter to an address. Its links are paths of the web app, `survey` '' where it asks none; `key` is
    the sandbox's name for it."""

    key: str
    to: str
    pixel: str
    links: tuple[str, ...]
    survey: str
    unsubscribe: str


def read_letters(mailbox: Path, url: str) -> list[Letter]:
    """The letters in the folder, whose links lead to the web app at this address."""
    return [
        _letter(path.stem, message_from_bytes(path.read_bytes()), url)
        for path in sorted(mailbox.glob("*.eml"))
    ]


def _letter(key: str, mail: Message, url: str) -> Letter:
    [page] = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    body = bytes(page.get_payload(decode=True)).decode()

    def paths(place: str) -> list[str]:
        return [html.unescape(path) for path in re.findall(rf'"{re.escape(url)}(/{place}/[^"]+)"', body)]

    return Letter(
        key=key,
        to=parseaddr(str(mail["To"]))[1],
        pixel=paths("o")[0],
        links=tuple(paths("c")),
        survey=next(iter(paths("s")), "").partition("?")[0],
        unsubscribe="".join(str(mail["List-Unsubscribe"]).split()).strip("<>").removeprefix(url),
    )
