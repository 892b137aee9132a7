"""The text of posts as X counts it, and as it gives it back."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST_POST = 280
_URL_COUNTS = 23

_URL = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,:;!?)\]]")
_PICTURE = "[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff]"
_DRESSED = f"{_PICTURE}\ufe0f?[\U0001f3fb-\U0001f3ff]?"
# A flag, a keycap, a picture of a region's flag, or pictures joined to one: two characters, however many code
# points they are.
_EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}"
    "|[0-9#*]\ufe0f?\u20e3"
    "|\U0001f3f4[\U000e0061-\U000e007a]+\U000e007f"
    f"|{_DRESSED}(?:\u200d{_DRESSED})*"
)
# Code points that count once; all others count twice (X: "Counting characters", configuration v3).
_LIGHT = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))


def weighted_length(text: str) -> int:
    """The length of a post as X counts it: NFC, a URL as 23, an emoji as 2, CJK and the like twice."""
    text, urls = _URL.subn("", unicodedata.normalize("NFC", text))
    text, emoji = _EMOJI.subn("", text)
    return urls * _URL_COUNTS + emoji * 2 + sum(map(_weight, text))


def _weight(character: str) -> int:
    return 1 if any(low <= ord(character) <= high for low, high in _LIGHT) else 2


def same_post(text: str, tweet: Mapping[str, Any]) -> bool:
    """Whether this is the post with the text. X gives it back escaped for HTML, with its own short links."""
    given = html.unescape(str(tweet.get("text", "")))
    for url in _urls(tweet):
        given = given.replace(str(url.get("url", "")), str(url.get("expanded_url") or url.get("url", "")))
    return _plain(given) == _plain(text)


def _urls(tweet: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    entities = tweet.get("entities")
    return (entities.get("urls") or ()) if isinstance(entities, dict) else ()


def _plain(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return _URL.sub(lambda url: url[0].rstrip("/"), text)
