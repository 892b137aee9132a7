"""What rules are compiled for: a moment, the project's thresholds and its named segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.audience.rules import Rule
from holdfast.settings import Lifecycle
from holdfast.tables import to_microseconds


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule means at a moment: facts after `as_of` are not seen.

    `rollup`: read order facts from the rollup, but for customers who ordered after `as_of`; right at any
    moment, and fast where most of them did not. Else they are read from the orders.
    """

    as_of: datetime
    lifecycle: Lifecycle
    secret: bytes
    segments: Mapping[str, Rule]
    currency_digits: int = 2
    rollup: bool = True

    @property
    def now(self) -> int:
        """`as_of` in microseconds."""
        return to_microseconds(self.as_of)

    def ago(self, duration: timedelta) -> int:
        """The moment so long before `as_of`, in microseconds; it may lie before the first year."""
        return self.now - duration // timedelta(microseconds=1)
