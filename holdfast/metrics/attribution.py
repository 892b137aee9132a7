"""What orders came after: the last message that their customer touched. No effect, see `effects`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """Orders whose last touch was of some messages, what they come to in minor units, net of refunds.

    `after_click` are those of the orders whose last touch was a click; the others' was an open.
    """

    orders: int
    revenue: int
    after_click: int
