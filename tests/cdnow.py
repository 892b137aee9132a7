"""The CDNOW purchase histories (Fader and Hardie) as import files, and plain computations over them.

23,570 customers who first bought at CDNOW in the first quarter of 1997, and all their 69,659 purchases until
the end of June 1998, as the `lifetimes` wheel ships them. Real purchases; the contact details are made up.
Nothing here uses Holdfast, so that its results can be checked against it.
"""

from __future__ import annotations

import csv
import importlib.util
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import MappingProxyType

CUSTOMERS = 23_570
PURCHASES = 69_659
LAST_DAY = date(1998, 6, 30)


@dataclass(frozen=True, slots=True)
class Purchase:
    """One row of the file; `number` counts from 1 and makes the order's id."""

    number: int
    customer_id: str
    day: date
    discs: int
    dollars: Decimal

    @property
    def order_id(self) -> str:
        return f"CDNOW-{self.number}"


@dataclass(frozen=True, slots=True)
class Contact:
    """Made-up contact details of a real customer."""

    customer_id: str
    email: str
    first_name: str
    locale: str
    country: str
    timezone: str
    telegram: str
    email_consent: str
    telegram_consent: str


@dataclass(frozen=True, slots=True)
class CdnowFiles:
    """The import files, and who is in them."""

    customers: Path
    orders: Path
    lines: Path
    contacts: MappingProxyType[str, Contact] = field(repr=False)


@cache
def purchases() -> tuple[Purchase, ...]:
    """All purchases, in the order of the file: by customer, then by day."""
    # Found without importing lifetimes, which brings pandas and scipy.
    spec = importlib.util.find_spec("lifetimes")
    assert spec is not None
    assert spec.origin is not None
    master = Path(spec.origin).parent / "datasets" / "CDNOW_master.txt"
    rows = [line.split() for line in master.read_text().splitlines()[1:] if line.strip()]
    return tuple(
        Purchase(number, customer, date.fromisoformat(day), int(discs), Decimal(dollars))
        for number, (customer, day, discs, dollars) in enumerate(rows, start=1)
    )


@cache
def histories() -> MappingProxyType[str, tuple[Purchase, ...]]:
    """Each customer's purchases, oldest first."""
    found: defaultdict[str, list[Purchase]] = defaultdict(list)
    for purchase in purchases():
        found[purchase.customer_id].append(purchase)
    return MappingProxyType(
        {customer: tuple(sorted(own, key=lambda p: (p.day, p.number))) for customer, own in found.items()}
    )


def contacts(seed: int = 1) -> MappingProxyType[str, Contact]:
    """Contact details by customer: the same seed gives the same."""
    chance = random.Random(seed)  # noqa: S311
    markets = (
        ("en-US", "US", "America/New_York"),
        ("de", "DE", "Europe/Berlin"),
        ("ar-EG", "EG", "Africa/Cairo"),
        ("fa", "IR", "Asia/Tehran"),
    )
    names = {
        "en-US": ("Ann", "Bob", ""),
        "de": ("Jürgen", "Zoë", ""),
        "ar-EG": ("محمد", "نور", ""),
        "fa": ("زهرا", "علی", ""),
    }
    made = {}
    for customer_id in histories():
        locale, country, timezone = chance.choices(markets, (70, 15, 10, 5))[0]
        made[customer_id] = Contact(
            customer_id=customer_id,
            email=f"cd{customer_id}@listeners.example" if chance.random() < 0.95 else "",
            first_name=chance.choice(names[locale]),
            locale=locale,
            country=country,
            timezone=timezone,
            telegram=str(10_000_000 + int(customer_id)) if chance.random() < 0.2 else "",
            email_consent=chance.choices(("yes", "no", ""), (80, 10, 10))[0],
            telegram_consent=chance.choices(("yes", "no", ""), (50, 10, 40))[0],
        )
    return MappingProxyType(made)


def write_cdnow(folder: Path, seed: int = 1) -> CdnowFiles:
    """Writes customers.csv, orders.csv and lines.csv (one line of n discs an order) for `holdfast import`.

    The purchases are in dollars; the files name no currency, so any project's serves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = contacts(seed)
    files = CdnowFiles(folder / "customers.csv", folder / "orders.csv", folder / "lines.csv", known)
    _write(
        files.customers,
        "customer_id,email,first_name,locale,country,timezone,telegram,consent.email,consent.telegram",
        (
            (
                c.customer_id,
                c.email,
                c.first_name,
                c.locale,
                c.country,
                c.timezone,
                c.telegram,
                c.email_consent,
                c.telegram_consent,
            )
            for c in known.values()
        ),
    )
    _write(
        files.orders,
        "order_id,customer_id,ordered_at,total,status",
        ((p.order_id, p.customer_id, p.day, p.dollars, "completed") for p in purchases()),
    )
    _write(
        files.lines,
        "order_id,sku,name,category,quantity,unit_price",
        (
            (
                p.order_id,
                "CD",
                "Compact disc",
                "music",
                p.discs,
                (p.dollars / p.discs).quantize(Decimal("0.01")),
            )
            for p in purchases()
        ),
    )
    return files


def bought_until(day: date) -> dict[str, list[Purchase]]:
    """Purchases up to the end of this day, by customer, oldest first; customers without any left out."""
    cut = {customer: [p for p in own if p.day <= day] for customer, own in histories().items()}
    return {customer: own for customer, own in cut.items() if own}


def quiet_since(day: date, quiet: timedelta, *, at_least: int = 1) -> set[str]:
    """Customers with `at_least` purchases before the start of `day`, the last more than `quiet` before it."""
    return {
        customer
        for customer, own in bought_until(day - timedelta(days=1)).items()
        if len(own) >= at_least and own[-1].day < day - quiet
    }


def reachable(customers: Iterable[str], known: MappingProxyType[str, Contact]) -> dict[str, list[str]]:
    """The kinds each customer consents to and has an address for, email first; without any: left out."""
    kinds = {
        customer: [
            kind
            for kind, address, consent in (
                ("email", known[customer].email, known[customer].email_consent),
                ("telegram", known[customer].telegram, known[customer].telegram_consent),
            )
            if address and consent == "yes"
        ]
        for customer in customers
    }
    return {customer: found for customer, found in kinds.items() if found}


def spent(own: Sequence[Purchase]) -> Decimal:
    """What these purchases cost together."""
    return sum((purchase.dollars for purchase in own), Decimal(0))


def months(own: Sequence[Purchase]) -> Counter[int]:
    """Purchases by month, as year * 12 + month - 1."""
    return Counter(purchase.day.year * 12 + purchase.day.month - 1 for purchase in own)


def _write(path: Path, header: str, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
