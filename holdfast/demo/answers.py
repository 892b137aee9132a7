"""Simulated customers answer the sandbox's letters, and order, through the web app's real endpoints."""

from __future__ import annotations

import base64
import csv
import hmac
import html
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import Message
from email.utils import parseaddr
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from holdfast.demo.customers import Habits, Reaction, react
from holdfast.errors import HoldfastError

_AT_ONCE = 500  # events a webhook, orders a request
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
_MAIL_PROXY = "Mozilla/5.0"  # how Apple's fetches images
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter in a mailbox. Its links are paths of the web app; `key` is the sandbox's name for it."""

    key: str
    pixel: str
    links: tuple[str, ...]
    unsubscribe: str


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where answers go: the web app, what signs the channel's webhooks, what orders are let in with."""

    url: str
    channel: str
    webhook_key: str
    token: str


def answer(
    mailbox: Path,
    customers: Path,
    endpoints: Endpoints,
    habits: Habits,
    *,
    seed: int,
    since: datetime,
    now: datetime,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Counter[str]:
    """Has each customer of the shop's file live through the goal window that began at `since`; what they did.

    Letters are answered now; orders bear dates inside the thirteen days after `since`. The same seed gives
    the same luck to the same customer. Raises HoldfastError where the web app refuses an answer.
    """
    letters = _letters(mailbox, endpoints.url)
    reactions: list[tuple[Letter, Reaction]] = []
    orders: list[dict[str, str]] = []
    for customer, address in _customers(customers):
        chance = Random(f"{seed} {customer}")  # noqa: S311 - made-up luck
        # Who shares a mailbox reads one letter each, whomever it was written to.
        letter = letters[address].pop() if letters[address] else None
        reaction = react(habits, chance, got_letter=letter is not None)
        if letter is not None:
            reactions.append((letter, reaction))
        if reaction.ordered:
            orders.append(_order(customer, since + timedelta(days=chance.uniform(0.1, 13)), chance))
    with _WebApp(endpoints) as app:
        app.report(list(_events(reactions, now)), now)
        for done, (letter, reaction) in enumerate(reactions, start=1):
            app.follow(letter, reaction)
            progress(done, len(reactions))
        app.order(orders)
    did = Counter(name for _, reaction in reactions for name in _DEEDS if getattr(reaction, name))
    return did + Counter(ordered=len(orders))


_DEEDS = ("delivered", "bounced", "machine_opened", "opened", "clicked", "unsubscribed", "complained")


def _letters(mailbox: Path, url: str) -> dict[str, list[Letter]]:
    found = defaultdict(list)
    for path in sorted(mailbox.glob("*.eml")):
        mail = message_from_bytes(path.read_bytes())
        found[parseaddr(str(mail["To"]))[1]].append(_letter(path.stem, mail, url))
    return found


def _letter(key: str, mail: Message, url: str) -> Letter:
    [page] = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    body = bytes(page.get_payload(decode=True)).decode()
    own = rf'"{re.escape(url)}(/{{}}/[^"]+)"'
    [pixel] = re.findall(own.format("o"), body)
    return Letter(
        key=key,
        pixel=pixel,
        links=tuple(map(html.unescape, re.findall(f"href={own.format('c')}", body))),
        unsubscribe="".join(str(mail["List-Unsubscribe"]).split()).strip("<>").removeprefix(url),
    )


def _customers(file: Path) -> Iterator[tuple[str, str]]:
    with file.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            yield row["customer_id"], row["email"]


def _order(customer: str, at: datetime, chance: Random) -> dict[str, str]:
    return {
        "order_id": f"back-{customer}",
        "customer_id": customer,
        "ordered_at": at.isoformat(timespec="seconds"),
        "total": f"{chance.randrange(900, 9000) / 100:.2f}",
        "currency": "EUR",
        "status": "completed",
    }


def _events(reactions: Iterable[tuple[Letter, Reaction]], now: datetime) -> Iterator[dict[str, Any]]:
    """What only the provider of a mailbox can tell."""
    for letter, reaction in reactions:
        event = {"key": letter.key, "at": now.isoformat()}
        if reaction.bounced:
            bounce = {"event": "bounced", "reason": "bad_address", "permanent": True}
            yield event | {"id": f"{letter.key} bounced"} | bounce
        if reaction.delivered:
            yield event | {"id": f"{letter.key} delivered", "event": "delivered"}
        if reaction.complained:
            yield event | {"id": f"{letter.key} complained", "event": "complained"}


class _WebApp:
    """The web app as the world sees it, over one connection."""

    def __init__(self, endpoints: Endpoints) -> None:
        address = urlsplit(endpoints.url)
        self._endpoints = endpoints
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def report(self, events: list[dict[str, Any]], now: datetime) -> None:
        """Signed webhooks of the channel's provider."""
        for start in range(0, len(events), _AT_ONCE):
            body = json.dumps(events[start : start + _AT_ONCE]).encode()
            id_, timestamp = f"demo-{start}", int(now.timestamp())
            digest = hmac.digest(
                self._endpoints.webhook_key.encode(), f"{id_}.{timestamp}.".encode() + body, "sha256"
            )
            signed = {
                "webhook-id": id_,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
            }
            self._request("POST", f"/webhooks/{self._endpoints.channel}", body, signed)

    def follow(self, letter: Letter, reaction: Reaction) -> None:
        """What customers and machines do with a letter itself."""
        if reaction.machine_opened:
            self._request("GET", letter.pixel, agent=_MAIL_PROXY)
        if reaction.opened:
            self._request("GET", letter.pixel)
        if reaction.clicked:
            self._request("GET", letter.links[0])
        if reaction.unsubscribed:
            one_click = b"List-Unsubscribe=One-Click"
            self._request("POST", letter.unsubscribe, one_click, {"content-type": _FORM})

    def order(self, orders: list[dict[str, str]]) -> None:
        """The shop tells what was ordered."""
        access = {
            "authorization": f"Bearer {self._endpoints.token}",
            "content-type": "application/json",
        }
        for start in range(0, len(orders), _AT_ONCE):
            self._request(
                "POST", "/api/orders", json.dumps(orders[start : start + _AT_ONCE]).encode(), access
            )

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        agent: str = _BROWSER,
    ) -> None:
        self._connection.request(method, path, body, {"user-agent": agent} | (headers or {}))
        with self._connection.getresponse() as response:
            response.read()
        if response.status >= 400:
            # Not the whole path: a token in it acts for a customer.
            place = path.split("/")[1]
            raise HoldfastError(f"the web app answered {response.status} to a {method} under /{place}/")
