from __future__ import annotations

from holdfast.metrics.rates import Rate
from holdfast.metrics.referral import Referral


def test_invites_a_customer_times_conversion_are_the_buyers_that_a_customer_brings() -> None:
    referral = Referral(customers=1_000, visits=250, inviters=80, came=40, ordered=30)
    assert referral.invites_per_customer == 0.25
    assert referral.conversion == 0.12
    assert referral.coefficient == 0.03
    assert referral.ordered_per_came == Rate(30, 40)


def test_nobody_who_could_invite_and_nobody_who_looked_leave_it_undefined() -> None:
    assert Referral(customers=0, visits=3, inviters=1, came=0, ordered=0).coefficient is None
    unseen = Referral(customers=10, visits=0, inviters=0, came=2, ordered=1)
    assert (unseen.conversion, unseen.coefficient) == (None, None)
    assert unseen.invites_per_customer == 0
