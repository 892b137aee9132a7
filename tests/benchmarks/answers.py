"""Answers: applying responses to their messages, against a bare insert and update of the same rows.

The bare loop knows each response's message already. It proves no key, looks for no earlier response of the
same name, settles no message, tells no machines from people, and takes no message's columns anew.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import delete, func, insert, literal, select, update

from holdfast.channel import Response, ResponseKind
from holdfast.delivery import Workspace
from holdfast.responses import apply
from holdfast.store.database import Database
from holdfast.tables import (
    MESSAGE_RESPONSES,
    UtcTime,
    campaign_versions,
    customers,
    enrollments,
    messages,
    responses,
    runs,
    to_microseconds,
)
from tests.benchmarks.measuring import Bound, Taken, measure, stopwatch
from tests.benchmarks.population import NOW, populate
from tests.benchmarks.projects import workspace

LEAST_RATIO = 0.3

# A page of the inbox, as `collect` applies it.
_PAGE = 5000
_INSERT = """
    INSERT INTO responses (channel, event_id, kind, message_id, customer_id, occurred_at, received_at, url)
    VALUES ('email', ?, ?, ?, ?, ?, ?, ?)
"""
_UPDATE = {
    ResponseKind.DELIVERED: "UPDATE messages SET delivered_at = ? WHERE id = ?",
    ResponseKind.CLICKED: "UPDATE messages SET clicked_at = ? WHERE id = ?",
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--responses", type=int, default=100_000, help="how many come back")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")


def run(arguments: Namespace) -> list[Bound]:
    """Every message was delivered and clicked."""
    count = arguments.responses // 2
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        populate(Path(folder, "shop.db"), count, lines=False)
        database = Database(Path(folder, "shop.db"))
        ws = workspace(database)
        _send(database, count)
        answers = _answers(ws, count)
        print(f"\n{len(answers):,} responses to {count:,} messages, SQLite")
        taken = measure(
            arguments.rounds,
            len(answers),
            bare_insert_and_update=partial(_apply_bare, database, answers),
            apply=partial(_apply, ws, answers),
        )
        database.close()
    ratio = taken["bare_insert_and_update"].wall / taken["apply"].wall
    return [Bound("applying responses, over bare insert and update", ratio, LEAST_RATIO, at_least=True)]


def _send(database: Database, count: int) -> None:
    """One message to each customer, all accepted an hour ago; ids are the customers'."""
    hour_ago = literal(NOW - timedelta(hours=1), UtcTime)
    everybody = {"id": customers.c.id, "run_id": literal(1), "customer_id": customers.c.id}
    enrolled = {
        **everybody, "campaign": literal("winback"), "entry": literal(1), "arm": literal("treated"),
        "enrolled_at": hour_ago,
    }  # fmt: skip
    sent = {
        **everybody, "enrollment_id": customers.c.id, "step": literal("hello"), "channel": literal("email"),
        "kind": literal("email"), "purpose": literal("marketing"), "state": literal("accepted"),
        "due_at": hour_ago, "sent_at": hour_ago, "settled_at": hour_ago,
    }  # fmt: skip
    with database.write() as connection:
        connection.execute(
            insert(campaign_versions).values(
                id=1, campaign="winback", digest="", source="", digests={}, created_at=NOW
            )
        )
        connection.execute(
            insert(runs).values(
                id=1,
                campaign="winback",
                occurrence="k",
                state="done",
                version_id=1,
                as_of=NOW,
                created_at=NOW,
            )
        )
        for table, columns in ((enrollments, enrolled), (messages, sent)):
            connection.execute(
                insert(table).from_select(list(columns), select(*columns.values()).order_by(customers.c.id))
            )


def _answers(ws: Workspace, count: int) -> list[Response]:
    keys = [ws.signer.sign("message", number) for number in range(1, count + 1)]
    delivered, clicked = NOW - timedelta(minutes=59), NOW - timedelta(minutes=9)
    return [
        *(
            Response(ResponseKind.DELIVERED, f"d{n}-7c0b1f0a", delivered, key)
            for n, key in enumerate(keys, 1)
        ),
        *(
            Response(ResponseKind.CLICKED, f"c{n}-7c0b1f0a", clicked, key, url="https://shop.example/back")
            for n, key in enumerate(keys, 1)
        ),
    ]


def _apply(ws: Workspace, answers: Sequence[Response]) -> Taken:
    _forget(ws.database)
    with stopwatch() as elapsed:
        for start in range(0, len(answers), _PAGE):
            apply(ws, "email", answers[start : start + _PAGE], NOW)
        taken = elapsed()
    _check(ws.database, len(answers))
    return taken


def _apply_bare(database: Database, answers: Sequence[Response]) -> Taken:
    _forget(database)
    known = [int(answer.key.partition(".")[0]) for answer in answers]
    with stopwatch() as elapsed:
        for start in range(0, len(answers), _PAGE):
            page = slice(start, start + _PAGE)
            with database.write() as connection:
                _write(connection.connection.cursor(), answers[page], known[page])
        taken = elapsed()
    _check(database, len(answers))
    return taken


def _write(cursor: Any, answers: Sequence[Response], known: Sequence[int]) -> None:
    now = to_microseconds(NOW)
    cursor.executemany(
        _INSERT,
        [
            (answer.event_id, answer.kind, id_, id_, to_microseconds(answer.occurred_at), now, answer.url)
            for answer, id_ in zip(answers, known, strict=True)
        ],
    )
    for kind, statement in _UPDATE.items():
        rows = [
            (to_microseconds(answer.occurred_at), id_)
            for answer, id_ in zip(answers, known, strict=True)
            if answer.kind is kind
        ]
        cursor.executemany(statement, rows)


def _check(database: Database, count: int) -> None:
    with database.read() as connection:
        kept = connection.scalar(select(func.count()).select_from(responses))
        told = connection.scalar(
            select(func.count(messages.c.delivered_at) + func.count(messages.c.clicked_at))
        )
    if not kept == told == count:
        raise SystemExit(f"{kept} responses were kept and {told} times written, not {count}")


def _forget(database: Database) -> None:
    with database.write() as connection:
        connection.execute(delete(responses))
        connection.execute(update(messages).values({f"{kind}_at": None for kind in MESSAGE_RESPONSES}))
