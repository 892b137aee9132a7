"""Answers: applying responses to their messages, and the whole way from the inbox, against a bare insert and
update of the same rows.

The bare loop is told each response and its message. It reads no letter, proves no key, looks for no earlier
response of the same name, settles no message, and tells no machines from people.
"""

from __future__ import annotations

import hashlib
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import SecretStr
from sqlalchemy import delete, func, insert, literal, select, text, update

from channels.sendgrid_email import SendgridChannel, SendgridSettings
from channels.sendgrid_payload import KEY
from holdfast.channel import Capabilities, Channel, Response, ResponseKind
from holdfast.delivery import Workspace
from holdfast.responses import apply, collect
from holdfast.store.database import Database
from holdfast.tables import (
    MESSAGE_RESPONSES,
    UtcTime,
    campaign_versions,
    customers,
    enrollments,
    inbox,
    messages,
    responses,
    runs,
    to_microseconds,
)
from tests.benchmarks.databases import postgres_server
from tests.benchmarks.measuring import Bound, Taken, measure, stopwatch
from tests.benchmarks.population import NOW, populate
from tests.benchmarks.projects import workspace

LEAST_RATIO = 0.5
# From the inbox.
LEAST_COLLECTED = 0.4

# A page of the inbox, as `collect` applies it.
_PAGE = 5000
# A letter of SendGrid's.
_EVENTS = 200
_COLUMNS = "channel, event_id, kind, message_id, customer_id, occurred_at, received_at, url"
_TOLD = {ResponseKind.DELIVERED: "delivered_at", ResponseKind.CLICKED: "clicked_at"}
_Row = tuple[str, str, str, int, int, int, int, str | None]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--responses", type=int, default=100_000, help="how many come back")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL too")


def run(arguments: Namespace) -> list[Bound]:
    """Every message was delivered and clicked."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        bounds = _compare("SQLite", Path(folder, "shop.db"), arguments)
        if arguments.postgres:
            with postgres_server(Path(folder, "postgres")) as server:
                bounds += _compare("PostgreSQL", server.location("shop"), arguments)
    return bounds


def _compare(title: str, location: str | Path, arguments: Namespace) -> list[Bound]:
    count = arguments.responses // 2
    populate(location, count, lines=False)
    database = Database(location)
    # No goal: what is counted is answers, and no conversions.
    ws = replace(workspace(database, _Sendgrid()), sources={})
    _send(database, count)
    answers = _answers(ws, count)
    _post(database, answers)
    print(f"\n{len(answers):,} responses to {count:,} messages, {title}")
    taken = measure(
        arguments.rounds,
        len(answers),
        bare_insert_and_update=partial(_apply_bare, database, answers),
        apply=partial(_apply, ws, answers),
        collect=partial(_collect, ws, answers),
    )
    database.close()
    bare = taken["bare_insert_and_update"].wall
    return [
        Bound(
            f"{what}, {title}, over bare insert and update", bare / taken[subject].wall, least, at_least=True
        )
        for what, subject, least in (
            ("applying responses", "apply", LEAST_RATIO),
            ("from the inbox to applied", "collect", LEAST_COLLECTED),
        )
    ]


class _Sendgrid:
    """A project whose every channel is SendGrid."""

    _settings = SendgridSettings(api_key=SecretStr("SG.x"))

    def describe(self, name: str) -> Capabilities:
        return SendgridChannel.describe(self._settings)

    def open(self, name: str) -> Channel:
        return SendgridChannel(name, self._settings)


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


def _post(database: Database, answers: Sequence[Response]) -> None:
    """The answers as SendGrid's letters, in the inbox."""
    bodies = [
        json.dumps([_event(answer) for answer in answers[start : start + _EVENTS]]).encode()
        for start in range(0, len(answers), _EVENTS)
    ]
    with database.write() as connection:
        connection.execute(
            insert(inbox).values(channel="email", received_at=NOW),
            [{"body": body, "digest": hashlib.sha256(body).digest()} for body in bodies],
        )


def _event(answer: Response) -> dict[str, Any]:
    said: dict[str, Any] = {
        "email": f"customer{answer.key.partition('.')[0]}@shop.example",
        "timestamp": int(answer.occurred_at.timestamp()) if answer.occurred_at else 0,
        "sg_event_id": answer.event_id,
        "sg_message_id": f"{answer.event_id:0>22}.recvd-5f8c9-00001.0",
        KEY: answer.key,
    }
    if answer.kind is ResponseKind.CLICKED:
        agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        return said | {"event": "click", "url": answer.url, "ip": "203.0.113.7", "useragent": agent}
    return said | {"event": "delivered", "response": "250 2.0.0 OK 1780000000 d2e1a72 - gsmtp"}


def _apply(ws: Workspace, answers: Sequence[Response]) -> Taken:
    _forget(ws.database)
    with stopwatch() as elapsed:
        for page in _pages(answers):
            apply(ws, "email", page, NOW)
        taken = elapsed()
    _check(ws.database, len(answers))
    return taken


def _collect(ws: Workspace, answers: Sequence[Response]) -> Taken:
    _forget(ws.database)
    with stopwatch() as elapsed:
        collect(ws, NOW)
        taken = elapsed()
    _check(ws.database, len(answers))
    return taken


def _apply_bare(database: Database, answers: Sequence[Response]) -> Taken:
    _forget(database)
    known = [int(answer.key.partition(".")[0]) for answer in answers]
    write = _write_sqlite if database.is_sqlite else _write_postgresql
    with stopwatch() as elapsed:
        for page, ids in zip(_pages(answers), _pages(known), strict=True):
            with database.write() as connection:
                write(connection.connection.cursor(), _rows(page, ids))
        taken = elapsed()
    _check(database, len(answers))
    return taken


def _rows(answers: Sequence[Response], ids: Sequence[int]) -> list[_Row]:
    now = to_microseconds(NOW)
    return [
        ("email", answer.event_id, answer.kind.value, id_, id_,
         to_microseconds(answer.occurred_at or NOW), now, answer.url or None)
        for answer, id_ in zip(answers, ids, strict=True)
    ]  # fmt: skip


def _pages(given: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(given), _PAGE):
        yield given[start : start + _PAGE]


def _write_sqlite(cursor: Any, page: Sequence[_Row]) -> None:
    cursor.executemany(f"INSERT INTO responses ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", page)  # noqa: S608
    for kind, column in _TOLD.items():
        cursor.executemany(f"UPDATE messages SET {column} = ? WHERE id = ?", _moments(page, kind))  # noqa: S608


def _write_postgresql(cursor: Any, page: Sequence[_Row]) -> None:
    with cursor.copy(f"COPY responses ({_COLUMNS}) FROM STDIN") as copy:
        for row in page:
            copy.write_row(row)
    for kind, column in _TOLD.items():
        if moments := _moments(page, kind):
            cursor.execute(
                f"UPDATE messages SET {column} = told.at"  # noqa: S608
                " FROM unnest(%s::bigint[], %s::bigint[]) AS told (at, id) WHERE messages.id = told.id",
                [list(each) for each in zip(*moments, strict=True)],
            )


def _moments(page: Sequence[_Row], kind: ResponseKind) -> list[tuple[int, int]]:
    return [(row[5], row[3]) for row in page if row[2] == kind]


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
        connection.execute(update(inbox).values(handled_at=None))
    if not database.is_sqlite:
        # Now, and not in the middle of what is measured.
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))
