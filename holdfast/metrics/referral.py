"""What became of invitations: customers who recommend the shop, and who comes by that."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.metrics.rates import Rate


@dataclass(frozen=True, slots=True)
class Referral:
    """Invitations of a period, of `customers` who could have passed some on.

    `visits` are invitations looked at by people, `inviters` the customers whose they were. `came`: became
    customers by an invitation; `ordered`: those of them with a qualifying order.
    """

    customers: int
    visits: int
    inviters: int
    came: int
    ordered: int

    @property
    def invites_per_customer(self) -> float | None:
        """Visits / customers: an invitation that nobody looks at is none."""
        return self.visits / self.customers if self.customers else None

    @property
    def conversion(self) -> float | None:
        """Ordered / visits. One may be the visit of an earlier period, so it can pass 1: no `Rate`."""
        return self.ordered / self.visits if self.visits else None

    @property
    def ordered_per_came(self) -> Rate:
        """Those who ordered, of those who came."""
        return Rate(self.ordered, self.came)

    @property
    def coefficient(self) -> float | None:
        """Invites a customer times conversion: the buyers that a customer brings."""
        if self.invites_per_customer is None or self.conversion is None:
            return None
        return self.invites_per_customer * self.conversion
