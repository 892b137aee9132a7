"""Complaints become cases, whatever order answers come in."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text, update

from holdfast.channel import ResponseKind
from holdfast.store.cases import has_open_case
from holdfast.store.database import Database
from holdfast.store.responses import Given, apply
from holdfast.tables import case_entries, cases, customers, metadata, responses
from tests.integration.conftest import NOW, Bench, Clock, Shop, make_bench

LATER = NOW + timedelta(days=1)


def said(
    kind: str,
    at: int = 0,
    words: str = "",
    customer: int | None = 1,
    name: str = "",
    channel: str = "sms",
    heard: datetime = LATER,
    **more: Any,
) -> Given:
    """What a customer said on a day of that many minutes after NOW."""
    return Given(
        channel=channel,
        event_id=name or f"{kind} {at} {words} {customer}",
        kind=ResponseKind(kind),
        occurred_at=NOW + timedelta(minutes=at),
        received_at=heard,
        contact_kind="sms",
        address_key=f"sms{customer}" if customer else "sms-unknown",
        text=words,
        **more,
    )


def hear(bench: Bench, *answers: Given, at: datetime = LATER) -> int:
    """Applies the answers in one transaction; how many cases that opened."""
    with bench.ws.database.write(exclusive=True) as connection:
        return apply(connection, answers, bench.ws.complaints, at).cases


def close(bench: Bench, at: datetime) -> None:
    with bench.ws.database.write() as connection:
        connection.execute(update(cases).where(cases.c.closed_at.is_(None)).values(closed_at=at))


def kept(bench: Bench) -> list[tuple[Any, ...]]:
    """Each case: whose, why, by what channel, in which minute opened, is it open, how often reopened, and
    what was said in it."""
    with bench.ws.database.read() as connection:
        rows = connection.execute(select(cases).order_by(cases.c.opened_at, cases.c.id)).all()
        texts = select(responses.c.case_id, responses.c.event_id).where(responses.c.case_id.is_not(None))
        names: dict[int, list[str]] = {}
        for case_id, event_id in connection.execute(texts.order_by(responses.c.event_id)):
            names.setdefault(case_id, []).append(event_id)
    return [
        (
            row.customer_id,
            row.reason,
            row.channel,
            (row.opened_at - NOW) // timedelta(minutes=1),
            row.closed_at is None,
            row.reopened,
            names.get(row.id, []),
        )
        for row in rows
    ]


def entries(bench: Bench) -> list[tuple[str, str]]:
    with bench.ws.database.read() as connection:
        rows = connection.execute(select(case_entries.c.what, case_entries.c.who).order_by(case_entries.c.id))
        return [(what, who) for what, who in rows]


def test_a_complaint_opens_a_case_and_what_is_said_meanwhile_belongs_to_it(bench: Bench) -> None:
    bench.shop.customers(2)
    opened = hear(
        bench,
        said("replied", 1, "hello", name="before"),
        said("replied", 5, "it is broken", name="complaint"),
        said("replied", 9, "are you there?", name="after"),
        said("answered", 10, "ok", name="survey", survey="nps", score=9),
        said("clicked", 11, name="click"),
        said("replied", 6, "thanks", customer=2, name="other"),
    )
    assert opened == 1
    assert kept(bench) == [(1, "reply", "sms", 5, True, 0, ["after", "complaint", "survey"])]
    assert entries(bench) == [("opened", "holdfast")]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said("complained"), "spam_report"),
        (said("answered", survey="nps", score=6), "low_score"),
        (said("answered", survey="csat", score=1), "low_score"),
        (said("replied", words="wo ist mein Geld? Betrug!"), "reply"),
        (said("mentioned", words="قطعه خراب است"), "mention"),
    ],
)
def test_each_kind_of_complaint_has_its_reason(bench: Bench, answer: Given, reason: str) -> None:
    bench.shop.customers(1)
    hear(bench, answer)
    assert [row[1] for row in kept(bench)] == [reason]


def test_what_a_machine_did_is_no_complaint(bench: Bench) -> None:
    bench.shop.customers(1)
    assert hear(bench, said("replied", words="mailbox broken", machine="auto_reply")) == 0
    assert kept(bench) == []


def test_strangers_in_public_have_a_case_each_and_elsewhere_none(bench: Bench) -> None:
    hear(
        bench,
        said("mentioned", 1, "broken", customer=None, name="a"),
        said("mentioned", 2, "awful", customer=None, name="b"),
        said("mentioned", 3, "lovely", customer=None, name="c"),
        said("replied", 4, "broken", customer=None, name="d"),
        said("complained", 5, customer=None, name="e"),
    )
    assert kept(bench) == [
        (None, "mention", "sms", 1, True, 0, ["a"]),
        (None, "mention", "sms", 2, True, 0, ["b"]),
    ]


def test_a_complaint_soon_after_closing_opens_the_case_again_and_a_late_one_a_new_case(bench: Bench) -> None:
    bench.shop.customers(1)
    hear(bench, said("replied", 1, "broken", name="a"))
    close(bench, LATER)
    soon, late = LATER + timedelta(days=14), LATER + timedelta(days=29)
    assert hear(bench, said("replied", 90, "thanks", name="joined: said before it was closed"), at=soon) == 0
    assert hear(bench, said("replied", 2000, "still waiting", name="b"), at=soon) == 1
    assert kept(bench) == [
        (1, "reply", "sms", 1, True, 1, ["a", "b", "joined: said before it was closed"]),
    ]
    close(bench, soon)
    hear(bench, said("complained", 1, name="c"), at=late)
    assert [(*row[3:6], len(row[6])) for row in kept(bench)] == [(1, False, 1, 3), (1, True, 0, 1)]
    assert [what for what, _ in entries(bench)] == ["opened", "reopened", "opened"]


def test_the_earliest_complaint_says_since_when_and_why(bench: Bench) -> None:
    bench.shop.customers(1)
    hear(bench, said("complained", 50, name="c"))
    hear(bench, said("replied", 20, "hello?", name="b"))
    assert kept(bench) == [(1, "spam_report", "sms", 50, True, 0, ["c"])]
    assert hear(bench, said("mentioned", 7, "broken", name="a", channel="telegram")) == 0
    assert kept(bench) == [(1, "mention", "telegram", 7, True, 0, ["a", "b", "c"])]


def test_open_cases_are_found_by_their_own_index_among_many_that_were_closed(bench: Bench) -> None:
    bench.shop.customers(50)
    closed = {"customer_id": 9, "channel": "", "reason": "reply", "opened_at": NOW, "closed_at": LATER}
    with bench.ws.database.write() as connection:
        connection.execute(insert(cases), [closed] * 2000)
    hear(bench, said("complained", customer=5))
    asked = select(customers.c.id).where(has_open_case(customers.c.id))
    with bench.ws.database.write() as connection:
        connection.execute(text("ANALYZE"))
        assert connection.scalars(asked).all() == [5]
        explain = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        steps = connection.exec_driver_sql(f"{explain} {asked.compile(connection)}").all()
    assert "uq_cases_open" in str(steps)


# --- any order ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One bench for all examples."""
    folder: Path = tmp_path_factory.mktemp("cases")
    database, clock = Database(folder / "holdfast.db"), Clock()
    metadata.create_all(database.engine)
    bench = make_bench(database, Shop(database, clock), clock, folder)
    bench.shop.customers(2)
    yield bench
    database.close()


def end_of(bench: Bench, pages: Sequence[Sequence[Given]]) -> list[Any]:
    """What the pages lead to: those before the last two are heard before what is open is closed, and these
    soon after."""
    with bench.ws.database.write() as connection:
        for table in (responses, case_entries, cases):
            connection.execute(delete(table))
    *before, first, second = pages
    for page in before:
        hear(bench, *page)
    close(bench, NOW + timedelta(minutes=3))
    for page in (first, second):
        hear(bench, *page, at=LATER + timedelta(days=1))
    return [sorted(kept(bench), key=str), sorted(entries(bench))]


def some(dice: random.Random, most: int) -> list[Given]:
    """What a few customers said, most of it by one of them."""
    return [
        said(
            dice.choice(["replied", "replied", "mentioned", "complained"]),
            dice.randint(0, 6),
            dice.choice(["broken", "fine"]),
            dice.choice([1, 1, 1, 1, 1, 2, None]),
            str(dice.random()),
            dice.choice(["sms", "telegram"]),
        )
        for _ in range(dice.randint(most // 2, most))
    ]


def shuffled(dice: random.Random, answers: list[Given]) -> list[list[Given]]:
    """The answers, some of them twice, in another order and on two pages."""
    mixed = answers + [one for one in answers if dice.random() < 0.3]
    dice.shuffle(mixed)
    cut = dice.randint(0, len(mixed))
    return [mixed[:cut], mixed[cut:]]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_any_order_and_any_repetition_leads_to_the_same_cases(quiet: Bench, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    early, late = some(dice, 8), some(dice, 5)
    expected = end_of(quiet, [early, late, []])
    assert end_of(quiet, [*shuffled(dice, early), *shuffled(dice, late)]) == expected
