"""Answers in any order, any number of times, on any pages: one end state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import case, delete, literal, select, update

from holdfast.channel import InDoubt, Response, ResponseKind
from holdfast.responses.matching import answers_of
from holdfast.store.database import Database
from holdfast.store.responses import Given, apply
from holdfast.store.surveys import campaign_waves
from holdfast.tables import (
    MESSAGE_RESPONSES,
    case_entries,
    cases,
    consents,
    messages,
    metadata,
    responses,
    suppressions,
)
from tests.integration.conftest import NOW, Bench, Clock, Shop, make_bench

LATER = NOW + timedelta(hours=1)
COLUMNS = ("state", "settled_at", *(f"{kind}_at" for kind in MESSAGE_RESPONSES),
           "machine_opened_at", "machine_clicked_at")  # fmt: skip


def in_doubt(bench: Bench) -> list[str]:
    """Two messages in doubt; their keys."""
    bench.sms.script = lambda batch: [InDoubt() for _ in batch]
    bench.shop.customers(2)
    bench.run(bench.campaign())
    return [bench.ws.signer.sign("message", row.id) for row in bench.messages()]


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One bench for all examples: what they change is taken back before each."""
    folder: Path = tmp_path_factory.mktemp("order")
    database, clock = Database(folder / "holdfast.db"), Clock()
    metadata.create_all(database.engine)
    bench = make_bench(database, Shop(database, clock), clock, folder)
    in_doubt(bench)
    yield bench
    database.close()


def end_of(bench: Bench, pages: Sequence[Sequence[Given]]) -> dict[str, Any]:
    """What pages of answers lead to, applied to messages in doubt that the provider calls p1 and p2."""
    with bench.ws.database.write() as connection:
        for table in (responses, suppressions, case_entries, cases):
            connection.execute(delete(table))
        connection.execute(delete(consents).where(consents.c.evidence != "test"))
        nothing = dict.fromkeys(COLUMNS[2:])
        name = case((messages.c.id == 1, literal("p1")), else_="p2")
        connection.execute(
            update(messages).values(state="in_doubt", settled_at=None, provider_id=name, **nothing)
        )
    for page in pages:
        with bench.ws.database.write(exclusive=True) as connection:
            apply(connection, page, bench.ws.complaints, LATER)
    with bench.ws.database.read() as connection:
        words = select(consents.c.customer_id, consents.c.granted).order_by(
            consents.c.recorded_at, consents.c.id
        )
        of_case = select(cases.c.customer_id, cases.c.opened_at, cases.c.reason, cases.c.channel)
        kept = select(
            *(
                responses.c[name]
                for name in ("event_id", "message_id", "customer_id", "machine", "occurred_at")
            ),
            responses.c.kind,
            cases.c.opened_at,
        ).outerjoin(cases, cases.c.id == responses.c.case_id)
        end = {
            "messages": connection.execute(
                select(*(messages.c[name] for name in COLUMNS)).order_by(messages.c.id)
            ).all(),
            "suppressed": connection.execute(select(suppressions).order_by(suppressions.c.address_key)).all(),
            "cases": sorted(map(repr, connection.execute(of_case))),
            "surveys": campaign_waves(connection, "hello", {}),
            "kept": connection.execute(kept.order_by(responses.c.event_id)).all(),
            "granted": dict(map(tuple, connection.execute(words))),
        }
    assert [message[2:] for message in end["messages"]] == [first_of(end["kept"], id_) for id_ in (1, 2)]
    return end


def first_of(kept: Sequence[Any], message_id: int) -> tuple[datetime | None, ...]:
    """What a message should know by all of its responses that were kept."""
    told: defaultdict[str, list[datetime]] = defaultdict(list)
    for response in kept:
        if response.message_id == message_id:
            told[f"{'machine_' if response.machine else ''}{response.kind}_at"].append(response.occurred_at)
    return tuple(min(told[name], default=None) for name in COLUMNS[2:])


# What only our own pages and links hear of comes without a channel; all else may come by one.
OURS = (ResponseKind.ANSWERED, ResponseKind.REFERRED)
WHOSE = (*["our key"] * 4, "their name", "address", "strange address", "foreign key", "nothing")


def said_of(kinds: Sequence[ResponseKind]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Answers of these kinds, each with a name of its own."""
    fields = {
        "kind": st.sampled_from(kinds),
        "name": st.integers(0, 10**6),
        "second": st.integers(0, 15),
        "message": st.sampled_from([1, 1, 2]),
        "whose": st.sampled_from(WHOSE),
        "link": st.sampled_from("ab"),
        "machine": st.sampled_from(["", "", "scanner"]),
        "permanent": st.booleans(),
        "text": st.sampled_from(["", "thank you", "I want a refund"]),
        "survey": st.sampled_from(["nps", "csat"]),
        "score": st.integers(1, 5),
    }
    return st.lists(
        st.fixed_dictionaries(fields), min_size=2, max_size=8, unique_by=lambda said: said["name"]
    )


# Few kinds at a time, or hardly any two of them would meet.
several = st.lists(st.sampled_from(ResponseKind), min_size=1, max_size=3, unique=True).flatmap(said_of)


def answer(bench: Bench, said: dict[str, Any]) -> Given:
    """What was drawn, as it is on its way into the database."""
    kind, at = said["kind"], NOW + timedelta(seconds=said["second"])
    url = f"https://shop.example/{said['link']}" if kind is ResponseKind.CLICKED else ""
    if kind in OURS:
        is_survey = kind is ResponseKind.ANSWERED
        return Given(
            "", f"e{said['name']}", kind, at, LATER, said["message"],
            machine=None if is_survey else said["machine"],
            text=said["text"] if is_survey else None,
            survey=said["survey"] if is_survey else None,
            score=said["score"] if is_survey else None,
        )  # fmt: skip
    signer, id_, whose = bench.ws.signer, said["message"], said["whose"]
    key = {"our key": signer.sign("message", id_), "foreign key": signer.sign("track", id_)}.get(whose, "")
    address = {"address": f"sms{id_}", "strange address": "sms404"}.get(whose, "")
    response = Response(
        kind,
        f"e{said['name']}",
        at,
        key,
        provider_id=f"p{id_}" if whose == "their name" else "",
        address=address,
        machine=said["machine"],
        permanent=said["permanent"],
        url=url,
        text=said["text"] if kind in (ResponseKind.REPLIED, ResponseKind.MENTIONED) else "",
    )
    [given] = answers_of(bench.ws, "sms", [response], LATER)
    return given


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(several, st.data())
def test_any_order_and_any_repetition_of_answers_has_one_end(
    doubtful: Bench, said: list[dict[str, Any]], data: st.DataObject
) -> None:
    answers = [answer(doubtful, each) for each in said]
    again = data.draw(st.lists(st.sampled_from(answers), max_size=4))
    shuffled = data.draw(st.permutations(answers + again))
    cut = data.draw(st.integers(0, len(shuffled)))
    end, expected = end_of(doubtful, [shuffled[:cut], shuffled[cut:]]), end_of(doubtful, [answers])
    if any(each["kind"] is ResponseKind.RESUBSCRIBED for each in said):
        # Heard of before what it takes back, it takes nothing back; but nobody is permitted who said no.
        granted, said_yes = end.pop("granted"), expected.pop("granted")
        assert not [id_ for id_, is_granted in granted.items() if is_granted and not said_yes[id_]]
    assert end == expected


def test_orders_of_a_messages_answers_have_one_end_on_either_database(bench: Bench) -> None:
    key, _ = in_doubt(bench)
    told = [
        (ResponseKind.DELIVERED, 1, ""),
        (ResponseKind.CLICKED, 3, "https://shop.example/a"),
        (ResponseKind.CLICKED, 4, "https://shop.example/b"),
        (ResponseKind.OPENED, 20, ""),
        (ResponseKind.OPENED, 40, ""),
        (ResponseKind.COMPLAINED, 60, ""),
    ]
    by_channel = [
        Response(kind, f"e{at}", NOW + timedelta(seconds=at), key=key, url=url) for kind, at, url in told
    ]
    surveyed = [
        Given(
            "", name, ResponseKind.ANSWERED, NOW + timedelta(seconds=at), LATER, 1, survey="nps", score=score
        )
        for name, at, score in (("s1", 90, 3), ("s2", 99, 9), ("s3", 99, 10))
    ]
    answers = [*answers_of(bench.ws, "sms", by_channel, LATER), *surveyed]
    expected = end_of(bench, [answers])
    message, _ = expected["messages"]
    assert message.state == "accepted"
    assert message.clicked_at is None
    assert message.opened_at == NOW + timedelta(seconds=20)
    assert message.answered_at == NOW + timedelta(seconds=90)
    [wave] = expected["surveys"]
    assert wave.total.answers == {10: 1}, "the latest, and of two of one moment the one of the later name"
    [case] = expected["cases"]
    assert "spam_report" in case
    for order in islice(permutations(answers), 3, None, 60_000):
        assert end_of(bench, [[answer] for answer in order]) == expected
