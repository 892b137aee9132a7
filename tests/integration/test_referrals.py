"""Who came by whose invitation: by a code of ours, once, and nobody who was there before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from holdfast.metrics.referral import Referral
from holdfast.store import referrals as kept
from holdfast.store.imports import ImportReport, import_records
from holdfast.tables import customers, referrals, responses
from holdfast.tokens import Signer
from tests.integration.conftest import NOW, SECRET, Bench

DAY = timedelta(days=1)


@pytest.fixture
def invited(bench: Bench) -> Bench:
    """A shop with the customers c1 and c2, and a message to each: 1 and 2."""
    imported(
        bench, *({"customer_id": id_, "phone": "+4930123456", "consent.sms": True} for id_ in ("c1", "c2"))
    )
    bench.campaign()
    bench.run()
    return bench


def imported(bench: Bench, *records: dict[str, Any], **options: Any) -> ImportReport:
    ws = bench.ws
    return import_records(
        ws.database, ws.project, SECRET, "customers", records, now=bench.clock.now, **options
    )


def id_of(bench: Bench, external_id: str) -> int:
    with bench.ws.database.read() as connection:
        return connection.execute(select(customers.c.id).filter_by(external_id=external_id)).scalar_one()


def code(message_id: int, secret: bytes = SECRET) -> str:
    return Signer(secret).sign("referral", message_id)


def come(bench: Bench, *given: tuple[str, str], **options: Any) -> ImportReport:
    """Imports customers with the code that each came by."""
    return imported(bench, *({"customer_id": id_, "referred_by": by} for id_, by in given), **options)


def brought(bench: Bench) -> list[tuple[str, str, int]]:
    """Who came, by whose invitation, and the message it stood in."""
    r, guest, host = referrals.c, customers.alias(), customers.alias()
    query = (
        select(guest.c.external_id, host.c.external_id, r.message_id)
        .join_from(referrals, guest, guest.c.id == r.customer_id)
        .join(host, host.c.id == r.referrer_id)
        .order_by(guest.c.external_id)
    )
    with bench.ws.database.read() as connection:
        return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def test_who_comes_by_a_code_is_kept_with_whose_it_is_and_the_first_one_stays(invited: Bench) -> None:
    assert come(invited, ("new1", code(1)), ("new2", f" {code(2)} "), ("new3", "")).rejected == 0
    assert brought(invited) == [("new1", "c1", 1), ("new2", "c2", 2)]
    invited.clock.advance(days=1)
    assert come(invited, ("new1", code(2)), ("new2", ""), ("new3", code(1))).written == 1
    assert brought(invited) == [("new1", "c1", 1), ("new2", "c2", 2), ("new3", "c1", 1)]
    with invited.ws.database.read() as connection:
        assert set(connection.scalars(select(referrals.c.referred_at))) == {NOW, NOW + DAY}


def test_a_code_that_is_not_ours_is_refused_with_the_row(invited: Bench) -> None:
    for forged in (
        "2" + code(1)[1:],
        code(1)[:-1],
        code(1, b"the secret of another shop"),
        Signer(SECRET).sign("track", 1),
        "ann@shop.example",
    ):
        report = come(invited, ("new", forged), ("good", code(1)))
        assert report.refused == [(1, "referred_by: not the code of an invitation of ours")], forged
    assert brought(invited) == [("good", "c1", 1)]


def test_links_that_are_signed_otherwise_are_believed_by_their_own_signer(invited: Bench) -> None:
    signer = Signer(b"the secret of this year", b"the secret of last year")
    given = ("new", code(1, b"the secret of last year"))
    assert come(invited, given).rejected == 1
    assert come(invited, given, signer=signer).rejected == 0
    assert brought(invited) == [("new", "c1", 1)]


def test_nobody_invites_themselves_nor_who_has_ordered_before(invited: Bench) -> None:
    imported(invited, {"customer_id": "buyer"})
    invited.shop.order(id_of(invited, "buyer"), NOW - DAY)
    report = come(invited, ("c1", code(1)), ("buyer", code(1)), ("new", code(404)), ("c2", code(1)))
    assert report.rejected == 0
    # c2 is there, but has bought nothing yet.
    assert brought(invited) == [("c2", "c1", 1)]


def test_what_came_of_invitations_counts_people_who_came_and_who_ordered(invited: Bench) -> None:
    come(invited, ("new1", code(1)), ("new2", code(1)))
    invited.clock.advance(days=1)
    come(invited, ("new3", code(2)))
    invited.shop.order(id_of(invited, "new1"), NOW + DAY)
    looked: list[tuple[int, str | None, timedelta]] = [
        (1, None, 0 * DAY), (1, None, DAY), (2, "scanner", DAY), (2, None, 2 * DAY)
    ]  # fmt: skip
    with invited.ws.database.write() as connection:
        connection.execute(
            insert(responses),
            [
                {
                    "channel": "",
                    "event_id": str(number),
                    "kind": "referred",
                    "message_id": id_,
                    "customer_id": id_of(invited, f"c{id_}"),
                    "occurred_at": NOW + after,
                    "received_at": NOW + after,
                    "machine": machine,
                }
                for number, (id_, machine, after) in enumerate(looked)
            ],
        )

    def results(days: int) -> Referral:
        with invited.ws.database.read() as connection:
            return kept.results(connection, NOW, NOW + days * DAY, 10)

    assert results(1) == Referral(customers=10, visits=1, inviters=1, came=2, ordered=0)
    assert results(2) == Referral(customers=10, visits=2, inviters=1, came=3, ordered=1)
    assert results(3) == Referral(customers=10, visits=3, inviters=2, came=3, ordered=1)
