"""Invitations that customers pass on: what a friend sees, what is kept of it, and what is not."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from sqlalchemy import select

from holdfast.channel import Response, ResponseKind
from holdfast.responses import apply, collect
from holdfast.settings import Referrals
from holdfast.tables import responses
from holdfast.tokens import Signer
from tests.integration.conftest import Clock
from tests.integration.web.conftest import MakeWeb, Outage, Web, on_sqlite
from tests.integration.web.test_links import BROWSER

SHOP = "https://shop.example/welcome?from=mail#top"


@pytest.fixture
def web(make_web: MakeWeb) -> Web:
    return make_web(referrals={"url": SHOP, "parameter": "friend"})


def code(web: Web, message_id: int) -> str:
    return web.bench.ws.signer.sign("referral", message_id)


def kept(web: Web, clock: Clock) -> list[tuple[str, int, int, str | None]]:
    """What is known of it once answers are collected: kind, message, customer, and why it was a machine."""
    collect(web.bench.ws, clock.now)
    r = responses.c
    with web.database.read() as connection:
        rows = connection.execute(select(r.kind, r.message_id, r.customer_id, r.machine).order_by(r.id))
        return [(row[0], row[1], row[2], row[3]) for row in rows]


def test_a_friend_is_led_to_the_shop_with_the_code_and_learns_nothing_of_who_sent_them(
    web: Web, clock: Clock
) -> None:
    message = web.message(first_name="Anna", last_name="Berg", locale="fa")
    response = web.client.get(f"/r/{code(web, message)}", headers=BROWSER | {"Accept-Language": "de-AT"})
    assert response.status_code == 200
    assert response.headers["X-Robots-Tag"] == "noindex"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert '<html lang="de"' in response.text
    # What a chat shows of it.
    assert "<title>Jemand empfiehlt Ihnen Acme</title>" in response.text
    assert [unescape(url) for url in re.findall('href="([^"]+)"', response.text)] == [
        f"https://shop.example/welcome?from=mail&friend={code(web, message)}#top"
    ]
    assert not re.search("Anna|Berg|email1|sms1", response.text)
    [answer] = web.answers()
    assert (answer["kind"], answer["message"], answer["machine"]) == ("referred", message, "")
    assert kept(web, clock) == [("referred", message, 1, None)]
    # A friend's look is no click of the customer's.
    assert web.bench.messages()[0].clicked_at is None


@on_sqlite
def test_machines_that_look_are_told_apart_also_by_when_they_came(web: Web, clock: Clock) -> None:
    first, second = web.message(), web.message()
    web.client.get(f"/r/{code(web, first)}", headers={"User-Agent": "WhatsApp/2.23"})
    assert web.client.head(f"/r/{code(web, first)}", headers=BROWSER).text == ""
    clock.advance(seconds=9)
    web.client.get(f"/r/{code(web, second)}", headers=BROWSER)
    clock.advance(seconds=2)
    web.client.get(f"/r/{code(web, second)}", headers=BROWSER)
    assert [row[3] for row in kept(web, clock)] == ["scanner", "head_request", None, None]
    arrived = Response(
        ResponseKind.DELIVERED,
        "e1",
        clock.now - timedelta(seconds=11),
        key=web.bench.ws.signer.sign("message", second),
    )
    apply(web.bench.ws, "sms", [arrived], clock.now)
    assert [row[3] for row in kept(web, clock)][:4] == ["scanner", "head_request", "on_arrival", None]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://shop.example/welcome", "https://shop.example/welcome?ref=7.x-_"),
        ("https://shop.example", "https://shop.example?ref=7.x-_"),
        (SHOP, "https://shop.example/welcome?from=mail&ref=7.x-_#top"),
    ],
)
def test_the_code_is_added_to_the_shops_address(url: str, address: str) -> None:
    assert Referrals(url=url).address("7.x-_") == address


@on_sqlite
def test_a_code_that_is_not_ours_or_where_there_are_no_invitations_leads_nowhere(
    web: Web, make_web: MakeWeb
) -> None:
    message = web.message()
    forged = [
        Signer(b"the secret of another project, 32").sign("referral", message),
        web.bench.ws.signer.sign("track", message),
        f"{message + 1}{code(web, message)[len(str(message)) :]}",
    ]
    good = code(web, message)
    for token in forged:
        assert web.client.get(f"/r/{token}", headers=BROWSER).status_code == 404, token
    closed = make_web().client.get(f"/r/{good}", headers=BROWSER)
    assert (closed.status_code, "shop.example" in closed.text) == (404, False)
    assert web.letters() == []


def test_a_friend_gets_to_the_shop_while_the_database_is_away(web: Web) -> None:
    token = code(web, web.message())
    with Outage(web.database):
        response = web.client.get(f"/r/{token}", headers=BROWSER)
    assert response.status_code == 200
    assert token in response.text
