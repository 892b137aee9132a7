"""Double opt-in: a yes counts once whoever has the address has confirmed it, and nobody else can."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from holdfast.audience.addresses import address_key
from holdfast.channel import InDoubt, Rejected, RejectReason, Response, ResponseKind
from holdfast.responses import apply, contact_of
from holdfast.store.imports import import_records
from holdfast.tables import consents, customers
from tests.fakes.scripted_channel import ScriptedChannel, ScriptedSettings, accept_all
from tests.integration.conftest import Clock
from tests.integration.web.conftest import MakeWeb, Outage, Web, on_sqlite

DAY = timedelta(days=1)
LETTER = (
    "{% block subject %}Is it you?{% endblock %}"
    "{% block body %}<p>{{ links.confirm }} {{ links.unsubscribe }}</p>{% endblock %}"
)
CONFIRM: dict[str, Any] = {
    "purpose": "confirmation",
    "audience": {"consent": {"kind": "email", "pending": True}},
    "re_entry": "always",
    "steps": [{"id": "ask", "channels": ["email"], "template": "ask"}],
}


@pytest.fixture
def web(make_web: MakeWeb) -> Web:
    """A web app whose customers have to confirm a yes by email, and a campaign that asks them to."""
    made = make_web(defaults={"double_opt_in": ["email"]})
    made.bench.channels["email"] = ScriptedChannel("email", ScriptedSettings(kind="email"))
    made.bench.edit("ask.email.html", LETTER)
    made.bench.edit("note.email.html", LETTER.replace("{{ links.confirm }}", "Hello"))
    made.bench.campaign("confirm", **CONFIRM)
    steps = [{"id": "a", "channels": ["email"], "template": "note"}]
    made.bench.campaign("news", re_entry="always", steps=steps)
    return made


def imports(web: Web, *records: Mapping[str, Any], source: str = "shop.csv") -> None:
    ws = web.bench.ws
    now = web.bench.clock.advance(minutes=1)
    report = import_records(ws.database, ws.project, ws.secret, "customers", records, now=now, source=source)
    assert report.rejected == 0
    web.bench.clock.advance(minutes=1)


def ann(**fields: Any) -> dict[str, Any]:
    return {"customer_id": "ann", "email": "ann@shop.example", **fields}


def runs(web: Web, campaign: str = "confirm") -> list[str]:
    """Sends what is due of the campaign: the addresses it went to."""
    sent = len(web.bench.channels["email"].addresses)
    web.bench.run(campaign, f"at {web.bench.clock.now}")
    web.bench.clock.advance(minutes=1)
    return web.bench.channels["email"].addresses[sent:]


def link(web: Web, page: str = "y", letter: int = -1) -> str:
    """The path of a link in a letter, the latest one if no other is said."""
    sent = [message for batch in web.bench.channels["email"].calls for message in batch]
    [path] = re.findall(rf"https://example\.invalid(/{page}/[\w.-]+)", sent[letter].html)
    return str(path)


def answers(web: Web, kind: ResponseKind) -> None:
    """Whoever has the first message answers it."""
    ws, now = web.bench.ws, web.bench.clock.now
    key = ws.signer.sign("message", web.bench.messages()[0].id)
    apply(ws, "email", [Response(kind, event_id=f"{kind} {now}", occurred_at=now, key=key)], now)
    web.bench.clock.advance(minutes=1)


def words(web: Web, customer: str = "ann") -> list[tuple[bool, bool, str]]:
    """What a customer said of marketing by email: granted, pending, evidence."""
    c = consents.c
    with web.database.read() as connection:
        rows = connection.execute(
            select(c.granted, c.pending, c.evidence)
            .join(customers, customers.c.id == c.customer_id)
            .where(customers.c.external_id == customer, c.kind == "email", c.purpose == "marketing")
            .order_by(c.recorded_at, c.id)
        )
        return [(row.granted, row.pending, row.evidence) for row in rows]


def states(web: Web) -> str:
    """The same in letters: y(es), n(o), p(ending)."""
    return "".join("p" if pending else "y" if granted else "n" for granted, pending, _ in words(web))


# --- the whole way --------------------------------------------------------------------------------


def test_a_yes_counts_once_it_is_confirmed_and_says_what_it_rests_on(web: Web) -> None:
    imports(web, ann(**{"consent.email": "yes"}))
    assert words(web) == [(False, True, "import shop.csv")]
    assert runs(web, "news") == []
    assert runs(web) == ["ann@shop.example"]
    assert runs(web) == []  # a letter once for each time it is asked

    page = web.client.get(link(web))
    assert (
        page.status_code,
        "May Acme send you emails" in page.text.replace("\u2068", "").replace("\u2069", ""),
    ) == (
        200,
        True,
    )
    assert "Content-Security-Policy" in page.headers
    assert web.client.head(link(web)).status_code == 405
    assert states(web) == "p"  # looking at it, as scanners do, confirms nothing

    for _ in range(2):
        assert "Thank you" in web.client.post(link(web)).text
        assert "Thank you" in web.client.get(link(web)).text
    [asked] = [row for row in web.bench.messages(purpose="confirmation") if row.state == "accepted"]
    [_, (granted, pending, evidence)] = words(web)
    assert (granted, pending) == (True, False)
    assert re.fullmatch(
        rf"confirmed: message {asked.id}, text [0-9a-f]{{12}}, asked by import shop\.csv", evidence
    )
    assert runs(web, "news") == ["ann@shop.example"]
    assert runs(web) == []


def test_a_message_in_doubt_that_went_out_can_be_confirmed(web: Web) -> None:
    web.bench.channels["email"].script = lambda batch: [InDoubt("no answer") for _ in batch]
    imports(web, ann(**{"consent.email": "yes"}))
    runs(web)
    assert "Thank you" in web.client.post(link(web)).text
    assert states(web) == "py"


# --- whoever says no has the last word --------------------------------------------------------------


def test_unsubscribing_ends_what_waits_whatever_links_are_out(web: Web) -> None:
    imports(web, ann(**{"consent.email": "yes"}))
    runs(web)
    old = link(web)
    web.client.post(link(web, "u"))
    assert states(web) == "pn"
    for method in ("GET", "POST"):
        response = web.client.request(method, old)
        assert (response.status_code, "nothing to confirm" in response.text) == (410, True)
    assert states(web) == "pn"
    assert runs(web) == []

    # Somebody asks again: only the new letter's link is good.
    imports(web, ann(**{"consent.email": "no"}))
    imports(web, ann(**{"consent.email": "yes"}))
    assert runs(web) == ["ann@shop.example"]
    assert web.client.post(old).status_code == 410
    assert not states(web).endswith("y")
    assert web.client.post(link(web)).status_code == 200
    assert states(web).endswith("y")


def test_one_who_unsubscribes_while_the_letter_is_about_to_go_gets_none(web: Web) -> None:
    imports(web, ann(**{"consent.email": "yes"}))
    web.bench.start("confirm", "k1")
    web.bench.clock.advance(minutes=1)
    imports(web, ann(**{"consent.email": "no"}))
    web.bench.dispatch("confirm")
    assert web.bench.channels["email"].addresses == []
    assert web.bench.states() == {("skipped", "nothing_to_confirm"): 1}


def test_a_yes_that_waits_is_no_unsubscribing(web: Web) -> None:
    steps = [
        {"id": "a", "channels": ["sms"], "template": "note"},
        {"id": "b", "channels": ["sms"], "template": "note", "after": "1d"},
        {"id": "c", "channels": ["email"], "template": "note", "after": "30d"},
    ]
    web.bench.campaign("two", steps=steps, exit_when=["unsubscribed"])
    web.bench.shop.customers(1)
    web.bench.run("two")
    imports(web, {"customer_id": "c1", "email": "c1@shop.example", "consent.email": "yes"})
    web.bench.clock.advance(days=2)
    web.bench.dispatch("two")
    assert len(web.bench.sms.addresses) == 2


# --- attackers --------------------------------------------------------------------------------------


@on_sqlite
def test_links_that_are_not_ours_for_this_letter_confirm_nothing(web: Web, clock: Clock) -> None:
    other = web.message()
    imports(web, ann(**{"consent.email": "yes"}))
    runs(web)
    good, signer = link(web).removeprefix("/y/"), web.bench.ws.signer
    [asked] = web.bench.messages(purpose="confirmation")
    tomorrow, key = clock.now.date() + DAY, address_key("email", "ann@shop.example")
    for tried, status in [
        ("", 404),
        (good[:-1], 404),
        (good.replace(str(asked.id), str(asked.id + 1), 1), 404),
        (signer.sign("track", asked.id), 404),
        (signer.sign("unsubscribe", asked.id), 404),
        (signer.sign("preferences", asked.id, tomorrow), 404),
        (signer.sign_confirmation(asked.id, "mallory@shop.example", tomorrow), 410),
        (signer.sign_confirmation(other, key, tomorrow), 410),  # ours, of a message that asks nothing
        (signer.sign_confirmation(10**9, key, tomorrow), 410),
        (signer.sign_confirmation(asked.id, key, clock.now.date() - DAY), 410),
        ("<script>alert(1)</script>", 404),
        ("1-2-3.4", 404),
    ]:
        for method in ("GET", "POST"):
            response = web.client.request(method, f"/y/{tried}")
            assert response.status_code == status, tried
            assert "<script" not in response.text
    clock.advance(days=8)
    assert web.client.post(f"/y/{good}").status_code == 410
    assert states(web) == "p"


def test_the_link_that_went_to_one_address_confirms_no_other(web: Web) -> None:
    imports(web, ann(**{"consent.email": "yes"}))
    runs(web)
    imports(web, ann(email="victim@elsewhere.example"))
    assert web.client.post(link(web)).status_code == 410
    assert states(web) == "pp"


def test_many_customers_with_one_address_are_not_many_letters_to_it(web: Web) -> None:
    spellings = ["Stranger@shop.example", "stranger@Shop.Example", "STRANGER@SHOP.EXAMPLE"]
    yes = {"consent.email": "yes"}
    imports(web, *({"customer_id": f"m{n}", "email": spellings[n % 3], **yes} for n in range(20)))
    imports(web, ann(**{"consent.email": "yes"}))
    letters = runs(web)
    assert letters.count("ann@shop.example") == 1
    assert len(letters) == 4
    # Nor is anything decided about them, run after run, before the address may get one again.
    decided = len(web.bench.enrollments())
    assert runs(web) == []
    assert len(web.bench.enrollments()) == decided
    web.bench.clock.advance(days=6)
    assert runs(web) == []
    web.bench.clock.advance(days=2)
    assert len(runs(web)) == 3


def test_asking_again_and_again_is_not_letter_after_letter(web: Web) -> None:
    letters = 0
    for _ in range(6):
        imports(web, ann(**{"consent.email": "yes"}))
        letters += len(runs(web))
        imports(web, ann(**{"consent.email": "no"}))
    assert letters == 3


def test_a_database_that_is_away_is_said_and_nothing_is_claimed(web: Web) -> None:
    imports(web, ann(**{"consent.email": "yes"}))
    runs(web)
    with Outage(web.database):
        assert web.client.post(link(web)).status_code == 503
    assert states(web) == "p"


# --- where a yes comes from -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["yes"], "p"),
        (["yes", "yes", "", "yes"], "p"),
        (["no"], "n"),
        (["no", "yes"], "np"),
        (["yes", "no"], "pn"),
        (["yes", "no", "yes", "yes"], "pnp"),
        (["confirmed"], "y"),
        (["confirmed", "yes", "confirmed"], "y"),
        (["yes", "confirmed"], "py"),
        (["yes", "no", "confirmed"], "pny"),
    ],
)
def test_what_a_file_says_anew_counts_and_what_it_repeats_does_not(
    web: Web, said: list[str], expected: str
) -> None:
    for word in said:
        imports(web, ann(**{"consent.email": word}))
    assert states(web) == expected


def test_a_yes_of_before_stands_and_one_that_was_confirmed_is_not_asked_for_again(web: Web) -> None:
    [id_] = web.bench.shop.customers(1, kinds=("email",))
    imports(web, {"customer_id": f"c{id_}", "consent.email": "yes"})
    assert [granted for granted, _, _ in words(web, f"c{id_}")] == [True]

    imports(web, ann(**{"consent.email": "no"}))
    web.bench.clock.advance(days=1)
    ann_id = id_ + 1
    web.bench.shop.consent([ann_id], "email", granted=True)
    imports(web, ann(**{"consent.email": "yes"}))
    assert states(web) == "ny"


def test_a_file_cannot_confirm_over_a_no_of_the_customers_own(web: Web) -> None:
    imports(web, ann(**{"consent.email": "yes"}))
    runs(web)
    web.client.post(link(web, "u"))
    for word in ("yes", "confirmed"):
        imports(web, ann(**{"consent.email": word}))
    assert states(web) == "pn"


def test_another_address_is_to_be_confirmed_again(web: Web) -> None:
    imports(web, ann(**{"consent.email": "confirmed"}), {"customer_id": "bob", "email": "bob@shop.example"})
    imports(web, ann(email="ANN@shop.example"), {"customer_id": "bob", "email": "rob@shop.example"})
    assert states(web) == "y"
    imports(web, ann(email="ann@elsewhere.example", **{"consent.email": "yes"}))
    assert states(web) == "yp"
    assert words(web)[1][2] == "import shop.csv, another address"
    assert words(web, "bob") == []
    assert runs(web) == ["ann@elsewhere.example"]
    web.client.post(link(web))
    assert states(web) == "ypy"


def test_an_address_that_was_taken_away_and_another_given_is_to_be_confirmed_again(web: Web) -> None:
    imports(web, ann(**{"consent.email": "confirmed"}))
    imports(web, ann(email=""))
    imports(web, ann(email="victim@elsewhere.example"))
    assert runs(web, "news") == []
    assert states(web) == "yp"
    assert runs(web) == ["victim@elsewhere.example"]


def test_taking_back_a_no_of_another_address_is_no_yes_of_this_one(web: Web) -> None:
    imports(web, ann(**{"consent.email": "confirmed"}))
    assert runs(web, "news") == ["ann@shop.example"]
    answers(web, ResponseKind.UNSUBSCRIBED)
    imports(web, ann(email="victim@elsewhere.example"))
    answers(web, ResponseKind.RESUBSCRIBED)
    assert runs(web, "news") == []


def test_who_corrects_an_address_before_confirming_it_is_asked_at_the_new_one(web: Web) -> None:
    imports(web, ann(email="anne@shop.example", **{"consent.email": "yes"}))
    assert runs(web) == ["anne@shop.example"]
    imports(web, ann(**{"consent.email": "yes"}))
    assert runs(web) == ["ann@shop.example"]
    assert web.client.post(link(web, letter=0)).status_code == 410
    assert web.client.post(link(web)).status_code == 200
    assert states(web).endswith("y")


def test_a_letter_that_was_refused_is_not_tried_run_after_run(web: Web) -> None:
    channel = web.bench.channels["email"]
    channel.script = lambda batch: [Rejected(RejectReason.BAD_ADDRESS) for _ in batch]
    imports(web, ann(**{"consent.email": "yes"}))
    assert [len(runs(web)) for _ in range(3)] == [1, 0, 0]
    web.bench.clock.advance(days=8)
    channel.script = accept_all
    assert runs(web) == ["ann@shop.example"]


def test_a_box_that_is_ticked_on_the_page_waits_for_the_letter_too(web: Web) -> None:
    message = web.message(consent=False)
    preferences = f"/p/{web.bench.ws.signer.sign('preferences', message)}"
    both = {"shown": ["email", "sms"], "granted": ["email", "sms"]}
    web.bench.clock.advance(minutes=1)
    for _ in range(3):  # saving once more asks for no second letter
        page = web.client.post(preferences, data=both).text
        web.bench.clock.advance(minutes=1)
        assert page.count("Please confirm this by the link") == 1
        assert re.findall(r'name="granted" value="(\w+)" checked', page) == ["email", "sms"]
    contact = contact_of(web.bench.ws, message)
    assert (contact.granted, contact.pending) == ({"sms"}, {"email"})
    assert runs(web) == ["email1"]
    assert web.client.post(link(web)).status_code == 200
    assert contact_of(web.bench.ws, message).granted == {"email", "sms"}
