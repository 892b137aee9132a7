"""What nobody signed, sent to the app as it is: refused in so many words, and nothing of it is kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import func, select

from holdfast.tables import metadata
from holdfast.tokens import Signer
from tests.forging import providers as forging
from tests.forging import tokens
from tests.forging.tokens import Kind
from tests.forging.webhooks import NOW, Provider
from tests.integration.conftest import SECRET, Clock
from tests.integration.web.conftest import MakeWeb, Web, on_sqlite
from tests.servers.web_server import Stage

WEBHOOKS, LINKS = 20, 40  # of each provider; to each page
SEED = 20_260_603
# What a header may hold; the client sends nothing else.
SENDABLE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
LONGEST = 8000


@pytest.fixture
def providers(tmp_path: Path) -> Iterator[list[Provider]]:
    made = forging.providers(tmp_path / "forged")
    yield made
    forging.close(made)


def rows(web: Web) -> dict[str, int]:
    """How many rows each table has."""
    with web.database.read() as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }


def is_sendable(text: str) -> bool:
    return len(text) <= LONGEST and SENDABLE.fullmatch(text) is not None


@on_sqlite
def test_forged_webhooks_are_refused_and_leave_nothing(
    make_web: MakeWeb, clock: Clock, providers: list[Provider]
) -> None:
    web = make_web(channels={provider.name: {"adapter": "scripted"} for provider in providers})
    web.bench.channels |= {provider.name: provider.channel for provider in providers}  # type: ignore[misc]
    clock.now = NOW
    random, answered = Random(SEED), Counter[int]()  # noqa: S311
    for provider in providers:
        sendable = (
            each for each in provider.forgeries(random) if all(map(is_sendable, each.headers.values()))
        )
        for forgery in islice(sendable, WEBHOOKS):
            headers = {name: value.encode("latin-1") for name, value in forgery.headers.items()}
            answer = web.client.post(f"/webhooks/{provider.name}", content=forgery.body, headers=headers)
            assert (answer.status_code, answer.content) == (403, b""), forgery
            answered[answer.status_code] += 1
    assert answered == {403: WEBHOOKS * len(providers)}
    assert web.letters() == []


@on_sqlite
def test_forged_links_are_not_found_and_leave_nothing(
    web: Web, clock: Clock, stage: tuple[Stage, str]
) -> None:
    clock.now = NOW
    kinds = tokens.kinds(web.message())
    before, answered = rows(web), Counter[int]()
    forged = links_among(kinds, Random(SEED))  # noqa: S311
    for route in pages_of(stage[0].app):
        for method in sorted(route.methods):
            for _ in range(LINKS):
                answer = web.client.request(method, path_to(route, forged))
                assert answer.status_code in (404, 410), (method, route.path)
                answered[answer.status_code] += 1
    assert answered[404] > 10 * answered[410] > 0
    assert rows(web) == before


@on_sqlite
def test_a_token_opens_the_page_that_it_is_for_and_no_other(
    web: Web, clock: Clock, stage: tuple[Stage, str]
) -> None:
    clock.now = NOW
    kinds = tokens.kinds(web.message())
    for route in pages_of(stage[0].app):
        if route.path.count("{") == 1:
            opening = {
                kind.base
                for kind in kinds
                if web.client.get(
                    path_to(route, iter([kind.sign(web.bench.ws.signer, NOW.date())]))
                ).status_code
                != 404
            }
            # A code that customers pass on is kept, not signed.
            assert len(opening) == (0 if "{code}" in route.path else 1), route.path


def pages_of(app: Any) -> list[APIRoute]:
    """Every page that a link leads to: what has a token in its address, whatever it is for."""
    included = (each.original_router for each in app.routes if hasattr(each, "original_router"))
    routes = [route for router in included for route in router.routes if "{" in route.path]
    return [route for route in routes if not route.path.startswith(("/api/", "/webhooks/"))]


def links_among(kinds: Sequence[Kind], random: Random) -> Iterator[str]:
    """Forged tokens of all kinds, in turn: what fits into an address, and is good for nothing else either."""
    forged = [tokens.forged(kind, kinds, random) for kind in kinds]
    genuine = {kind.sign(Signer(SECRET), NOW.date()) for kind in kinds}
    for of_kind in cycle(forged):
        yield next(
            token for _, token in of_kind if is_sendable(token) and token not in {*genuine, "", ".", ".."}
        )


def path_to(route: APIRoute, forged: Iterator[str]) -> str:
    """The page's address, with the next of these in the place of each token."""
    return re.sub(r"\{\w+\}", lambda _: quote(next(forged), safe=""), route.path)
