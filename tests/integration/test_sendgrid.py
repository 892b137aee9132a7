"""The SendGrid channel against a server that behaves like SendGrid, or as SendGrid does on a bad day."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import update

from channels import describe, open_channel
from channels.sendgrid_email import SendgridChannel
from holdfast import responses
from holdfast.channel import Accepted, InDoubt, Message, Outcome, Rejected, RejectReason, Retry, Skeleton
from holdfast.errors import BatchRefused, ChannelUnavailable, SettingsError
from holdfast.settings import ChannelConfig
from holdfast.store.database import Database
from holdfast.tables import addresses
from tests.contract.letters import message, messages
from tests.integration.conftest import Bench, Clock, Shop, make_bench
from tests.servers.sendgrid_server import API_KEY, SendgridServer, refusal
from tests.servers.stand_in import Act, Answer

CONFIG = ChannelConfig(adapter="sendgrid")


@contextmanager
def opened(url: str, **options: Any) -> Iterator[SendgridChannel]:
    channel = open_channel(
        "email", CONFIG, {"api_key": API_KEY, "base_url": url, "timeout": "30s", **options}
    )
    assert isinstance(channel, SendgridChannel)
    yield channel
    channel.close()


def send(
    *script: Answer | Act | None, batch: Sequence[Message] | None = None, **options: Any
) -> tuple[list[Outcome], SendgridServer]:
    with SendgridServer(script) as server, opened(server.url, **options) as channel:
        return channel.send(messages(2) if batch is None else batch), server


def test_everyone_gets_what_was_written_to_them() -> None:
    batch = [
        message(1),
        message(2, escaped=("B&amp;B", "jam"), plain=("B&B", "jam"), subject="Für Sie"),
        message(3, to_name="مريم"),
    ]
    outcomes, server = send(batch=batch)
    assert outcomes == [Accepted(server.mails[0].request_id)] * 3
    assert [(m.to, m.name, m.subject, m.html, m.text, m.key, m.headers) for m in server.mails] == [
        (m.to, m.to_name, m.subject, m.html, m.text, m.key, m.headers) for m in batch
    ]


def test_an_address_that_is_none_is_rejected_without_asking_and_the_others_go() -> None:
    outcomes, server = send(batch=[message(1), message(2, to="nobody"), message(3)])
    bad = Rejected(RejectReason.BAD_ADDRESS, "not an email address")
    assert outcomes == [Accepted(server.mails[0].request_id), bad, Accepted(server.mails[0].request_id)]
    assert [mail.to for mail in server.mails] == ["customer1@example.com", "customer3@example.com"]


def test_an_international_domain_is_written_in_ascii_and_an_international_mailbox_is_rejected() -> None:
    with SendgridServer() as server, opened(server.url) as channel:
        assert [type(sent) for sent in channel.send([message(1, to="ann@bücher.example")])] == [Accepted]
        assert channel.send([message(2, to="анна@пример.рф")]) == [Rejected(RejectReason.BAD_ADDRESS, "400")]
        with pytest.raises(BatchRefused):
            channel.send([message(2, to="анна@пример.рф"), message(3)])
    assert [mail.to for mail in server.mails] == ["ann@xn--bcher-kva.example"]


def test_a_batch_without_any_address_makes_no_call() -> None:
    outcomes, server = send(batch=[message(1, to="nobody")])
    assert [type(outcome) for outcome in outcomes] == [Rejected]
    assert server.calls == []


def test_messages_of_two_skeletons_are_refused_rather_than_mixed_up() -> None:
    with pytest.raises(BatchRefused, match="share skeleton and sender"):
        send(batch=[message(1), message(2, skeleton=Skeleton(text=("Hi",)))])


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (refusal(429), Retry(None, "429")),
        (refusal(429, headers={"Retry-After": "7"}), Retry(timedelta(seconds=7), "429")),
        (refusal(503, headers={"Retry-After": "soon"}), Retry(None, "503")),
        (
            refusal(
                429,
                headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT", "X-RateLimit-Reset": "1767225630"},
            ),
            Retry(timedelta(seconds=30), "429"),
        ),
        (
            refusal(
                429,
                headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT", "X-RateLimit-Reset": "1767225599"},
            ),
            Retry(timedelta(), "429"),
        ),
        (refusal(429, headers={"X-RateLimit-Reset": "9" * 30}), Retry(None, "429")),
        (refusal(200), InDoubt("200")),
        (refusal(204), InDoubt("204")),
        (refusal(500), InDoubt("500")),
        (refusal(502), InDoubt("502")),
        (refusal(504), InDoubt("504")),
        (Act.DROP, InDoubt("ReadError")),
        (Act.TAKE_AND_DROP, InDoubt("ReadError")),
    ],
)
def test_one_answer_or_none_is_the_outcome_of_all_messages(act: Answer | Act, outcome: Outcome) -> None:
    outcomes, server = send(act)
    assert outcomes == [outcome, outcome]
    assert len(server.calls) == 1


@pytest.mark.parametrize("status", [400, 413])
def test_something_wrong_among_several_refuses_the_batch(status: int) -> None:
    with pytest.raises(BatchRefused, match=rf"SendGrid refuses one of 2 messages \({status}\)"):
        send(Answer(status, ["personalizations.1.to.0.email"]))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal(400, ["personalizations.0.to.0.email"]), RejectReason.BAD_ADDRESS),
        (refusal(400, ["personalizations.to"]), RejectReason.BAD_ADDRESS),
        (refusal(400, ["personalizations.0.subject"]), RejectReason.CONTENT),
        (refusal(400), RejectReason.CONTENT),
        (refusal(413), RejectReason.TOO_LARGE),
    ],
)
def test_something_wrong_with_one_message_rejects_it(answer: Answer, reason: RejectReason) -> None:
    assert send(answer, batch=messages(1))[0] == [Rejected(reason, str(answer.status))]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (refusal(401), "SendGrid does not take the API key (401)"),
        (refusal(403), "SendGrid forbids to send (403)"),
        (refusal(404), "there is no SendGrid API at base_url (404)"),
        (refusal(302), "there is no SendGrid API at base_url (302)"),
        (refusal(400, ["from.email"]), "SendGrid refuses the sender (400)"),
    ],
)
def test_what_an_operator_has_to_mend_stops_the_channel(answer: Answer, problem: str) -> None:
    with pytest.raises(ChannelUnavailable) as stopped:
        send(answer)
    assert str(stopped.value) == f"channel 'email': {problem}"
    assert stopped.value.hint


@pytest.mark.parametrize("act", [*map(refusal, (400, 401, 403, 413, 500)), refusal(400, ["from"]), Act.DROP])
def test_no_address_comes_back_in_errors_and_details(act: Answer | Act) -> None:
    try:
        told = repr(send(act)[0])
    except (BatchRefused, ChannelUnavailable) as error:
        told = f"{error!r} {error.hint} {error.__cause__!r}"
    assert "@" not in told


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "the setting 'api_key' is missing"),
        ({"api_key": "SG.é"}, "api_key: not an API key; expected ASCII without spaces"),
        ({"api_key": "SG.x\r\nX-More: 1"}, "api_key: not an API key; expected ASCII without spaces"),
        ({"api_key": ""}, "api_key: not an API key; expected ASCII without spaces"),
        ({"api_key": "SG.x", "timeout": "0s"}, "timeout: no time at all; expected a duration like 60s"),
        ({"api_key": "SG.x", "batch_size": 1001}, "batch_size: input should be less than or equal to 1000"),
    ],
)
def test_settings_that_cannot_work_are_told_before_anything_is_sent(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError) as error:
        describe("email", CONFIG, options)
    assert str(error.value) == f"channel 'email': {problem}"


@pytest.mark.parametrize(
    "url", ["api.sendgrid.com", "ftp://x", "https://user:pass@x", "https://x?y", "https://"]
)
def test_an_address_that_is_none_is_told_before_anything_is_sent(url: str) -> None:
    with pytest.raises(SettingsError, match="channel 'email': base_url: string should match pattern"):
        describe("email", CONFIG, {"api_key": "SG.x", "base_url": url})


# --- a whole run ------------------------------------------------------------------------------------


def shop_by_email(
    database: Database, shop: Shop, clock: Clock, root: Path, channel: SendgridChannel, customers: int
) -> Bench:
    """A campaign that writes to so many customers by SendGrid, ready to run."""
    bench = make_bench(
        database,
        shop,
        clock,
        root,
        brand={"name": "Acme", "from": "Acme <hello@acme.example>", "public_url": "https://r.acme.example"},
        channels={"email": {"adapter": "sendgrid"}},
    )
    cast(Any, bench.channels)["email"] = channel
    (root / "templates" / "note.email.html").write_text(
        "{% block subject %}Hello{% endblock %}{% block body %}<p>{{ links.unsubscribe }}</p>{% endblock %}"
    )
    bench.campaign(steps=[{"id": "first", "channels": ["email"], "template": "note"}])
    shop.customers(customers, kinds=["email"])
    with database.write() as connection:
        connection.execute(update(addresses).values(address=addresses.c.address + "@example.com"))
    return bench


def test_one_address_that_sendgrid_refuses_costs_nobody_else_the_message(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    with SendgridServer() as server, opened(server.url) as channel:
        bench = shop_by_email(database, shop, clock, tmp_path, channel, 9)
        with database.write() as connection:
            bad = update(addresses).where(addresses.c.address == "email5@example.com")
            connection.execute(bad.values(address="email5@under_score.example"))
        bench.run()
    assert bench.states() == {("accepted", None): 8, ("rejected", "bad_address"): 1}
    assert sorted(mail.to for mail in server.mails) == [
        f"email{i}@example.com" for i in range(1, 10) if i != 5
    ]
    assert {mail.headers["List-Unsubscribe-Post"] for mail in server.mails} == {"List-Unsubscribe=One-Click"}
    assert len({mail.headers["List-Unsubscribe"] for mail in server.mails}) == 8


def test_a_lost_answer_leaves_a_doubt_that_events_end(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    with SendgridServer([Act.TAKE_AND_DROP]) as server, opened(server.url) as channel:
        bench = shop_by_email(database, shop, clock, tmp_path, channel, 3)
        bench.run()
        clock.advance(hours=1)
        bench.dispatch()
        assert (len(server.calls), len(server.mails)) == (1, 3)
        assert {state for state, _ in bench.states()} == {"in_doubt"}
        told = [server.event(mail, "processed", clock.now) for mail in server.mails]
        responses.apply(bench.ws, "email", channel.parse(json.dumps(told).encode()), clock.now)
    assert {state for state, _ in bench.states()} == {"accepted"}


def test_in_sandbox_mode_sendgrid_checks_everything_and_delivers_nothing() -> None:
    batch = [message(1), message(2, to="customer2@under_score.example")]
    with SendgridServer() as server, opened(server.url, sandbox_mode=True) as channel:
        assert channel.capabilities.rehearsal
        assert channel.send(batch[:1]) == [Accepted("sandbox mode")]
        assert channel.send(batch[1:]) == [Rejected(RejectReason.BAD_ADDRESS, "400")]
    assert server.mails == []


def test_without_sandbox_mode_nothing_is_a_rehearsal() -> None:
    assert not describe("email", CONFIG, {"api_key": "SG.x"}).rehearsal


def test_a_campaigns_mail_has_its_categories_its_group_its_files_and_its_way_back(
    database: Database, shop: Shop, clock: Clock, tmp_path: Path
) -> None:
    settings = {
        "categories": ["spring"],
        "unsubscribe_group": 7,
        "reply_address": "reply@in.acme.example",
    }
    with SendgridServer() as server, opened(server.url, **settings) as channel:
        bench = shop_by_email(database, shop, clock, tmp_path, channel, 3)
        (tmp_path / "templates" / "terms.pdf").write_bytes(b"%PDF")
        step = {"id": "first", "channels": ["email"], "template": "note", "attach": ["terms.pdf"]}
        bench.campaign(steps=[step])
        bench.read_anew()
        bench.run()
        bench.campaign("receipt", purpose="transactional", steps=[step])
        bench.run("receipt")
    assert {(mail.categories, mail.group) for mail in server.mails} == {
        (("hello", "hello/first", "spring"), 7),
        (("receipt", "receipt/first", "spring"), None),
    }
    assert {mail.attachments for mail in server.mails} == {(("terms.pdf", b"%PDF"),)}
    assert len(server.mails) == 6
    for mail in server.mails:
        assert mail.reply_to == f"reply+{mail.key}@in.acme.example"
        assert mail.message_id == f"<{mail.key}@in.acme.example>"
        assert mail.is_automatic


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"categories": ["café"]}, "categories.0: string should match pattern"),
        ({"categories": ["x" * 256]}, "categories.0: string should match pattern"),
        ({"categories": [f"c{i}" for i in range(9)]}, "categories: list should have at most 8 items"),
        ({"unsubscribe_group": 0}, "unsubscribe_group: input should be greater than or equal to 1"),
        ({"groups_to_display": [1]}, "expected `unsubscribe_group` beside it"),
        ({"unsubscribe_group": 1, "groups_to_display": list(range(1, 27))}, "at most 25 items"),
        ({"reply_address": "in.acme.example"}, "reply_address: not an address"),
        ({"reply_address": "re+ply@in.acme.example"}, "reply_address: not an address"),
        ({"reply_address": "customers@in.acme.example"}, "expected 8 characters at most before the @"),
        ({"inbound_password": "x" * 20}, "expected `reply_address`"),
    ],
)
def test_settings_that_sendgrid_would_refuse_are_told_before_anything_is_sent(
    settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(problem)):
        describe("email", CONFIG, {"api_key": "SG.x", **settings})


@pytest.mark.parametrize("password", ["short", "has/a:slash@in-it", "x" * 129, "schlüssel-der-tests"])
def test_a_password_that_no_address_can_hold_is_told_when_it_is_known(password: str) -> None:
    options = {"api_key": "SG.x", "reply_address": "reply@in.acme.example", "inbound_password": password}
    describe("email", CONFIG, {**options, "inbound_password": "secret"})  # a word in its place
    with pytest.raises(SettingsError, match="inbound_password: not usable in an address") as refused:
        open_channel("email", CONFIG, options)
    assert password not in f"{refused.value} {refused.value.hint}"
