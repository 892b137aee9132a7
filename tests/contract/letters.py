"""Messages to send in tests."""

from __future__ import annotations

from typing import Any

from holdfast.channel import Message, Skeleton

SKELETON = Skeleton(
    html=("<p>Hello ", ", we kept <b>", "</b> for you.</p>\n"),
    html_holes=(0, 1),
    text=("Hello ", ",\nwe kept ", " for you.\n"),
    text_holes=(0, 1),
)

ADDRESS = "customer{}@example.com"


def message(number: int = 1, **changes: Any) -> Message:
    """A message like a campaign's; its key and address follow from `number`."""
    return Message(
        **{
            "key": f"{number}.c2lnbmF0dXJl-_{number}",
            "to": ADDRESS.format(number),
            "to_name": "Ann",
            "sender": "Acme <hello@acme.example>",
            "subject": "We kept your favourites",
            "skeleton": SKELETON,
            "escaped": ("Ann", "tea &amp; cake"),
            "plain": ("Ann", "tea & cake"),
            "headers": {"List-Unsubscribe": "<https://r.acme.example/u/1.abc>"},
            **changes,
        }
    )


def saying(text: str, **changes: Any) -> Message:
    """A message of this text alone."""
    return message(skeleton=Skeleton(text=(text,)), **changes)


def messages(count: int, start: int = 1) -> list[Message]:
    """So many different messages."""
    return [message(number) for number in range(start, start + count)]
