"""The draw: which arm and which variant a customer gets, from integers alone, so that SQL can draw the same.

Every customer has a number x, a keyed hash of their external id (sequential ids as x would hold out
neighbours). Each decision has coefficients of its own, from the project's secret and a salt such as
`("holdout", campaign)` or `("variant", campaign, step)`. The customer's position under that salt is
(a*x + b) mod P, uniform on [0, P); a share is a threshold on it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Literal

P = 2**31 - 1

Arm = Literal["treated", "holdout"]


def draw_number(secret: bytes, external_id: str) -> int:
    """x of the draw, in [0, P): stored with the customer, the same for every decision."""
    return _hash(secret, "draw", external_id) % P


def coefficients(secret: bytes, *salt: str) -> tuple[int, int]:
    """(a, b) of one decision: 1 <= a < P, 0 <= b < P."""
    return 1 + _hash(secret, "a", *salt) % (P - 1), _hash(secret, "b", *salt) % P


def position(x: int, a: int, b: int) -> int:
    """Where the customer with number x stands under these coefficients, in [0, P)."""
    return (a * x + b) % P


def threshold(share: float) -> int:
    """The positions below it are the share: 0.0 takes nobody, 1.0 everybody."""
    if not 0 <= share <= 1:
        raise ValueError("a share is between 0 and 1")
    return round(share * P)


def arm(position: int, holdout: float) -> Arm:
    """The arm at this position, with this share held out."""
    return "holdout" if position < threshold(holdout) else "treated"


def variant_thresholds(weights: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Each variant with the position it ends before, ascending; the last ends at P.

    Weights are positive and relative to their sum. Raises ValueError for none at all.
    """
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("no variant has a weight")
    ends = []
    below = 0
    for name, weight in weights.items():
        below += weight
        ends.append((name, P * below // total))
    return tuple(ends)


def variant(position: int, weights: Mapping[str, int]) -> str:
    """The variant at this position."""
    return next(name for name, end in variant_thresholds(weights) if position < end)


def _hash(secret: bytes, *parts: str) -> int:
    # JSON keeps ("a", "bc") and ("ab", "c") apart.
    message = json.dumps(parts).encode("ascii")
    return int.from_bytes(hmac.digest(secret, message, "sha256")[:16], "big")
