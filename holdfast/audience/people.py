"""A customer and what they bought, as messages tell it: typed, cleaned, and bounded by a moment.

Every text here may have been typed by a stranger into a form. `clean` takes out what could break a line,
a header or the direction of a page; escaping is the renderer's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

_NAME_LENGTH = 100
_TEXT_LENGTH = 1000

# Not the zero-width joiners U+200C and U+200D: Persian and Indic names are misspelt without them.
_BIDI_CONTROLS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_CONTROLS = re.compile(f"[\x00-\x1f\x7f-\x9f{_BIDI_CONTROLS}\ud800-\udfff\ufeff]")


def clean(text: str | None, length: int = _NAME_LENGTH) -> str | None:
    """The text on one line, without control and direction characters, at most `length` long.

    None when nothing is left.
    """
    if text is None:
        return None
    if not text.isprintable():
        text = " ".join(_CONTROLS.sub(_space_or_nothing, text).split())
    return text.strip()[:length].rstrip() or None


def _space_or_nothing(control: re.Match[str]) -> str:
    return " " if control[0].isspace() else ""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in the currency's minor units (cents)."""

    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Line:
    """One product of an order."""

    quantity: int
    sku: str
    name: str
    category: str | None
    unit_price: Money

    @property
    def total(self) -> Money:
        """Quantity times unit price."""
        return Money(self.quantity * self.unit_price.amount, self.unit_price.currency)


@dataclass(frozen=True, slots=True)
class Order:
    """One order that counts: not cancelled, not a test, not fully refunded. `id` is the shop's."""

    id: str
    placed_at: datetime
    total: Money
    status: str
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """Something to recommend."""

    sku: str
    name: str
    category: str
    unit_price: Money


@dataclass(frozen=True, slots=True)
class History:
    """What a customer bought, up to a moment. `orders` are the latest ones, latest first."""

    order_count: int
    total_spent: Money
    days_since_last_order: int | None = None
    orders: tuple[Order, ...] = ()
    favourite_category: str | None = None
    recommended: tuple[Product, ...] = ()

    @property
    def last_order(self) -> Order | None:
        """The latest order; None for customers without."""
        return self.orders[0] if self.orders else None

    @property
    def average_order(self) -> Money | None:
        """What an order came to on average; None for customers without."""
        if not self.order_count:
            return None
        return Money(round(self.total_spent.amount / self.order_count), self.total_spent.currency)


class Attributes:
    """A customer's custom attributes by name. One that the customer does not have is None."""

    __slots__ = ("_json", "_values")

    def __init__(self, values: str | Mapping[str, Any] = "{}") -> None:
        """`values` may be JSON text: it is read at the first access, as most messages show no attribute."""
        self._json = values

    def __getattr__(self, name: str) -> Any:
        if name == "_values":
            self._values = json.loads(self._json) if isinstance(self._json, str) else self._json
            return self._values
        return _clean_attribute(self._values.get(name))

    def __getitem__(self, name: str) -> Any:
        return _clean_attribute(self._values.get(name))


def _clean_attribute(value: Any) -> Any:
    match value:
        case str():
            return clean(value, _TEXT_LENGTH)
        case list():
            return [_clean_attribute(item) for item in value]
        case dict():
            return Attributes(value)
        case _:
            return value


@dataclass(frozen=True, slots=True)
class Customer:
    """Who a message is for. Texts are clean (see `clean`); what the shop does not know is None."""

    first_name: str | None = None
    last_name: str | None = None
    locale: str | None = None
    timezone: str | None = None
    country: str | None = None
    city: str | None = None
    birthday: date | None = None
    stage: str = "never_purchased"
    attributes: Attributes = field(default_factory=Attributes)

    @property
    def name(self) -> str | None:
        """First and last name, as far as they are known."""
        if self.first_name and self.last_name:
            return f"{self.first_name} {self.last_name}"
        return self.first_name or self.last_name

    @property
    def language(self) -> str | None:
        """The first part of the locale, in lower case: `ar` of `ar-EG`."""
        return re.split("[-_]", self.locale)[0].lower() if self.locale else None


@dataclass(frozen=True, slots=True)
class Person:
    """A customer with their history: what a message is rendered from."""

    customer: Customer
    history: History


ORDERS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Needs:
    """Which facts some templates read, so that no others are loaded.

    `orders`: how many of the latest orders, at most ORDERS_SHOWN. `favourites`: the favourite category and
    what to recommend in it.
    """

    orders: int = 0
    lines: bool = False
    favourites: bool = False

    def __or__(self, other: Needs) -> Needs:
        """What both need."""
        return Needs(
            max(self.orders, other.orders), self.lines or other.lines, self.favourites or other.favourites
        )
