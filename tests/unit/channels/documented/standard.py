"""What posts to the channels sandbox and webhook: ours to define, in docs/channels.md."""

from __future__ import annotations

import json
from typing import Any

from holdfast.channel import ResponseKind
from tests.unit.channels.documented.events import LEFT_OUT, Event


def _event(name: str, becomes: ResponseKind | str, **more: Any) -> Event:
    event = {"id": "e1", "key": "7.c2lnbmF0dXJl", "event": name, "at": "2026-06-03T12:00:00Z", **more}
    return Event(name, json.dumps([event]).encode(), becomes)


EVENTS = [
    *(
        _event(kind.value, kind)
        for kind in (
            *(ResponseKind.ACCEPTED, ResponseKind.DEFERRED, ResponseKind.DELIVERED, ResponseKind.OPENED),
            *(ResponseKind.UNSUBSCRIBED, ResponseKind.RESUBSCRIBED, ResponseKind.COMPLAINED),
        )
    ),
    _event("bounced", ResponseKind.BOUNCED, reason="bad_address", permanent=True),
    _event("clicked", ResponseKind.CLICKED, url="https://shop.example/"),
    _event("replied", ResponseKind.REPLIED, text="Is it there?"),
    _event("mentioned", ResponseKind.MENTIONED, text="Look at @acme"),
    # Said on our own pages alone.
    _event("answered", LEFT_OUT),
    _event("referred", LEFT_OUT),
    _event("something_new", LEFT_OUT),
]
