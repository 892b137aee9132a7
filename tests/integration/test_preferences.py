"""A step's channel for each customer: the one they chose, else the one they answer on, else the first."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, insert, select, update

from holdfast.channel import Accepted, Rejected, RejectReason
from holdfast.cli.running import _print_why
from holdfast.delivery import enroll, open_run
from holdfast.report import why
from holdfast.store.preferences import ANSWERED_WITHIN, WEIGHTS
from holdfast.tables import addresses, campaign_versions, customers, enrollments, messages, runs
from tests.fakes.scripted_channel import ScriptedChannel, ScriptedSettings
from tests.integration.conftest import Bench

KINDS = ("sms", "telegram", "email")
BY_CUSTOMER = {"send": {"prefer": "customer"}}
DAY = timedelta(days=1)


@pytest.fixture
def three(bench: Bench) -> Bench:
    """A bench with a campaign that may go by text message, Telegram and email, by each customer's order."""
    bench.channels["email"] = ScriptedChannel("email", ScriptedSettings(kind="email"))
    bench.ws.project.channels["email"] = bench.ws.project.channels["sms"]
    bench.edit("note.email.html", "{% block subject %}Hello{% endblock %}{% block body %}Hello{% endblock %}")
    campaign(bench)
    return bench


def campaign(bench: Bench, **fields: Any) -> None:
    steps = [{"id": "first", "channels": [*KINDS], "template": "note"}]
    bench.campaign(**{"steps": steps, **BY_CUSTOMER, **fields})


def choose(bench: Bench, id_: int, kind: str) -> None:
    with bench.ws.database.write() as connection:
        connection.execute(update(customers).where(customers.c.id == id_).values(preferred_kind=kind))


def answered(bench: Bench, id_: int, kind: str, sent_at: datetime, **answers: datetime) -> None:
    """A message of an earlier campaign, and when it was answered, by the name of its columns."""
    with bench.ws.database.write() as connection:
        run_id = past_run(connection, sent_at)
        enrollment = {"run_id": run_id, "campaign": f"before{run_id}", "customer_id": id_, "entry": 1}
        enrollment_id = connection.execute(
            insert(enrollments).values(**enrollment, arm="treated", enrolled_at=sent_at)
        ).inserted_primary_key[0]
        connection.execute(
            insert(messages).values(
                enrollment_id=enrollment_id,
                run_id=run_id,
                customer_id=id_,
                step="first",
                channel=kind,
                kind=kind,
                purpose="marketing",
                state="accepted",
                due_at=sent_at,
                sent_at=sent_at,
                **answers,
            )
        )


def past_run(connection: Connection, at: datetime) -> int:
    key = connection.scalar(select(func.count()).select_from(runs))
    version = {"campaign": "before", "digest": f"k{key}", "source": "", "digests": {}, "created_at": at}
    version_id = connection.execute(insert(campaign_versions).values(version)).inserted_primary_key[0]
    run = {"campaign": "before", "occurrence": f"k{key}", "state": "done", "as_of": at, "created_at": at}
    run |= {"version_id": version_id}
    return int(connection.execute(insert(runs).values(run)).inserted_primary_key[0])


def ways(bench: Bench) -> dict[int, tuple[str, str | None]]:
    """By customer, the channel of their message of the campaign, and why it is this one."""
    with bench.ws.database.read() as connection:
        rows = connection.execute(
            messages.select()
            .join(enrollments, enrollments.c.id == messages.c.enrollment_id)
            .where(enrollments.c.campaign == "hello", messages.c.state != "rejected")
        )
        return {row.customer_id: (row.channel, row.preference) for row in rows}


def test_without_a_word_the_steps_order_counts_whatever_the_customer_prefers(three: Bench) -> None:
    [one] = three.shop.customers(1, kinds=KINDS)
    choose(three, one, "telegram")
    for send in ({}, {"prefer": "step"}):
        campaign(three, campaign=f"hello{len(send)}", send=send)
    campaign(three, send={"prefer": "step"})
    three.run()
    assert ways(three) == {one: ("sms", None)}


def test_a_customer_gets_the_channel_they_chose_and_why_says_so(three: Bench) -> None:
    one, other, neither = three.shop.customers(3, kinds=KINDS)
    choose(three, one, "email")
    choose(three, other, "telegram")
    choose(three, neither, "whatsapp")
    three.run()
    assert ways(three) == {one: ("email", "chosen"), other: ("telegram", "chosen"), neither: ("sms", None)}
    [decision] = why(three.ws, "hello", f"c{one}", three.clock.now).decisions
    assert (decision.messages[0].channel, decision.messages[0].preference) == ("email", "chosen")


def test_a_chosen_channel_that_cannot_be_used_gives_way_to_the_next_one_they_answer_on(three: Bench) -> None:
    ids = three.shop.customers(4, kinds=KINDS)
    for id_ in ids:
        choose(three, id_, "email")
        answered(three, id_, "telegram", three.clock.now - DAY, clicked_at=three.clock.now - DAY)
    unwilling, suppressed, gone, willing = ids
    three.shop.consent([unwilling], "email", granted=False)
    three.shop.suppress(suppressed, "email")
    with three.ws.database.write() as connection:
        connection.execute(
            delete(addresses).where(addresses.c.customer_id == gone, addresses.c.kind == "email")
        )
    three.run()
    answers = ("telegram", "answered")
    assert ways(three) == {
        unwilling: answers,
        suppressed: answers,
        gone: answers,
        willing: ("email", "chosen"),
    }


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"telegram": {"replied_at": -5}}, "telegram"),
        ({"telegram": {"opened_at": -5}}, "telegram"),
        # One reply is worth more than two openings, and as much as three.
        ({"telegram": {"replied_at": -5}, "email": {"opened_at": -5}}, "telegram"),
        ({"sms": {"clicked_at": -5}, "email": {"clicked_at": -5}}, "sms"),
        # A message counts once, by its strongest answer.
        ({"telegram": {"clicked_at": -5, "opened_at": -5}, "email": {"replied_at": -5}}, "email"),
        # What machines did, what is long ago, what was not yet.
        ({"telegram": {"machine_opened_at": -5, "machine_clicked_at": -5}}, None),
        ({"telegram": {"delivered_at": -5}}, None),
        ({"telegram": {"sent_at": -181, "replied_at": -5}}, None),
        ({"telegram": {"sent_at": -179, "replied_at": -5}}, "telegram"),
        ({"telegram": {"replied_at": 1}}, None),
    ],
)
def test_who_chose_none_gets_the_channel_they_answer_on_most(
    three: Bench, told: Mapping[str, Mapping[str, int]], expected: str | None
) -> None:
    [one] = three.shop.customers(1, kinds=KINDS)
    for kind, days in told.items():
        times = {name: three.clock.now + DAY * number for name, number in days.items()}
        answered(three, one, kind, times.pop("sent_at", three.clock.now - 10 * DAY), **times)
    three.run()
    assert ways(three) == {one: (expected or "sms", "answered" if expected else None)}


def test_answers_count_as_of_the_run(three: Bench) -> None:
    [one] = three.shop.customers(1, kinds=KINDS)
    three.shop.consent([one], "sms", granted=True, at=three.clock.now - 90 * DAY)
    before, lately = three.clock.now - 40 * DAY, three.clock.now - DAY
    answered(three, one, "email", before, replied_at=before)
    for _ in range(2):
        answered(three, one, "telegram", lately, replied_at=lately)
    now = three.clock.now
    enroll(three.ws, open_run(three.ws, "hello", "k1", now - 30 * DAY, now), now)
    assert ways(three) == {one: ("email", "answered")}


def test_a_refused_message_goes_on_in_the_customers_own_order_and_nowhere_twice(three: Bench) -> None:
    ids = three.shop.customers(2, kinds=KINDS)
    choose(three, ids[0], "email")
    answered(three, ids[0], "telegram", three.clock.now - DAY, opened_at=three.clock.now - DAY)
    for channel in three.channels.values():
        channel.script = lambda batch: [Rejected(RejectReason.BLOCKED) for _ in batch]
    three.run()
    for _ in KINDS:
        three.dispatch()
    tried: dict[int, list[tuple[str, str | None]]] = {id_: [] for id_ in ids}
    for row in three.messages(step="first", state="rejected"):
        tried[row.customer_id].append((row.channel, row.preference))
    assert tried == {
        ids[0]: [("email", "chosen"), ("telegram", "answered"), ("sms", None)],
        ids[1]: [("sms", None), ("telegram", None), ("email", None)],
    }


def test_two_channels_of_one_kind_keep_the_steps_order_behind_the_preference(three: Bench) -> None:
    three.channels["backup"] = ScriptedChannel("backup", ScriptedSettings(kind="telegram"))
    three.ws.project.channels["backup"] = three.ws.project.channels["sms"]
    steps = [{"id": "first", "channels": ["sms", "telegram", "backup"], "template": "note"}]
    campaign(three, steps=steps)
    [one] = three.shop.customers(1, kinds=KINDS)
    choose(three, one, "telegram")
    three.channels["telegram"].script = lambda batch: [Rejected(RejectReason.BLOCKED) for _ in batch]
    three.run()
    assert ways(three) == {one: ("backup", "chosen")}
    assert [row.channel for row in three.messages()] == ["telegram", "backup"]


def test_sets_of_customers_get_what_a_plain_reckoning_gives_each(three: Bench) -> None:
    draw, now = random.Random(5), three.clock.now  # noqa: S311 - a shop made up
    ids = three.shop.customers(40, kinds=KINDS)
    expected: dict[int, tuple[str, str | None]] = {}
    for id_ in ids:
        chosen = draw.choice([None, None, *KINDS, "x"])
        if chosen:
            choose(three, id_, chosen)
        scores = dict.fromkeys(KINDS, 0)
        for _ in range(draw.randrange(5)):
            kind, sent = draw.choice(KINDS), now - DAY * draw.randrange(1, 300)
            given = {name: sent + DAY * draw.randrange(-1, 5) for name in WEIGHTS if draw.random() < 0.4}
            answered(three, id_, kind, sent, **given)
            if sent > now - ANSWERED_WITHIN:
                scores[kind] += max([WEIGHTS[name] for name, at in given.items() if at <= now], default=0)
        usable = [kind for kind in KINDS if draw.random() < 0.7] or ["email"]
        for kind in set(KINDS) - set(usable):
            three.shop.consent([id_], kind, granted=False)
        best = chosen if chosen in usable else max(usable, key=lambda kind: scores[kind])
        reason = "chosen" if best == chosen else "answered" if scores[best] else None
        expected[id_] = (best, reason)
    three.run()
    assert ways(three) == expected
    assert {channel for channel, _ in expected.values()} == set(KINDS)


def test_messages_that_are_on_their_way_go_out(three: Bench) -> None:
    ids = three.shop.customers(3, kinds=KINDS)
    for id_, kind in zip(ids, KINDS, strict=True):
        choose(three, id_, kind)
    three.channels["email"].script = lambda batch: [Accepted("1") for _ in batch]
    three.run()
    assert [row.state for row in three.messages()] == ["accepted"] * 3
    assert [three.channels[kind].addresses for kind in KINDS] == [["sms1"], ["telegram2"], ["email3"]]


def test_why_says_in_words_why_it_was_this_channel(three: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    one, other, third = three.shop.customers(3, kinds=KINDS)
    choose(three, one, "email")
    answered(three, other, "telegram", three.clock.now - DAY, replied_at=three.clock.now - DAY)
    three.run()
    for id_ in (one, other, third):
        _print_why(why(three.ws, "hello", f"c{id_}", three.clock.now))
    told = capsys.readouterr().out
    assert "first by email, which the customer chose: accepted" in told
    assert "first by telegram, which the customer answers on most: accepted" in told
    assert "first by sms: accepted" in told
