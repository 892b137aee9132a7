"""The text of posts as Mastodon counts it, and as it gives it back."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser

_URL_COUNTS = 23

_URL = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,:;!?)\]]")
_USER = r"[a-zA-Z0-9_](?:[a-zA-Z0-9_.-]*[a-zA-Z0-9_])?"
_HOST = r"\w(?:[\w.-]*\w)?(?::\d+)?"
# After a letter it is an email address, after a slash a part of a link.
_MENTION = re.compile(rf"(?<![\w/=])@({_USER})(?:@{_HOST})?")
_ACCOUNT = re.compile(rf"@?({_USER}(?:@{_HOST})?)")
_FIRST_MENTIONS = re.compile(rf"\s*(?:@{_USER}(?:@{_HOST})?\s+)+")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{2}")
_JOINER = "\u200d"


def counted_length(text: str) -> int:
    """The length of a post as Mastodon counts it: a URL as 23, a mention without its host, and of the rest
    what a reader takes for one character."""
    text, urls = _URL.subn("", text)
    text = _FLAG.sub("f", _MENTION.sub(r"@\1", text)).replace("\r\n", "\n")
    count, is_joined = 0, False
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        count += not (_extends(character, category) or (is_joined and category == "So"))
        is_joined = character == _JOINER
    return urls * _URL_COUNTS + count


def _extends(character: str, category: str) -> bool:
    """Whether it belongs to the character before it: marks, joiners, skin colours, tags of flags."""
    return (
        category in ("Mn", "Me", "Mc")
        or character in (_JOINER, "\u200c")
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
    )


def account(address: str) -> str:
    """`user@host`, or `user` alone for one of the same instance; '' for what is neither."""
    found = _ACCOUNT.fullmatch(address.strip())
    return found[1] if found else ""


def without_mentions(text: str) -> str:
    """The text, mentioning nobody any more: what is private goes to everybody whom it mentions."""
    return re.sub(r"(?<![\w/=])@(?=\w)", "@\u2060", text)


def without_first_mentions(text: str) -> str:
    """The text without those whom a reply is to, which programs put before it."""
    found = _FIRST_MENTIONS.match(text)
    return text[found.end() :] if found else text


def plain_text(content: str) -> str:
    """The text of a post, which Mastodon gives as HTML."""
    reader = _Reader()
    reader.feed(content)
    reader.close()
    return "".join(reader.pieces).strip()


def same_post(text: str, content: str) -> bool:
    """Whether this HTML is the post with the text; mentions are in it without their hosts."""
    return _comparable(text) == _comparable(plain_text(content))


def _comparable(text: str) -> str:
    text = unicodedata.normalize("NFC", text.encode(errors="replace").decode())
    return " ".join(_MENTION.sub(r"@\1", text).split())


class _Reader(HTMLParser):
    """Links are whole in it: what is not shown of them is there, in parts of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self.pieces.append("\n\n")
