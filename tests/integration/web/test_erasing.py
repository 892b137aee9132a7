"""Erasing leaves nothing of a customer behind in any table, exporting leaves nothing out, and nobody who was
erased comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Date, LargeBinary, Table, Text, func, insert, select, update

from holdfast import responses as answering
from holdfast.channel import Response, ResponseKind
from holdfast.errors import RunError, StoreError
from holdfast.responses import cases as casework
from holdfast.responses import collect, contact_of
from holdfast.store import erasing
from holdfast.store.holdings import HOLDINGS
from holdfast.store.imports import ImportReport, import_records
from holdfast.store.staging import one_import_at_a_time
from holdfast.tables import (
    addresses,
    campaign_versions,
    customers,
    enrollments,
    erasures,
    inbox,
    messages,
    metadata,
    orders,
    responses,
    runs,
    suppressions,
)
from tests.integration.conftest import SECRET, Bench, Clock
from tests.integration.test_races import wait_for_a_lock
from tests.integration.web.conftest import Web, on_postgresql, on_sqlite, signed
from tests.query_plans import full_scans

# Tables that hold nothing of a customer; the inbox is emptied by letters.
OF_NOBODY = {"attempts", "campaign_versions", "cursors", "decisions", "paces", "posts", "runs", "inbox"}


def written(bench: Bench) -> Iterator[tuple[str, str]]:
    """Every value of the whole database as text, with its table and column."""
    with bench.ws.database.read() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)).mappings():
                for name, value in row.items():
                    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                    yield f"{table.name}.{name}", text


def found(bench: Bench, *needles: str) -> set[str]:
    """The columns in which one of these stands."""
    return {place for place, text in written(bench) if any(needle in text for needle in needles)}


def imported(bench: Bench, kind: Any, *records: dict[str, Any]) -> ImportReport:
    return import_records(
        bench.ws.database, bench.ws.project, SECRET, kind, records, now=bench.clock.advance(seconds=1)
    )


# --- one description ------------------------------------------------------------------------------


def test_every_table_is_known_to_hold_something_of_customers_or_nothing() -> None:
    described = [holding.table.name for holding in HOLDINGS]
    assert len(described) == len({*described})
    assert {*described} | OF_NOBODY == {*metadata.tables}
    assert {*described}.isdisjoint(OF_NOBODY)


@on_sqlite
def test_no_table_is_read_from_end_to_end_for_one_customer(bench: Bench) -> None:
    with bench.ws.database.read() as connection:
        for holding in HOLDINGS:
            statement = select(holding.table).where(holding.theirs(1))
            assert full_scans(connection, statement, holding.table.name) == []


# Words of ours or of a file, that a column may hold only one of.
WORDS = {
    ("consents", "purpose"): "marketing",
    ("enrollments", "arm"): "treated",
    ("messages", "state"): "accepted",
    ("cases", "reason"): "reply",
    ("case_entries", "what"): "noted",
    ("responses", "kind"): "replied",
    ("runs", "state"): "done",
}
# What stays of an erased customer: what results rest on, and what keeps us from writing again.
STAYS = {
    "suppressions": {"kind", "address_key", "reason"},
    "consents": {"kind"},
    "orders": {"currency", "status"},
    "order_lines": {"sku", "name", "category"},
    "events": {"event"},
    "enrollments": {"campaign"},
    "messages": {"step", "channel", "kind", "purpose", "variant", "preference", "reason"},
    "attributions": {"touch"},
    "responses": {"channel", "machine", "reason", "survey"},
    "cases": {"channel"},
    "case_entries": {"who"},
    "erasures": {"mark", "asked_by"},
}


LEFT_OUT = {
    ("enrollments", "reason"),
    ("messages", "lease_owner"),
    ("messages", "lease_expires_at"),
    ("responses", "post_id"),
    ("erasures", "erased_at"),
}


def fill(bench: Bench, number: int, sentinel: str) -> int:
    """A row of a customer in every table, the sentinel in every text that takes any; the customer's id."""

    def value(table: Table, column: Any) -> Any:
        if (table.name, column.name) in WORDS:
            return WORDS[table.name, column.name]
        if isinstance(column.type, JSON):
            return {"note": sentinel}
        if isinstance(column.type, Text):
            return f"{sentinel} {table.name}"
        if isinstance(column.type, Date):
            return date(1990, 5, 17)
        if isinstance(column.type, LargeBinary):
            return f"{sentinel} {number}".encode()
        return number % 2 == 1 if isinstance(column.type, Boolean) else number

    filled = {holding.table for holding in HOLDINGS} | {campaign_versions, runs, inbox}
    of_address = {"kind": f"{sentinel} addresses", "address_key": f"{sentinel} addresses"}
    of_run = {"campaign": f"{sentinel} runs"}
    overrides = {suppressions: of_address, enrollments: of_run}
    with bench.ws.database.write() as connection:
        for table in metadata.sorted_tables:
            if table in filled:
                row = {column.key: value(table, column) for column in table.columns
                       if (table.name, column.name) not in LEFT_OUT}  # fmt: skip
                connection.execute(insert(table).values(row | overrides.get(table, {})))
    return number


def test_of_an_erased_customer_nothing_stays_but_what_is_named_here(bench: Bench) -> None:
    theirs, others = fill(bench, 1, "Zebra"), fill(bench, 2, "Giraffe")
    before = found(bench, "Giraffe")
    assert before == found(bench, "Zebra")
    assert erasing.erase(bench.ws.database, theirs, bench.clock.now) == "done"
    left: dict[str, set[str]] = {}
    for place in found(bench, "Zebra"):
        table, _, column = place.partition(".")
        if table not in OF_NOBODY - {"inbox"}:
            left.setdefault(table, set()).add(column)
    # Of letters no body: the digest, here a text like all others, is what tells that one is repeated.
    assert left.pop("inbox") == {"channel", "digest", "problem"}
    assert left == STAYS
    assert found(bench, "Giraffe") == before
    with bench.ws.database.read() as connection:
        assert connection.scalar(select(customers.c.birthday).where(customers.c.id == theirs)) is None
        assert connection.scalar(select(customers.c.birthday).where(customers.c.id == others))
        assert sorted(connection.scalars(select(customers.c.draw))) == [1, 2]
        assert sorted(connection.scalars(select(orders.c.total))) == [1, 2]


def test_an_export_has_everything_that_erasing_knows_of(bench: Bench) -> None:
    fill(bench, 1, "Zebra")
    fill(bench, 2, "Giraffe")
    exported = answering.export_customer(bench.ws, "Zebra customers", bench.clock.now)
    text = json.dumps(exported)
    assert "Giraffe" not in text
    tables = {name: rows for name, rows in exported.items() if isinstance(rows, list)}
    assert {*tables} == {holding.table.name for holding in HOLDINGS}
    assert all(len(rows) == 1 for rows in tables.values()), {name: len(rows) for name, rows in tables.items()}
    in_database = {place for place in found(bench, "Zebra") if place.partition(".")[0] in tables}
    in_export = {
        f"{name}.{column}"
        for name, [row] in tables.items()
        for column, value in row.items()
        if "Zebra" in str(value)
    }
    assert in_export == in_database
    with pytest.raises(StoreError, match="there is no customer of this id"):
        answering.export_customer(bench.ws, "nobody", bench.clock.now)


# --- a customer's whole life ------------------------------------------------------------------------


ANN = {
    "customer_id": "C-7731",
    "email": "ann.zebra@shop.example",
    "first_name": "Annabel",
    "last_name": "Zebra",
    "city": "Zebratown",
    "nickname": "Zebby",
    "consent.email": True,
}
SECRETS = ("C-7731", "ann.zebra", "Annabel", "Zebra", "Zebby", "O-551", "stripes")


def lived(web: Web, clock: Clock) -> int:
    """A customer who was imported, ordered, got a message and answered it in words; the message."""
    bench = web.bench
    bench.ws.library.files.root.joinpath("note.email.html").write_text(
        "{% block subject %}Hi{% endblock %}{% block body %}<p>Hello</p>{% endblock %}"
    )
    bench.read_anew()
    clock.advance(days=-2)
    imported(bench, "customers", ANN)
    ordered = {"order_id": "O-551", "customer_id": "C-7731", "ordered_at": "2026-05-01", "total": "24.90"}
    imported(bench, "orders", ordered)
    seen = {"event_id": "E-C-7731", "customer_id": "C-7731", "event": "viewed", "occurred_at": "2026-05-02"}
    imported(bench, "events", seen | {"page": "/stripes"})
    clock.advance(days=2)
    steps = [{"id": "first", "channels": ["email"], "template": "note"}]
    bench.campaign(steps=steps, re_entry="always")
    bench.run()
    [message] = bench.messages()
    say(web, clock, message.id, "I love stripes")
    return int(message.id)


def say(web: Web, clock: Clock, message_id: int, text: str) -> None:
    key = web.bench.ws.signer.sign("message", message_id)
    events = [
        {"id": f"e{clock.now}", "key": key, "event": "replied", "at": clock.now.isoformat(), "text": text,
         "address": "ann.zebra@shop.example"}
    ]  # fmt: skip
    body = json.dumps(events).encode()
    assert (
        web.client.post("/webhooks/email", content=body, headers=signed(body, clock.now)).status_code == 204
    )
    clock.advance(seconds=1)
    collect(web.bench.ws, clock.now)


def test_nothing_of_a_customer_is_found_anywhere_once_they_are_erased(web: Web, clock: Clock) -> None:
    message = lived(web, clock)
    assert found(web.bench, *SECRETS) >= {"inbox.body", "responses.text", "events.properties"}
    # A letter that nobody could read, and one that came twice under other names.
    for body in (b"junk for ann.zebra@shop.example", b"to=ann.zebra%40shop.example"):
        web.client.post("/webhooks/email", content=body, headers=signed(body, clock.now))
    collect(web.bench.ws, clock.advance(seconds=1))
    assert answering.erase_customer(web.bench.ws, "C-7731", "operator ann", clock.now) == (1, 0)
    assert found(web.bench, *SECRETS) == set()
    assert contact_of(web.bench.ws, message).erased
    assert web.client.post(f"/u/{web.bench.ws.signer.sign('unsubscribe', message)}").status_code == 410
    with web.database.read() as connection:
        assert connection.scalar(select(func.sum(orders.c.total))) == 2490
        digests = connection.scalars(select(func.length(inbox.c.digest))).all()
    assert {*digests} == {32}


def test_what_they_say_later_by_an_old_message_is_not_kept(web: Web, clock: Clock) -> None:
    message = lived(web, clock)
    answering.erase_customer(web.bench.ws, "C-7731", "operator ann", clock.now)
    clock.advance(hours=1)
    say(web, clock, message, "more about stripes and Zebra")
    assert found(web.bench, *SECRETS) == set()
    with web.database.read() as connection:
        assert connection.scalar(select(func.count()).where(responses.c.kind == "replied")) == 2


@on_sqlite
def test_a_body_that_a_provider_repeats_is_still_recognised(web: Web, clock: Clock) -> None:
    lived(web, clock)
    [letter] = web.letters()
    answering.erase_customer(web.bench.ws, "C-7731", "operator ann", clock.now)
    web.client.post("/webhooks/email", content=letter.body, headers=signed(letter.body, clock.now))
    assert [each.body for each in web.letters()] == [b""]


# --- coming back ----------------------------------------------------------------------------------


def test_no_import_brings_an_erased_customer_back(web: Web, clock: Clock) -> None:
    lived(web, clock)
    answering.erase_customer(web.bench.ws, "C-7731", "operator ann", clock.now)
    with web.database.read() as connection:
        stands_in = str(connection.scalar(select(customers.c.external_id)))
    bob = {"customer_id": "B-1", "email": "bob@shop.example"}
    report = imported(web.bench, "customers", ANN, bob, ANN | {"customer_id": stands_in})
    assert (report.kept, report.refused) == (1, [(1, "customer_id: erased"), (3, "customer_id: erased")])
    order = {"ordered_at": "2026-05-01", "total": "1.00"}
    event = {"event": "viewed", "occurred_at": "2026-05-02"}
    for kind, key, record in (("orders", "order_id", order), ("events", "event_id", event)):
        of = [record | {key: f"new {id_}", "customer_id": id_} for id_ in ("C-7731", stands_in, "nobody")]
        assert [reason for _, reason in imported(web.bench, kind, *of).refused] == [
            "customer_id: erased",
            "customer_id: erased",
            "customer_id: not among the customers",
        ]
    line = {"order_id": "O-551", "sku": "T", "name": "Tea", "quantity": 1, "unit_price": "1.00"}
    assert imported(web.bench, "lines", line).rejected == 1
    assert found(web.bench, *SECRETS) == set()
    with web.database.read() as connection:
        assert connection.scalars(select(addresses.c.address)).all() == ["bob@shop.example"]


@on_sqlite
def test_an_invitation_of_an_erased_customer_brings_nobody(web: Web, clock: Clock) -> None:
    message = lived(web, clock)
    answering.erase_customer(web.bench.ws, "C-7731", "operator ann", clock.now)
    invitation = web.bench.ws.signer.sign_invitation(message, clock.now.date())
    came = Response(ResponseKind.RESUBSCRIBED, "e9", clock.now, address="777777777", invitation=invitation)
    answering.apply(web.bench.ws, "email", [came], clock.now)
    with web.database.read() as connection:
        assert connection.scalars(select(addresses.c.address)).all() == []


@on_postgresql
def test_an_import_that_is_under_way_ends_before_anybody_is_erased(web: Web, clock: Clock) -> None:
    lived(web, clock)
    with ThreadPoolExecutor() as pool:
        with web.database.write() as connection:
            one_import_at_a_time(connection)
            erased = pool.submit(answering.erase_customer, web.bench.ws, "C-7731", "operator ann", clock.now)
            wait_for_a_lock(web.database)
            assert "customers.external_id" in found(web.bench, "C-7731")
        assert erased.result(60) == (1, 0)
    assert found(web.bench, *SECRETS) == set()


@on_sqlite
def test_an_open_case_ends_with_its_customer(bench: Bench) -> None:
    bench.shop.customers(2)
    now = bench.clock.now
    theirs, others = (casework.open_case(bench.ws, id_, "by phone", "ann", now) for id_ in ("c1", "c2"))
    assert answering.erase_customer(bench.ws, "c1", "operator ann", now) == (1, 0)
    assert [case.id for case in casework.list_cases(bench.ws)] == [others.id]
    assert casework.show_case(bench.ws, theirs.id, now).case.closed_at == now


# --- messages in flight, requests -------------------------------------------------------------------


@on_sqlite
def test_messages_that_wait_are_skipped_and_no_step_comes_after_them(bench: Bench) -> None:
    ids = bench.shop.customers(2)
    steps = [{"id": name, "channels": ["sms"], "template": "note"} for name in ("first", "second")]
    bench.campaign(steps=[steps[0], steps[1] | {"after": "1d"}], re_entry="always")
    bench.start()
    assert answering.erase_customer(bench.ws, "c1", "operator ann", bench.clock.now) == (1, 0)
    bench.dispatch()
    assert bench.sms.addresses == [f"sms{ids[1]}"]
    assert bench.states(customer_id=ids[0]) == {("skipped", "erased"): 1}
    bench.clock.advance(days=1)
    bench.dispatch()
    assert bench.states(step="second", customer_id=ids[0]) == {}
    bench.run(key="k2")
    assert [row.reason for row in bench.enrollments(customer_id=ids[0])] == [None, "unreachable"]


@on_sqlite
def test_whoever_is_written_to_at_this_moment_comes_next(bench: Bench) -> None:
    bench.shop.customers(1)
    bench.campaign()
    bench.start()
    lease = {"state": "sending", "lease_owner": "w", "sent_at": bench.clock.now}
    with bench.ws.database.write() as connection:
        connection.execute(update(messages).values(lease))
    assert answering.erase_customer(bench.ws, "c1", "operator ann", bench.clock.now) == (0, 1)
    assert found(bench, "sms1") == {"addresses.address", "addresses.address_key"}
    with bench.ws.database.write() as connection:
        connection.execute(update(messages).values(state="accepted", lease_owner=None))
    assert answering.erase_waiting(bench.ws, bench.clock.now) == (1, 0)
    assert found(bench, "sms1") == set()


@on_sqlite
def test_requests_are_carried_out_all_or_those_of_long_ago_and_can_be_taken_back(bench: Bench) -> None:
    ids = bench.shop.customers(3)
    for id_ in ids:
        with bench.ws.database.write() as connection:
            erasing.ask(connection, id_, SECRET, "preferences page, message 1", bench.clock.now)
        bench.clock.advance(days=1)
    waits = answering.waiting_to_be_erased(bench.ws)
    assert [(request.external_id, request.asked_by) for request in waits] == [
        (f"c{id_}", "preferences page, message 1") for id_ in ids
    ]
    assert answering.erase_waiting(bench.ws, bench.clock.now, waits[0].asked_at) == (1, 0)
    answering.keep_customer(bench.ws, "c2")
    assert erasing.erase(bench.ws.database, 2, bench.clock.now) == "dropped"
    with pytest.raises(RunError, match="nobody asked that this customer be erased"):
        answering.keep_customer(bench.ws, "c2")
    assert answering.erase_waiting(bench.ws, bench.clock.now) == (1, 0)
    with bench.ws.database.read() as connection:
        assert connection.scalars(select(customers.c.external_id).order_by(customers.c.id)).all() == [
            "erased-1",
            "c2",
            "erased-3",
        ]
        assert connection.scalar(select(func.count()).select_from(erasures)) == 2
