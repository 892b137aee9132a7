"""People who do not exist, for trying templates on: each one walks another way through them."""

from __future__ import annotations

from datetime import UTC, date, datetime

from holdfast.audience.people import Attributes, Customer, History, Line, Money, Order, Person, Product

_ORDERS = (
    Order(
        "1042",
        datetime(2026, 3, 14, 17, 20, tzinfo=UTC),
        Money(6_790, "EUR"),
        "delivered",
        (
            Line(2, "MUG-01", "Stoneware mug, “Low Tide”", "kitchen", Money(1_450, "EUR")),
            Line(1, "TEA-07", "Assam tea, 250 g", "pantry", Money(1_190, "EUR")),
            Line(1, "TOW-03", "Linen tea towels & napkins, set of four", "kitchen", Money(2_700, "EUR")),
        ),
    ),
    Order(
        "871",
        datetime(2025, 11, 2, 8, 5, tzinfo=UTC),
        Money(3_200, "EUR"),
        "delivered",
        (Line(1, "BOW-02", "Serving bowl", "kitchen", Money(3_200, "EUR")),),
    ),
)
_RECOMMENDED = (
    Product("POT-01", "Teapot for two", "kitchen", Money(4_900, "EUR")),
    Product("CUP-04", "Espresso cups, pair", "kitchen", Money(2_200, "EUR")),
)

_HISTORY = History(2, Money(9_990, "EUR"), 120, _ORDERS, "kitchen", _RECOMMENDED)

REGULAR = Person(
    Customer(
        "Anna", "Berg", "en-GB", "Europe/Berlin", "DE", "Berlin", date(1988, 2, 29), "at_risk", Attributes()
    ),
    _HISTORY,
)
NAMELESS = Person(Customer(), History(0, Money(0, "EUR")))
ARABIC = Person(
    Customer(
        "ليلى", "حسن", "ar-EG", "Africa/Cairo", "EG", "القاهرة", date(1990, 7, 1), "lapsed", Attributes()
    ),
    _HISTORY,
)

SAMPLE_PEOPLE = (REGULAR, NAMELESS, ARABIC)
