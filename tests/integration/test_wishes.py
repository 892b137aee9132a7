"""What customers ask for, and that they complain, is respected before arms are drawn, and at sending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from holdfast.cli.running import _print_why
from holdfast.delivery import plan
from holdfast.report import why
from holdfast.store import cases, wishes
from holdfast.store.cases import Complaint
from tests.integration.conftest import NOW, Bench

# What is no matter of SQL is tried on one database.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
Wish = Callable[[Connection, int], None]


def refuse(connection: Connection, id_: int) -> None:
    wishes.choose_topics(connection, id_, (), {"offers"}, NOW)


def rest(connection: Connection, id_: int) -> None:
    wishes.pause(connection, id_, NOW + timedelta(days=30))


def complain(connection: Connection, id_: int) -> None:
    complaint = Complaint(NOW, "sms", f"e{id_}", id_, "reply")
    cases.open_cases(connection, [complaint], cases.BY_ITSELF, "", NOW)


WISHES = pytest.mark.parametrize(
    ("wish", "reason"),
    [(refuse, "topic_refused"), (rest, "paused"), (complain, "open_complaint")],
    ids=["topic", "pause", "complaint"],
)


def ask(bench: Bench, id_: int, wish: Wish) -> None:
    with bench.ws.database.write() as connection:
        wish(connection, id_)


@WISHES
def test_who_asked_for_less_is_turned_away_before_arms_are_drawn(
    bench: Bench, wish: Wish, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = bench.shop.customers(60)
    for id_ in ids[:20]:
        ask(bench, id_, wish)
    bench.campaign(topic="offers", holdout="50%")
    planned = plan(bench.ws, "hello", bench.clock.now, bench.clock.now).waterfall
    assert (reason.replace("_", " "), -20) in planned.rows()
    bench.run()
    turned_away = {row.customer_id for row in bench.enrollments(arm=None)}
    assert turned_away == {*ids[:20]}
    assert {row.reason for row in bench.enrollments(arm=None)} == {reason}
    arms = Counter(row.arm for row in bench.enrollments())
    assert arms["treated"] + arms["holdout"] == 40
    assert len(bench.sms.addresses) == arms["treated"]
    _print_why(why(bench.ws, "hello", f"c{ids[0]}", bench.clock.now))
    assert f"turned away: {reason.replace('_', ' ')}" in capsys.readouterr().out


@WISHES
def test_a_wish_that_comes_between_planning_and_sending_is_respected(
    bench: Bench, wish: Wish, reason: str
) -> None:
    ids = bench.shop.customers(3)
    bench.campaign(topic="offers")
    bench.start()
    ask(bench, ids[1], wish)
    bench.dispatch()
    assert bench.sms.addresses == [f"sms{ids[0]}", f"sms{ids[2]}"]
    assert bench.states() == {("accepted", None): 2, ("skipped", reason): 1}


@on_sqlite
@WISHES
def test_a_later_step_is_skipped_for_who_asked_for_less(bench: Bench, wish: Wish, reason: str) -> None:
    [id_] = bench.shop.customers(1)
    steps = [{"id": name, "channels": ["sms"], "template": "note"} for name in ("first", "second")]
    bench.campaign(topic="offers", steps=[steps[0], steps[1] | {"after": "1d"}])
    bench.run()
    ask(bench, id_, wish)
    bench.clock.advance(days=1)
    bench.dispatch()
    assert bench.states(step="second") == {("skipped", reason): 1}


@on_sqlite
@WISHES
def test_a_wish_says_nothing_about_receipts(bench: Bench, wish: Wish, reason: str) -> None:
    [id_] = bench.shop.customers(1)
    ask(bench, id_, wish)
    bench.campaign(purpose="transactional")
    bench.run()
    assert bench.states() == {("accepted", None): 1}


@on_sqlite
def test_a_refused_topic_says_nothing_about_others_and_can_be_wanted_again(bench: Bench) -> None:
    [id_] = bench.shop.customers(1)
    ask(bench, id_, refuse)
    ask(bench, id_, refuse)
    bench.campaign("news", topic="news")
    bench.campaign("any")
    bench.campaign(topic="offers", re_entry="always")
    for name in ("news", "any", "hello"):
        bench.run(name)
    assert len(bench.sms.addresses) == 2
    ask(bench, id_, lambda connection, id_: wishes.choose_topics(connection, id_, {"offers"}, (), NOW))
    bench.run(key="k2")
    assert len(bench.sms.addresses) == 3


@on_sqlite
def test_a_pause_ends_by_itself_or_by_the_customers_word(bench: Bench) -> None:
    first, second = bench.shop.customers(2)
    for id_ in (first, second):
        ask(bench, id_, rest)
    bench.campaign(re_entry="always")
    bench.run(key="k1")
    ask(bench, second, lambda connection, id_: wishes.pause(connection, id_, None))
    bench.run(key="k2")
    assert bench.sms.addresses == [f"sms{second}"]
    bench.clock.advance(days=30)
    bench.run(key="k3")
    assert bench.sms.addresses.count(f"sms{first}") == 1


def test_who_could_not_be_written_to_anyway_is_told_that(bench: Bench) -> None:
    [id_] = bench.shop.customers(1, consent=False)
    for wish in (refuse, rest):
        ask(bench, id_, wish)
    [other] = bench.shop.customers(1)
    for wish in (refuse, rest):
        ask(bench, other, wish)
    bench.campaign(topic="offers")
    bench.run()
    assert {row.customer_id: row.reason for row in bench.enrollments()} == {
        id_: "no_consent",
        other: "topic_refused",
    }
