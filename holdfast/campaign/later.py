"""Keys of the design that this version does not act on, and what they will be for.

They are answered with "not supported yet" instead of "unknown key"; nothing a file says is ever ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast.mistakes import Place

CAMPAIGN = {
    "trigger": "starting from an event instead of a schedule",
    "steps.*.tone": "tones that a template can take",
    "steps.*.referral": "rewards for recommending",
}

RULE = {
    "accepted": "what became of messages",
    "delivered": "responses to messages",
    "bounced": "responses to messages",
    "opened": "responses to messages",
    "clicked": "responses to messages",
    "replied": "responses to messages",
    "unsubscribed": "responses to messages",
    "complained": "responses to messages",
    "answered": "answers to surveys",
    "liked": "responses to posts",
    "converted": "what campaigns achieved",
    "received": "what became of messages",
    "tags": "tags of customers",
    "rfm": "scores for recency, frequency and value",
    "sequence": "events in an order",
    "loyalty": "tiers and points",
    "loyalty.tier": "tiers and points",
    "loyalty.points": "tiers and points",
    "churn_risk": "predictions",
    "clv": "predictions",
    "birthday": "birthdays and anniversaries",
    "anniversary": "birthdays and anniversaries",
    "sql": "conditions written in SQL",
}


def rules(place: Place, value: Any) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The rule at this place and all rules inside it, as far as they have the shape of rules."""
    if not isinstance(value, dict):
        return
    yield place, value
    yield from rules((*place, "not"), value.get("not"))
    for key in ("all", "any"):
        if isinstance(value.get(key), list):
            for index, part in enumerate(value[key]):
                yield from rules((*place, key, index), part)
