"""How many customers stayed, in the readings that are called retention."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.metrics.rates import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Customers active at the start (S) and at the end (E) of a period, by how they came to be.

    Active at a moment: at least one qualifying order in the window before it. `kept` are active at both
    moments. `new` are active at the end and first ordered in the period (N), `reactivated` are active at the
    end and had ordered before it, but were not active at its start (R).
    """

    active_at_start: int
    kept: int
    new: int
    reactivated: int

    @property
    def active_at_end(self) -> int:
        """E: kept, new and reactivated."""
        return self.kept + self.new + self.reactivated

    @property
    def crr(self) -> Rate:
        """Customer retention rate: active at the end / active at the start, of those active at the start.

        |S∩E| / |S|, which is (E - N - R) / S.
        """
        return Rate(self.kept, self.active_at_start)

    @property
    def churn(self) -> Rate:
        """1 - CRR: the ones active at the start who are no longer."""
        return Rate(self.active_at_start - self.kept, self.active_at_start)

    @property
    def textbook_crr(self) -> float | None:
        """(E - N) / S. It counts the reactivated as kept, and so can pass 1: no `Rate`."""
        return (self.active_at_end - self.new) / self.active_at_start if self.active_at_start else None
