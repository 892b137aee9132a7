"""Simulated customers: what each of them does within a campaign's goal window, by chance alone.

They know nothing of arms: they react to a letter they received, and buy now and then without any. So whether
the report finds what was planted here, and nothing where nothing was, can be checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Habits:
    """Probabilities. `effect` is the planted one: what a click adds to a customer's chance to order.

    The others are of a letter sent (bounce), delivered (machine_open, open, complain) or opened (click,
    unsubscribe); `order` is everybody's within the goal's window.
    """

    effect: float
    order: float = 0.05
    bounce: float = 0.01
    machine_open: float = 0.25
    open: float = 0.6
    click: float = 0.5
    unsubscribe: float = 0.02
    complain: float = 0.002

    @property
    def uplift_per_letter(self) -> float:
        """The truth that a report should find, diluted by those who were assigned and got no letter."""
        return (1 - self.bounce) * self.open * self.click * self.effect


@dataclass(frozen=True, slots=True)
class Reaction:
    """What one customer did; without a letter only `ordered` can be true."""

    bounced: bool
    delivered: bool
    machine_opened: bool
    opened: bool
    clicked: bool
    unsubscribed: bool
    complained: bool
    ordered: bool


def react(habits: Habits, chance: Random, *, got_letter: bool) -> Reaction:
    """One customer's luck, drawn in full with or without a letter: nobody's hangs on another's."""
    bounce, machine_open, open_, click, unsubscribe, complain, order = (chance.random() for _ in range(7))
    delivered = got_letter and bounce >= habits.bounce
    opened = delivered and open_ < habits.open
    clicked = opened and click < habits.click
    return Reaction(
        bounced=got_letter and not delivered,
        delivered=delivered,
        machine_opened=delivered and machine_open < habits.machine_open,
        opened=opened,
        clicked=clicked,
        unsubscribed=opened and unsubscribe < habits.unsubscribe,
        complained=delivered and complain < habits.complain,
        ordered=order < habits.order + habits.effect * clicked,
    )
