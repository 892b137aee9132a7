"""What the sandbox has taken, as customers would see it: mail, chats on a phone, posts in a timeline.

A page is one HTML file without scripts and with nothing from elsewhere. Letters are shown in frames where
nothing of theirs runs and nothing is loaded: an image that is loaded would count as an opened letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from channels.mastodon_text import counted_length
from channels.sandbox_files import Outbox, Written
from channels.sms_text import segments
from channels.x_text import LONGEST_POST, weighted_length

# First in every letter's frame; the page's own policy is inherited there, and says the same. Links open
# elsewhere: the frame has no room for a shop.
_FRAME = (
    "<!doctype html>"
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:\">"
    '<meta name="referrer" content="no-referrer"><base target="_blank">'
)
_MASTODON_TAKES = 500

# What people call what a channel of the kind sends, if it is a chat; what others send looks like a letter.
_CHATS = {
    "sms": "SMS",
    "telegram": "Telegram",
    "whatsapp": "WhatsApp",
    "messenger": "Messenger",
    "x": "X messages",
    "mastodon": "Mastodon messages",
}
_POSTS = {"x": "X posts", "mastodon": "Mastodon posts"}


@dataclass(frozen=True, slots=True)
class Chat:
    """What one address got, the oldest first."""

    to: str
    messages: list[Written]


@dataclass(frozen=True, slots=True)
class Tab:
    """A page, as the others lead to it."""

    file: str
    title: str
    box: Outbox


def pages(outboxes: Sequence[Outbox], brand: str, now: datetime) -> dict[str, str]:
    """The pages by their files' names, `index.html` first. Times are shown in the zone of `now`."""
    template = _environment().get_template("sandbox.html.j2")
    tabs = _tabs(outboxes)
    return {
        tab.file: template.render(brand=brand, tabs=tabs, tab=tab, now=now, **_shown(tab)) for tab in tabs
    }


def _tabs(outboxes: Sequence[Outbox]) -> list[Tab]:
    titles = Counter(map(_title, outboxes))
    tabs = []
    for number, box in enumerate(outboxes):
        words = _title(box)
        file = f"channel-{box.channel}.html" if number else "index.html"
        tabs.append(Tab(file, words if titles[words] == 1 else f"{words} ({box.channel})", box))
    return tabs


def _title(box: Outbox) -> str:
    if box.is_posts:
        return _POSTS.get(box.kind, f"{box.channel} posts")
    return "Email" if box.kind == "email" else _CHATS.get(box.kind, box.channel)


def _shown(tab: Tab) -> dict[str, Any]:
    """What the page shows, and how."""
    if tab.box.is_posts:
        return {"layout": "timeline", "entries": tab.box.newest}
    if tab.box.kind in _CHATS:
        return {"layout": "chat", "entries": chats(tab.box)}
    return {"layout": "mail", "entries": tab.box.newest}


def chats(outbox: Outbox) -> list[Chat]:
    """The messages by whom they went to; who was written to last comes first."""
    found: dict[str, list[Written]] = {}
    for message in outbox.newest:
        found.setdefault(message.to, []).append(message)
    return [Chat(to, messages[::-1]) for to, messages in found.items()]


def size(box: Outbox, text: str) -> str:
    """How long the text is as its network counts, in words."""
    text = text.strip()
    if box.kind == "sms":
        return f"{_counted(len(text), 'character')}, {_counted(segments(text), 'segment')}"
    if box.is_posts and box.kind == "x":
        return f"{weighted_length(text):,} of {LONGEST_POST} characters, as X counts"
    if box.is_posts and box.kind == "mastodon":
        return f"{counted_length(text):,} of {_MASTODON_TAKES} characters, as Mastodon counts"
    return _counted(len(text), "character")


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("channels", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    environment.filters["moment"] = lambda at, zone: f"{at.astimezone(zone):%d %b %Y, %H:%M}"
    environment.filters["day_and_hour"] = lambda at, zone: f"{at.astimezone(zone):%d %b, %H:%M}"
    environment.globals |= {"size": size, "frame": _FRAME}
    return environment
