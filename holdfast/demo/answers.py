"""Simulated customers answer the sandbox's letters, and order, through the web app's real endpoints."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from holdfast.demo.customers import Habits, Reaction, react
from holdfast.demo.letters import Letter, read_letters
from holdfast.demo.web_app import Endpoints, WebApp

_MAIL_PROXY = "Mozilla/5.0"  # how Apple's fetches images


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
    letters = defaultdict(list)
    for letter in read_letters(mailbox, endpoints.url):
        letters[letter.to].append(letter)
    reactions: list[tuple[Letter, Reaction]] = []
    orders: list[dict[str, str]] = []
    for customer, address in _customers(customers):
        chance = Random(f"{seed} {customer}")  # noqa: S311 - made-up luck
        # Who shares a mailbox reads one letter each, whomever it was written to.
        theirs = letters[address].pop() if letters[address] else None
        reaction = react(habits, chance, got_letter=theirs is not None)
        if theirs is not None:
            reactions.append((theirs, reaction))
        if reaction.ordered:
            orders.append(_order(customer, since + timedelta(days=chance.uniform(0.1, 13)), chance))
    with WebApp(endpoints) as app:
        app.report("email", list(_events(reactions, now)), now)
        for done, (letter, reaction) in enumerate(reactions, start=1):
            _follow(app, letter, reaction)
            progress(done, len(reactions))
        app.order(orders)
    did = Counter(name for _, reaction in reactions for name in _DEEDS if getattr(reaction, name))
    return did + Counter(ordered=len(orders))


_DEEDS = ("delivered", "bounced", "machine_opened", "opened", "clicked", "unsubscribed", "complained")


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


def _follow(app: WebApp, letter: Letter, reaction: Reaction) -> None:
    """What customers and machines do with a letter itself."""
    if reaction.machine_opened:
        app.visit(letter.pixel, agent=_MAIL_PROXY)
    if reaction.opened:
        app.visit(letter.pixel)
    if reaction.clicked:
        app.visit(letter.links[0])
    if reaction.unsubscribed:
        app.submit(letter.unsubscribe, {"List-Unsubscribe": "One-Click"})
