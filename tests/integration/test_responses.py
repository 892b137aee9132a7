"""What answers change: messages, the ledger, suppressions, consents; and what pages for customers do."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import insert, select

from holdfast.channel import Accepted, InDoubt, RejectReason, Response, ResponseKind
from holdfast.responses import Applied, Choices, apply, contact_of, save, unsubscribe
from holdfast.tables import addresses, consents, messages, posts, responses, suppressions
from holdfast.tokens import Signer
from tests.integration.conftest import NOW, Bench

LATER = NOW + timedelta(hours=2)
# What is the same SQL as another test's is tried on one database.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
_names = count()


def answer(kind: ResponseKind, at: float = 60, **fields: Any) -> Response:
    """An answer so many seconds after the message went out."""
    return Response(kind, f"e{next(_names)}", NOW + timedelta(seconds=at), **fields)


def sent(bench: Bench, customers: int = 1, name: str = "hello") -> list[str]:
    """Sends the campaign to new customers; the keys of the messages."""
    bench.shop.customers(customers)
    bench.run(bench.campaign(name), key=name)
    return keys(bench)


def keys(bench: Bench) -> list[str]:
    return [bench.ws.signer.sign("message", row.id) for row in bench.messages()]


def applied(bench: Bench, *answers: Response, now: datetime = LATER) -> Applied:
    return apply(bench.ws, "sms", answers, now)


def rows(bench: Bench, table: Any) -> list[Any]:
    with bench.ws.database.read() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)))


def suppressed(bench: Bench) -> dict[str, str]:
    return {row.address_key: row.reason for row in rows(bench, suppressions)}


def latest_consent(bench: Bench, customer_id: int, kind: str = "sms") -> Any:
    with bench.ws.database.read() as connection:
        return connection.execute(
            select(consents)
            .where(consents.c.customer_id == customer_id, consents.c.kind == kind)
            .order_by(consents.c.recorded_at.desc(), consents.c.id.desc())
            .limit(1)
        ).one()


# --- messages -------------------------------------------------------------------------------------


def test_a_message_has_the_first_answer_of_each_kind(bench: Bench) -> None:
    [key] = sent(bench)
    applied(
        bench,
        answer(ResponseKind.OPENED, 300, key=key),
        answer(ResponseKind.DELIVERED, 5, key=key),
        answer(ResponseKind.OPENED, 90, key=key),
    )
    [message] = bench.messages()
    assert message.delivered_at == NOW + timedelta(seconds=5)
    assert message.opened_at == NOW + timedelta(seconds=90)
    assert message.clicked_at is message.machine_opened_at is None


def test_the_same_event_twice_is_one_response(bench: Bench) -> None:
    [key] = sent(bench)
    opened = answer(ResponseKind.OPENED, key=key)
    assert applied(bench, opened, opened) == Applied(new=1, repeated=1)
    assert applied(bench, opened) == Applied(repeated=1)
    assert len(rows(bench, responses)) == 1


def test_an_event_with_a_name_of_any_length_is_kept_once(bench: Bench) -> None:
    [key] = sent(bench)
    name = secrets.token_urlsafe(9000)  # of more than an index of PostgreSQL holds, however packed
    opened = [replace(answer(ResponseKind.OPENED, key=key), event_id=name + end) for end in ("a", "b", "a")]
    assert applied(bench, *opened) == Applied(new=2, repeated=1)
    assert applied(bench, *opened) == Applied(repeated=3)
    assert len(rows(bench, responses)) == 2


@on_sqlite
def test_an_answer_without_a_time_is_of_when_we_were_told(bench: Bench) -> None:
    [key] = sent(bench)
    told = replace(answer(ResponseKind.DELIVERED, key=key), occurred_at=None)
    assert applied(bench, told) == Applied(new=1)
    [message] = bench.messages()
    assert message.delivered_at == LATER


@on_sqlite
def test_a_late_bounce_leaves_the_delivery_as_it_was(bench: Bench) -> None:
    [key] = sent(bench)
    applied(bench, answer(ResponseKind.DELIVERED, 5, key=key))
    applied(bench, answer(ResponseKind.BOUNCED, 600, key=key))
    [message] = bench.messages()
    assert message.state == "accepted"
    assert message.delivered_at < message.bounced_at


@on_sqlite
def test_what_a_machine_did_is_kept_apart_from_what_a_person_did(bench: Bench) -> None:
    [key] = sent(bench)
    applied(
        bench,
        answer(ResponseKind.OPENED, 3, key=key, machine="mail_proxy"),
        answer(ResponseKind.CLICKED, 4, key=key, machine="scanner", url="https://a.example"),
        answer(ResponseKind.CLICKED, 400, key=key, url="https://a.example"),
    )
    [message] = bench.messages()
    assert message.machine_opened_at == NOW + timedelta(seconds=3)
    assert message.machine_clicked_at == NOW + timedelta(seconds=4)
    assert message.opened_at is None
    assert message.clicked_at == NOW + timedelta(seconds=400)


def test_clicks_on_several_links_on_arrival_are_a_machines_and_a_later_one_is_a_persons(bench: Bench) -> None:
    [key] = sent(bench)
    applied(
        bench,
        answer(ResponseKind.CLICKED, 4, key=key, url="https://a.example"),
        answer(ResponseKind.CLICKED, 9, key=key, url="https://b.example"),
        answer(ResponseKind.CLICKED, 300, key=key, url="https://b.example"),
    )
    assert bench.messages()[0].clicked_at == NOW + timedelta(seconds=4), "too far apart to tell"
    applied(bench, answer(ResponseKind.DELIVERED, 3, key=key))
    [message] = bench.messages()
    assert message.machine_clicked_at == NOW + timedelta(seconds=4)
    assert message.clicked_at == NOW + timedelta(seconds=300)
    assert [row.machine for row in rows(bench, responses)] == ["several_links", "several_links", None, None]


@on_sqlite
def test_clicks_at_once_are_a_persons_again_when_the_delivery_turns_out_to_be_long_before(
    bench: Bench,
) -> None:
    [key] = sent(bench)
    applied(
        bench,
        answer(ResponseKind.CLICKED, 200, key=key, url="https://a.example"),
        answer(ResponseKind.CLICKED, 201, key=key, url="https://b.example"),
    )
    assert bench.messages()[0].clicked_at is None
    applied(bench, answer(ResponseKind.DELIVERED, 3, key=key))
    [message] = bench.messages()
    assert message.clicked_at == NOW + timedelta(seconds=200)
    assert message.machine_clicked_at is None


@on_sqlite
def test_one_link_clicked_twice_on_arrival_is_a_persons(bench: Bench) -> None:
    [key] = sent(bench)
    applied(
        bench,
        answer(ResponseKind.DELIVERED, 3, key=key),
        *(answer(ResponseKind.CLICKED, at, key=key, url="https://a.example") for at in (5, 6)),
    )
    assert bench.messages()[0].clicked_at == NOW + timedelta(seconds=5)


# --- whose answer it is ---------------------------------------------------------------------------


def test_an_answer_with_a_forged_or_foreign_key_is_kept_and_changes_nothing(bench: Bench) -> None:
    [key] = sent(bench)
    [message] = bench.messages()
    foreign = Signer(b"the secret of another project").sign("message", message.id)
    other_use = bench.ws.signer.sign("track", message.id)
    gone = bench.ws.signer.sign("message", message.id + 1)
    result = applied(
        bench,
        *(
            answer(ResponseKind.COMPLAINED, key=bad, address="sms1", provider_id="p")
            for bad in (foreign, other_use, gone, key + "x")
        ),
    )
    assert result == Applied(new=4, unknown=4)
    assert {row.message_id for row in rows(bench, responses)} == {None}
    assert suppressed(bench) == {}
    assert latest_consent(bench, message.customer_id).granted


def test_an_answer_without_a_key_is_told_by_the_providers_name_of_the_message(bench: Bench) -> None:
    bench.sms.script = lambda batch: [Accepted(f"p-{message.to}") for message in batch]
    sent(bench, customers=2)
    applied(bench, answer(ResponseKind.DELIVERED, provider_id="p-sms2"))
    assert [row.delivered_at is None for row in bench.messages()] == [True, False]


@on_sqlite
def test_a_providers_name_that_several_messages_share_says_nothing(bench: Bench) -> None:
    bench.sms.script = lambda batch: [Accepted("request 7") for _ in batch]
    sent(bench, customers=2)
    assert applied(bench, answer(ResponseKind.DELIVERED, provider_id="request 7")).unknown == 1
    assert all(row.delivered_at is None for row in bench.messages())


def test_a_bounce_with_an_address_alone_is_of_the_latest_message_before_it(bench: Bench) -> None:
    sent(bench)
    bench.clock.advance(hours=1)
    bench.run(bench.campaign("again"), key="again")
    bench.clock.advance(hours=1)
    bench.run(bench.campaign("third"), key="third")
    first_hour_and_a_half = answer(ResponseKind.BOUNCED, 5400, address=" sms1 ", permanent=True)
    applied(bench, first_hour_and_a_half, now=bench.clock.advance(hours=1))
    assert [row.bounced_at is None for row in bench.messages()] == [True, False, True]


@on_sqlite
def test_an_answer_that_has_an_address_alone_proves_nothing(bench: Bench) -> None:
    bench.sms.script = lambda batch: [InDoubt() for _ in batch]
    sent(bench)
    applied(bench, answer(ResponseKind.REPLIED, address="sms1", text="hi"))
    [message] = bench.messages()
    assert message.state == "in_doubt"
    assert message.replied_at == NOW + timedelta(seconds=60)


def test_a_mention_is_of_the_post_that_it_answers(bench: Bench) -> None:
    run_id = bench.start(bench.campaign())
    with bench.ws.database.write() as connection:
        connection.execute(
            insert(posts).values(
                run_id=run_id, step="shout", channel="sms", kind="sms", state="accepted",
                due_at=NOW, provider_id="177",
            )
        )  # fmt: skip
    mentions = [
        answer(ResponseKind.MENTIONED, provider_id="177", address="somebody", text="nice"),
        answer(ResponseKind.MENTIONED, address="stranger", text="a\0b \ud800"),
    ]
    assert applied(bench, *mentions) == Applied(new=2)
    kept = {row.text: row.post_id is None for row in rows(bench, responses)}
    assert kept == {"nice": False, "ab ?": True}


# --- the ledger -----------------------------------------------------------------------------------


def set_states(bench: Bench, *states: str) -> None:
    """The messages, by id, in these states, as the ledger has them before they are accepted."""
    with bench.ws.database.write() as connection:
        for message, state in zip(bench.messages(), states, strict=True):
            is_held = state in ("leased", "sending")
            connection.execute(
                messages.update()
                .where(messages.c.id == message.id)
                .values(
                    state=state, reason="no_answer", sent_at=None, settled_at=None, provider_id="p1",
                    lease_owner="somebody" if is_held else None, lease_expires_at=NOW if is_held else None,
                )
            )  # fmt: skip


def test_any_answer_by_our_key_proves_that_the_message_was_taken(bench: Bench) -> None:
    planned, leased, sending, doubtful = sent(bench, customers=4)
    set_states(bench, "planned", "leased", "sending", "in_doubt")
    result = applied(
        bench,
        answer(ResponseKind.UNSUBSCRIBED, key=planned),
        answer(ResponseKind.BOUNCED, key=leased),
        answer(ResponseKind.DEFERRED, key=sending),
        answer(ResponseKind.ACCEPTED, key=doubtful),
        answer(ResponseKind.DELIVERED, key=doubtful),
    )
    assert result.settled == 4
    for message in bench.messages():
        assert (message.state, message.reason, message.lease_owner) == ("accepted", None, None)
        assert (message.settled_at, message.sent_at, message.provider_id) == (LATER, LATER, "p1")
    assert bench.messages()[1].bounced_at == NOW + timedelta(seconds=60)


@on_sqlite
def test_a_message_that_came_to_another_end_stays_there(bench: Bench) -> None:
    sent(bench, customers=3)
    ends = "rejected", "skipped", "cancelled"
    set_states(bench, *ends)
    assert applied(bench, *(answer(ResponseKind.DELIVERED, key=key) for key in keys(bench))).settled == 0
    assert tuple(row.state for row in bench.messages()) == ends
    assert all(row.delivered_at for row in bench.messages())


# --- suppressions ---------------------------------------------------------------------------------


def test_a_dead_address_and_one_that_complained_get_nothing_more(bench: Bench) -> None:
    dead, full, angry = sent(bench, customers=3)
    applied(
        bench,
        answer(ResponseKind.BOUNCED, key=dead, permanent=True, reason=RejectReason.BAD_ADDRESS),
        answer(ResponseKind.BOUNCED, key=full, reason=RejectReason.MAILBOX_FULL),
        answer(ResponseKind.BOUNCED, 30, key=angry, permanent=True),
        answer(ResponseKind.COMPLAINED, key=angry),
    )
    assert suppressed(bench) == {"sms1": "bounced", "sms3": "complained"}
    assert not latest_consent(bench, 3).granted
    assert latest_consent(bench, 1).granted, "a dead address is no word of the customer"


@on_sqlite
def test_the_address_that_bounced_is_suppressed_not_the_one_the_customer_has_by_now(bench: Bench) -> None:
    [key] = sent(bench)
    with bench.ws.database.write() as connection:
        connection.execute(addresses.update().values(address="+15550100", address_key="+15550100"))
    applied(bench, answer(ResponseKind.BOUNCED, key=key, address="SMS1", permanent=True))
    assert suppressed(bench) == {"SMS1": "bounced"}


def test_what_is_too_long_to_be_an_address_is_not_suppressed(bench: Bench) -> None:
    endless = secrets.token_urlsafe(9000)
    assert applied(bench, answer(ResponseKind.BOUNCED, address=endless, permanent=True)).unknown == 1
    assert suppressed(bench) == {}


# --- consent --------------------------------------------------------------------------------------


def resubscribed_after(bench: Bench, *withdrawals: Response) -> bool:
    """Whether a resubscription two minutes after the message gives consent back, heard of last."""
    for withdrawal in withdrawals:
        applied(bench, withdrawal)
    applied(bench, answer(ResponseKind.RESUBSCRIBED, 120, key=keys(bench)[0]))
    granted: bool = latest_consent(bench, 1).granted
    return granted


def test_a_resubscription_gives_nobody_a_consent_who_never_gave_one(bench: Bench) -> None:
    bench.shop.customers(1, consent=None)
    bench.run(bench.campaign(purpose="transactional"))
    assert not resubscribed_after(bench, answer(ResponseKind.UNSUBSCRIBED, 60, key=keys(bench)[0]))


@on_sqlite
def test_a_resubscription_takes_no_complaint_back(bench: Bench) -> None:
    [key] = sent(bench)
    unsubscribed, complained = (
        answer(ResponseKind.UNSUBSCRIBED, 60, key=key),
        answer(ResponseKind.COMPLAINED, 90, key=key),
    )
    assert not resubscribed_after(bench, unsubscribed, complained)


def test_a_complaint_between_ends_what_was_given_back_though_it_is_heard_of_last(bench: Bench) -> None:
    [key] = sent(bench)
    assert resubscribed_after(bench, answer(ResponseKind.UNSUBSCRIBED, 60, key=key))
    applied(bench, answer(ResponseKind.COMPLAINED, 90, key=key))
    assert not latest_consent(bench, 1).granted
    assert latest_consent(bench, 1).recorded_at == NOW + timedelta(seconds=120)


@on_sqlite
def test_a_yes_of_its_own_after_a_complaint_that_is_heard_of_last_stands(bench: Bench) -> None:
    [key] = sent(bench)
    bench.shop.consent([1], "sms", granted=True, at=NOW + timedelta(seconds=100))
    assert resubscribed_after(bench, answer(ResponseKind.UNSUBSCRIBED, 110, key=key))
    applied(bench, answer(ResponseKind.COMPLAINED, 90, key=key))
    assert latest_consent(bench, 1).granted


@on_sqlite
def test_a_complaint_at_the_moment_of_an_unsubscription_is_not_taken_back_with_it(bench: Bench) -> None:
    [key] = sent(bench)
    withdrawn = [answer(kind, 60, key=key) for kind in (ResponseKind.UNSUBSCRIBED, ResponseKind.COMPLAINED)]
    assert not resubscribed_after(bench, *withdrawn)


@on_sqlite
def test_a_resubscription_that_comes_late_takes_no_later_withdrawal_back(bench: Bench) -> None:
    [key] = sent(bench)
    again = [answer(ResponseKind.UNSUBSCRIBED, at, key=key) for at in (60, 180)]
    assert not resubscribed_after(bench, *again)


@on_sqlite
def test_a_resubscription_that_comes_late_takes_no_later_no_on_a_page_back(bench: Bench) -> None:
    [key] = sent(bench)
    applied(bench, answer(ResponseKind.UNSUBSCRIBED, 60, key=key))
    save(bench.ws, bench.messages()[0].id, Choices(kinds={"sms": False}), "preferences page", LATER)
    assert not resubscribed_after(bench)


def test_an_unsubscription_withdraws_consent_to_marketing_with_its_evidence(bench: Bench) -> None:
    [key] = sent(bench)
    [message] = bench.messages()
    applied(bench, answer(ResponseKind.UNSUBSCRIBED, key=key), answer(ResponseKind.COMPLAINED, 99, key=key))
    applied(bench, answer(ResponseKind.UNSUBSCRIBED, 120, key=key))
    withdrawn = [row for row in rows(bench, consents) if not row.granted and row.evidence.startswith("sms")]
    assert withdrawn[0].evidence == f"sms: unsubscribed, message {message.id}"
    assert {row.purpose for row in withdrawn} == {"marketing"}
    assert withdrawn[0].recorded_at == NOW + timedelta(seconds=60)
    assert len(withdrawn) == 3, "each is a word of its own: a resubscription may yet turn up between them"
    assert bench.messages()[0].unsubscribed_at == NOW + timedelta(seconds=60)


@on_sqlite
def test_the_customers_latest_word_wins_by_when_it_was_said(bench: Bench) -> None:
    [key] = sent(bench)
    bench.shop.consent([1], "sms", granted=True, at=NOW + timedelta(minutes=30))
    applied(bench, answer(ResponseKind.UNSUBSCRIBED, 60, key=key))
    assert latest_consent(bench, 1).granted, "said yes after the unsubscription, heard of it before"


@on_sqlite
def test_a_clock_that_goes_ahead_dates_no_word_into_the_future(bench: Bench) -> None:
    [key] = sent(bench)
    applied(bench, answer(ResponseKind.UNSUBSCRIBED, 10 * 86_400, key=key))
    assert latest_consent(bench, 1).recorded_at == LATER


def test_a_resubscription_gives_back_what_the_same_channel_took(bench: Bench) -> None:
    [key] = sent(bench)
    applied(bench, answer(ResponseKind.UNSUBSCRIBED, 60, key=key))
    applied(bench, answer(ResponseKind.RESUBSCRIBED, 120, key=key))
    consent = latest_consent(bench, 1)
    assert consent.granted
    assert consent.evidence.startswith("sms: resubscribed, message ")


@on_sqlite
def test_a_resubscription_gives_nothing_back_that_was_withdrawn_elsewhere(bench: Bench) -> None:
    [key] = sent(bench)
    [message] = bench.messages()
    unsubscribe(bench.ws, message.id, None, "page: unsubscribed", NOW + timedelta(seconds=30))
    applied(bench, answer(ResponseKind.UNSUBSCRIBED, 60, key=key))
    applied(bench, answer(ResponseKind.RESUBSCRIBED, 120, key=key))
    assert not latest_consent(bench, 1).granted


# --- pages for customers --------------------------------------------------------------------------


def test_an_unsubscription_by_a_page_is_in_force_at_once_and_counted_once(bench: Bench) -> None:
    sent(bench)
    [message] = bench.messages()
    for _ in range(2):
        unsubscribe(bench.ws, message.id, None, "page: unsubscribed", LATER)
    assert [(row.granted, row.evidence) for row in rows(bench, consents)] == [
        (True, "test"),
        (False, "page: unsubscribed"),
    ]
    [kept] = rows(bench, responses)
    assert (kept.kind, kept.channel, kept.event_id) == ("unsubscribed", "sms", f"link:{message.id}")
    assert bench.messages()[0].unsubscribed_at == LATER


@on_sqlite
def test_who_consents_again_and_unsubscribes_again_is_unsubscribed(bench: Bench) -> None:
    sent(bench)
    [message] = bench.messages()
    unsubscribe(bench.ws, message.id, None, "page: unsubscribed", LATER)
    bench.shop.consent([1], "sms", granted=True, at=LATER + timedelta(days=1))
    unsubscribe(bench.ws, message.id, None, "page: unsubscribed", LATER + timedelta(days=2))
    assert not latest_consent(bench, 1).granted


@on_sqlite
def test_pages_know_whom_a_message_was_for_without_name_or_address(bench: Bench) -> None:
    bench.shop.customers(1, kinds=["sms", "telegram"], locale="ar-EG")
    bench.run(bench.campaign())
    [message] = bench.messages()
    save(bench.ws, message.id, Choices(kinds={"telegram": False, "sms": True}), "page: preferences", LATER)
    contact = contact_of(bench.ws, message.id)
    assert (contact.exists, contact.locale, contact.kind) == (True, "ar-EG", "sms")
    assert contact.kinds == ("sms", "telegram")
    assert contact.granted == {"sms"}
    assert len(rows(bench, consents)) == 3, "what was so before is not written again"


@on_sqlite
def test_a_page_of_a_message_that_is_gone_changes_nothing(bench: Bench) -> None:
    assert not contact_of(bench.ws, 404).exists
    unsubscribe(bench.ws, 404, None, "page", LATER)
    save(bench.ws, 404, Choices(kinds={"sms": False}), "page", LATER)
    assert rows(bench, consents) == rows(bench, responses) == []


def test_a_no_at_the_moment_of_a_yes_that_waits_ends_it(bench: Bench) -> None:
    [id_] = bench.shop.customers(1, consent=None)
    said = {"customer_id": id_, "kind": "sms", "purpose": "marketing", "evidence": "test", "recorded_at": NOW}
    with bench.ws.database.write() as connection:
        connection.execute(insert(consents).values(**said, granted=False, pending=True))
    stop = Response(ResponseKind.UNSUBSCRIBED, "e1", NOW, address=f"sms{id_}")
    apply(bench.ws, "sms", [stop], NOW)
    c = consents.c
    with bench.ws.database.read() as connection:
        words = connection.execute(select(c.granted, c.pending).order_by(c.id)).all()
    assert [tuple(word) for word in words] == [(False, True), (False, False)]


def test_a_stop_from_an_address_is_of_all_customers_who_have_it_and_so_is_the_start(bench: Bench) -> None:
    sent(bench, 3)
    with bench.ws.database.write() as connection:
        connection.execute(addresses.update().where(addresses.c.customer_id < 3).values(address_key="+4915"))
    stop, start = ResponseKind.UNSUBSCRIBED, ResponseKind.RESUBSCRIBED

    def who_permits() -> list[bool]:
        return ["sms" in contact_of(bench.ws, row.id).granted for row in bench.messages()]

    apply(bench.ws, "sms", [answer(stop, address="+4915")], LATER)
    assert who_permits() == [False, False, True]
    apply(bench.ws, "sms", [answer(start, at=120, address="+4915")], LATER)
    assert who_permits() == [True, True, True]
    # By our key it is one customer's: who reads a letter of theirs.
    apply(bench.ws, "sms", [answer(stop, at=180, address="+4915", key=keys(bench)[0])], LATER)
    assert who_permits() == [False, True, True]
