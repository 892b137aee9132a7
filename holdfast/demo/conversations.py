"""Simulated customers who write back: by email and on the phone, in public, and what they answer to a survey.

Not chance but turns decide who writes, so that each of these things happens in a shop of any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import Any

from holdfast.demo.letters import read_letters
from holdfast.demo.web_app import Endpoints, WebApp

# Of those who got a message, one in so many writes back.
_WRITES = 20
_REPLIES = (
    "Thanks! The blue ones look lovely.",
    "Is the jasmine tea back in stock?",
    "My last parcel came broken, and nobody answers me.",
    None,  # wants no more
    "شكرا جزيلا!",
    "Meine Bestellung ist nie angekommen. Ich bin sehr enttäuscht.",
)
_MENTIONS = (
    "It is good to see you, too, Acme!",
    "Acme sent me the wrong size twice. I want my money back.",
)
# What a survey is answered, in turns; None: not at all.
_ANSWERS: tuple[tuple[int, str] | None, ...] = (
    (10, "The tea is the best in town."),
    (9, ""),
    None,
    (8, ""),
    (10, ""),
    (7, "Delivery could be faster."),
    None,
    (9, ""),
    (3, "The box arrived damaged."),
    (9, ""),
    (10, ""),
    (8, "Nice people."),
    None,
    (9, ""),
    (10, ""),
    (7, ""),
    None,
    (10, ""),
    (9, ""),
    (8, ""),
)


def write_back(phones: dict[str, Path], posts: Path, endpoints: Endpoints, now: datetime) -> Counter[str]:
    """Has some of those write back who got a message, and others speak of the newest post; what they did.

    `phones` has the folder of each channel of the sandbox; `posts` is that of X.
    """
    did: Counter[str] = Counter()
    with WebApp(endpoints) as app:
        for channel, folder in phones.items():
            events = list(_replies(channel, sorted(path.stem for path in folder.iterdir()), now))
            did.update(f"{event['event']} by {channel}" for event in events)
            app.report(channel, events, now)
        for post in sorted(path.name for path in posts.iterdir())[:1]:
            mentions = [
                {"id": f"mention {n}", "provider_id": post, "event": "mentioned", "at": now.isoformat()}
                | {"text": text}
                for n, text in enumerate(_MENTIONS)
            ]
            did["mentioned on x"] += len(mentions)
            app.report("x", mentions, now)
    return did


def asking(mailbox: Path, url: str) -> list[str]:
    """Where the letters lead that ask a survey: paths of the web app at this address."""
    return [letter.survey for letter in read_letters(mailbox, url) if letter.survey]


def answer_surveys(mailbox: Path, endpoints: Endpoints) -> Counter[str]:
    """Has most of the customers answer whose letters lead to a survey; how many did."""
    did: Counter[str] = Counter()
    with WebApp(endpoints) as app:
        for link, answer in zip(asking(mailbox, endpoints.url), cycle(_ANSWERS), strict=False):
            if answer is not None:
                score, comment = answer
                app.submit(link, {"answer": str(score), "comment": comment})
                did["surveys answered"] += 1
    return did


def _replies(channel: str, keys: Sequence[str], now: datetime) -> Iterator[dict[str, Any]]:
    for key, text in zip(keys[::_WRITES], cycle(_REPLIES), strict=False):
        event = {"id": f"{key} wrote", "key": key, "at": now.isoformat()}
        yield event | ({"event": "unsubscribed"} if text is None else {"event": "replied", "text": text})
