"""Answers in any order, any number of times, on any pages: one end state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from holdfast.channel import InDoubt, Response, ResponseKind
from holdfast.responses import apply
from holdfast.store.database import Database
from holdfast.tables import MESSAGE_RESPONSES, consents, messages, metadata, responses, suppressions
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


def end_of(bench: Bench, pages: Sequence[Sequence[Response]]) -> list[Any]:
    """What pages of answers lead to, applied to messages in doubt."""
    with bench.ws.database.write() as connection:
        for table in (responses, suppressions):
            connection.execute(delete(table))
        connection.execute(delete(consents).where(consents.c.evidence != "test"))
        nothing = dict.fromkeys(COLUMNS[2:])
        connection.execute(update(messages).values(state="in_doubt", settled_at=None, **nothing))
    for page in pages:
        apply(bench.ws, "sms", page, LATER)
    with bench.ws.database.read() as connection:
        granted = dict(
            map(
                tuple,
                connection.execute(
                    select(consents.c.customer_id, consents.c.granted).order_by(
                        consents.c.recorded_at, consents.c.id
                    )
                ),
            )
        )
        kept = select(responses.c.event_id, responses.c.message_id, responses.c.machine)
        return [
            connection.execute(select(*(messages.c[name] for name in COLUMNS)).order_by(messages.c.id)).all(),
            connection.execute(select(suppressions).order_by(suppressions.c.address_key)).all(),
            connection.execute(kept.order_by(responses.c.event_id)).all(),
            granted,
        ]


KEYS = ("one", "two", "")  # the messages', and none
events = st.builds(
    lambda number, kind, second, key, url, machine, permanent: Response(
        kind,
        f"e{number}",
        NOW + timedelta(seconds=second),
        key=key,
        url=f"https://shop.example/{url}" if kind is ResponseKind.CLICKED else "",
        machine=machine,
        permanent=permanent,
    ),
    st.integers(0, 10**6),
    st.sampled_from([kind for kind in ResponseKind if kind is not ResponseKind.RESUBSCRIBED]),
    st.integers(0, 30),
    st.sampled_from(KEYS),
    st.sampled_from("abc"),
    st.sampled_from(["", "", "scanner"]),
    st.booleans(),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(events, max_size=7, unique_by=lambda event: event.event_id), st.data())
def test_any_order_and_any_repetition_of_answers_has_one_end(
    doubtful: Bench, answers: list[Response], data: st.DataObject
) -> None:
    keys = dict(zip(KEYS, [doubtful.ws.signer.sign("message", n) for n in (1, 2)] + [""], strict=True))
    answers = [_with_key(answer, keys[answer.key]) for answer in answers]
    again = data.draw(st.lists(st.sampled_from(answers), max_size=4)) if answers else []
    shuffled = data.draw(st.permutations(answers + again))
    cut = data.draw(st.integers(0, len(shuffled)))
    assert end_of(doubtful, [shuffled[:cut], shuffled[cut:]]) == end_of(doubtful, [answers])


def _with_key(answer: Response, key: str) -> Response:
    return Response(
        answer.kind, answer.event_id, answer.occurred_at,
        key=key, url=answer.url, machine=answer.machine, permanent=answer.permanent,
    )  # fmt: skip


def test_orders_of_a_messages_answers_have_one_end_on_either_database(bench: Bench) -> None:
    key, _ = in_doubt(bench)
    told = [
        (ResponseKind.DELIVERED, 1, ""),
        (ResponseKind.CLICKED, 3, "https://shop.example/a"),
        (ResponseKind.CLICKED, 4, "https://shop.example/b"),
        (ResponseKind.COMPLAINED, 60, ""),
    ]
    answers = [
        Response(kind, f"e{at}", NOW + timedelta(seconds=at), key=key, url=url) for kind, at, url in told
    ]
    expected = end_of(bench, [answers])
    message, _ = expected[0]
    assert message.state == "accepted"
    assert message.clicked_at is None
    for order in islice(permutations(answers), 3, None, 5):
        assert end_of(bench, [[answer] for answer in order]) == expected
