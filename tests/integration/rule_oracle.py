"""Segment rules evaluated in plain Python over a plain population, written apart from the SQL they check."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, delete, insert

from holdfast.audience import arms
from holdfast.settings import Lifecycle
from holdfast.store.profiles import refresh_profiles
from holdfast.tables import (
    addresses,
    cases,
    consents,
    customers,
    events,
    order_lines,
    orders,
    profile_months,
    profiles,
    responses,
    suppressions,
)

SECRET = b"a secret for draws only"
THRESHOLDS = Lifecycle(new=timedelta(days=30), active=timedelta(days=90), lapsed=timedelta(days=180), loyal=3)
LATE = datetime(2025, 6, 1, tzinfo=UTC)
EARLY = LATE - timedelta(days=200)

TEXTS = [
    "DE", "de", "Zoë", "Zoe\u0308", "straße", "STRASSE", "مریم", "😀", "a'b", 'a"b', "a\\b", "%", "_", "a_b",
    "50%", "", " ", "1", "1.0", "0.1", "-5", "--5", "5-5", " 5", "5.", ".5", "-.5", "1e3", "true", "false",
    "yes", "9007199254740993", "x'; DROP TABLE customers; --", "line\nbreak", "٣",
]  # fmt: skip
WORDS = ["first_name", "last_name", "country", "city"]
LOCALES = ["ar", "ar-EG", "ar_EG", "de-DE", "DE", "", "-", "fa", "zh-Hant-TW"]
NUMBERS = [0, 1, -5, 0.1, 0.30000000000000004, 1.0, 2.5, 2**53, 2**53 + 1, -(2**62), 1e22, 1e-7, 100]
ATTRIBUTES = ["plan", "Größe", "with space", "a-b", "_x1"]
CATEGORIES = ["shoes", "Shoes", "bücher", "a'b"]
SKUS = ["A-1", "A-2", "ß"]
EVENTS = ["viewed", "Viewed", "cart'add"]
KINDS = ["email", "sms"]
SCORES = {"nps": [0, 6, 7, 10], "csat": [1, 3, 5]}
FACTS = (customers, suppressions, addresses, consents, events, orders, order_lines, responses)
DAYS = [0, 1, 29, 30, 31, 89, 90, 91, 180, 181, 200, 230, 290, 380, 381, 700]


@dataclass
class Order:
    at: datetime
    total: int
    qualifying: bool
    lines: list[tuple[str, str | None]]


@dataclass
class Person:
    """One customer with everything the rules can ask about."""

    id: int
    external_id: str
    profile: dict[str, str | None]
    attributes: dict[str, Any]
    orders: list[Order] = field(default_factory=list)
    events: list[tuple[str, datetime]] = field(default_factory=list)
    consents: list[tuple[str, str, bool, datetime]] = field(default_factory=list)
    answers: list[tuple[str, int, datetime]] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    cases: list[tuple[datetime, datetime | None]] = field(default_factory=list)


@dataclass
class Population:
    people: list[Person]
    suppressions: dict[tuple[str, str], datetime]


# --- making and storing a population ----------------------------------------------------------------


def populate(seed: int, size: int = 60) -> Population:
    """A random population that dwells on edges: exact boundaries, ties, NULLs, look-alike texts."""
    dice = random.Random(seed)  # noqa: S311

    def moment() -> datetime:
        base = dice.choice([LATE, EARLY])
        edge = dice.choice([timedelta(0), timedelta(microseconds=1), -timedelta(microseconds=1)])
        at = base - timedelta(days=dice.choice(DAYS)) + edge
        return min(at, LATE)

    def some(values: list[Any], most: int) -> list[Any]:
        return [dice.choice(values) for _ in range(dice.randint(0, most))]

    people = []
    for number in range(1, size + 1):
        person = Person(
            number,
            dice.choice(["c-", "C-", "é-"]) + str(number),
            {
                name: dice.choice([*TEXTS, None, None])
                for name in ("first_name", "last_name", "country", "city")
            }
            | {"locale": dice.choice([*LOCALES, None]), "timezone": dice.choice(["Europe/Berlin", None])},
            {
                name: dice.choice([*TEXTS, *NUMBERS, True, False, None, [1], {"a": 1}])
                for name in ATTRIBUTES
                if dice.random() < 0.8
            },
        )
        for _ in range(dice.choice([0, 0, 1, 2, 3, 5])):
            lines = {dice.choice(SKUS): dice.choice([*CATEGORIES, None]) for _ in range(dice.randint(0, 2))}
            total = dice.choice([0, 999, 1000, 1001, 10_000])
            person.orders.append(Order(moment(), total, dice.random() < 0.8, list(lines.items())))
        person.events = [(name, moment()) for name in some(EVENTS, 5)]
        person.consents = [
            (kind, dice.choice(["marketing", "transactional"]), dice.random() < 0.6, moment())
            for kind in some(KINDS, 5)
        ]
        person.answers = [
            (survey, dice.choice(SCORES[survey]), moment()) for survey in some(sorted(SCORES), 5)
        ]
        person.addresses = {kind: f"key-{dice.randint(1, 30)}" for kind in some(KINDS, 2)}
        ends = [(min(ends), max(ends)) for ends in ((moment(), moment()) for _ in range(dice.randint(0, 2)))]
        person.cases = [*ends, *([(moment(), None)] if dice.random() < 0.3 else [])]
        people.append(person)
    kept_from = {(dice.choice(KINDS), f"key-{dice.randint(1, 30)}"): moment() for _ in range(15)}
    return Population(people, kept_from)


def store(connection: Connection, population: Population) -> None:
    """Replaces what the database holds by this population, rollup included."""
    tables = (
        responses,
        order_lines,
        orders,
        events,
        consents,
        addresses,
        suppressions,
        cases,
        profile_months,
        profiles,
        customers,
    )
    for table in tables:
        connection.execute(delete(table))
    rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in reversed(tables)}
    for person in population.people:
        mine = {"customer_id": person.id}
        rows[customers].append(
            {
                "id": person.id,
                "external_id": person.external_id,
                "draw": arms.draw_number(SECRET, person.external_id),
                "attributes": person.attributes,
                "created_at": EARLY,
                "updated_at": EARLY,
                **person.profile,
            }
        )
        for order in person.orders:
            number = len(rows[orders]) + 1
            rows[orders].append(
                mine
                | {
                    "id": number,
                    "external_id": f"o-{number}",
                    "ordered_at": order.at,
                    "month": order.at.year * 12 + order.at.month - 1,
                    "total": order.total,
                    "currency": "EUR",
                    "status": "paid",
                    "qualifying": order.qualifying,
                }
            )
            rows[order_lines] += [
                {
                    "order_id": number,
                    "sku": sku,
                    "name": sku,
                    "category": category,
                    "quantity": 1,
                    "unit_price": 1,
                }
                for sku, category in order.lines
            ]
        for name, at in person.events:
            number = len(rows[events]) + 1
            rows[events].append(
                mine | {"id": number, "external_id": f"e-{number}", "event": name, "occurred_at": at}
            )
        for kind, purpose, granted, at in person.consents:
            rows[consents].append(
                mine
                | {
                    "id": len(rows[consents]) + 1,
                    "kind": kind,
                    "purpose": purpose,
                    "granted": granted,
                    "evidence": "test",
                    "recorded_at": at,
                }
            )
        rows[cases] += [
            mine | {"channel": "sms", "reason": "reply", "opened_at": opened_at, "closed_at": closed_at}
            for opened_at, closed_at in person.cases
        ]
        for survey, score, at in person.answers:
            number = len(rows[responses]) + 1
            answer = {"kind": "answered", "survey": survey, "score": score}
            # What else they said is no answer.
            replied = {"kind": "replied", "survey": None, "score": None}
            rows[responses] += [
                mine
                | said
                | {
                    "id": 2 * number + more,
                    "event_id": f"a-{number}-{more}",
                    "channel": "",
                    "occurred_at": at,
                }
                | {"received_at": at}
                for more, said in enumerate((answer, replied))
            ]
        for kind, key in person.addresses.items():
            rows[addresses].append(mine | {"kind": kind, "address": key, "address_key": key})
    rows[suppressions] = [
        {"kind": kind, "address_key": key, "reason": "bounced", "created_at": at}
        for (kind, key), at in population.suppressions.items()
    ]
    for table, values in rows.items():
        if values:
            connection.execute(insert(table), values)
    refresh_profiles(connection)


# --- evaluating -------------------------------------------------------------------------------------


@dataclass
class Oracle:
    """Whether a person matches a rule as written in YAML, at a moment."""

    population: Population
    as_of: datetime
    segments: Mapping[str, Any]
    digits: int = 2

    def matches(self, rule: Mapping[str, Any], person: Person) -> bool:
        [(key, body)] = rule.items()
        if key == "all":
            return all(self.matches(part, person) for part in body)
        if key == "any":
            return any(self.matches(part, person) for part in body)
        if key == "not":
            return not self.matches(body, person)
        if key == "segment":
            return self.matches(self.segments[body], person)
        if key.startswith("attributes."):
            return self._attribute(person.attributes.get(key.removeprefix("attributes.")), body)
        if key.startswith("orders."):
            return self._orders(key, body, person)
        if key in SCORES:
            return self._answered(key, body, person)
        if key in ("sample", "lifecycle", "event", "consent", "reachable", "open_complaint"):
            return bool(getattr(self, f"_{key}")(body, person))
        return self._text(self._field(key, person), body)

    def _field(self, key: str, person: Person) -> str | None:
        if key == "customer_id":
            return person.external_id
        if key == "language":
            locale = person.profile["locale"]
            return None if locale is None else re.split("[-_]", locale)[0]
        return person.profile[key]

    def _text(self, value: str | None, body: Any) -> bool:
        body = body if isinstance(body, dict) else {"eq": body}
        checks = {
            "eq": lambda operand: value is not None and value == operand,
            "ne": lambda operand: value != operand,
            "in": lambda operand: value in operand,
            "not_in": lambda operand: value not in operand,
            "starts_with": lambda operand: value is not None and value.startswith(operand),
            "contains": lambda operand: value is not None and operand in value,
            "exists": lambda operand: (value is not None) is operand,
        }
        return all(checks[name](operand) for name, operand in body.items())

    def _attribute(self, value: Any, body: Any) -> bool:
        body = body if isinstance(body, dict) else {"eq": body}
        text = value if isinstance(value, str) else None

        def equal(operand: Any) -> bool:
            if isinstance(operand, bool):
                return _truth(value) is operand
            if isinstance(operand, str):
                return text is not None and text == operand
            return _number(value) is not None and _number(value) == Decimal(repr(operand))

        def ordered(operand: Any) -> int | None:
            number, other = _number(value), Decimal(repr(operand))
            return None if number is None else (number > other) - (number < other)

        checks = {
            "eq": equal,
            "ne": lambda operand: not equal(operand),
            "in": lambda operand: any(equal(one) for one in operand),
            "not_in": lambda operand: not any(equal(one) for one in operand),
            "gt": lambda operand: ordered(operand) == 1,
            "gte": lambda operand: ordered(operand) in (0, 1),
            "lt": lambda operand: ordered(operand) == -1,
            "lte": lambda operand: ordered(operand) in (0, -1),
            "starts_with": lambda operand: text is not None and text.startswith(operand),
            "contains": lambda operand: text is not None and operand in text,
            "exists": lambda operand: (value is not None) is operand,
        }
        return all(checks[name](operand) for name, operand in body.items())

    def _orders(self, key: str, body: Any, person: Person) -> bool:
        body = body if isinstance(body, dict) else {"eq": body}
        counted = [order for order in person.orders if order.qualifying and order.at <= self.as_of]
        if key in ("orders.first", "orders.last"):
            moments = [order.at for order in counted]
            if not moments:
                return False
            at = min(moments) if key == "orders.first" else max(moments)
            return ("within" not in body or self._since(at, body["within"])) and (
                "before" not in body or not self._since(at, body["before"])
            )
        if "within" in body:
            counted = [order for order in counted if self._since(order.at, body["within"])]
        comparisons = {name: operand for name, operand in body.items() if name != "within"}
        if key == "orders.count":
            return _compares(Decimal(len(counted)), comparisons)
        if key == "orders.value":
            return _compares(Decimal(sum(order.total for order in counted)).scaleb(-self.digits), comparisons)
        place = 0 if key == "orders.sku" else 1
        bought = {line[place] for order in counted for line in order.lines}
        wanted = [[operand] if name == "eq" else operand for name, operand in comparisons.items()]
        return all(bought & set(some) for some in wanted)

    def _since(self, at: datetime, duration: str) -> bool:
        return self.as_of - at < _days(duration)

    def _sample(self, body: Any, person: Person) -> bool:
        body = body if isinstance(body, dict) else {"share": body}
        share = Decimal(body["share"].removesuffix("%")) / 100
        a, b = arms.coefficients(SECRET, "sample", body.get("salt", ""))
        return arms.position(arms.draw_number(SECRET, person.external_id), a, b) < round(share * arms.P)

    def _lifecycle(self, body: Any, person: Person) -> bool:
        moments = sorted(order.at for order in person.orders if order.qualifying and order.at <= self.as_of)
        return self._text(self._stage(moments), body)

    def _stage(self, moments: list[datetime]) -> str:
        if not moments:
            return "never_purchased"
        recency = (self.as_of - moments[-1]) / timedelta(days=1)
        if recency > 90:
            return "lapsed" if recency > 180 else "at_risk"
        if len(moments) > 1 and moments[-1] - moments[-2] > timedelta(days=180):
            return "reactivated"
        if self.as_of - moments[0] < timedelta(days=30):
            return "new"
        return "loyal" if len(moments) >= 3 else "active"

    def _event(self, body: Any, person: Person) -> bool:
        body = body if isinstance(body, dict) else {"name": body}
        count = sum(
            name == body["name"]
            and at <= self.as_of
            and ("within" not in body or self._since(at, body["within"]))
            for name, at in person.events
        )
        wanted = body.get("count", {"gte": 1})
        return _compares(Decimal(count), wanted if isinstance(wanted, dict) else {"eq": wanted})

    def _consent(self, body: Any, person: Person) -> bool:
        body = body if isinstance(body, dict) else {"kind": body}
        purpose = body.get("purpose", "marketing")
        said = [
            (at, number, granted)
            for number, (kind, for_, granted, at) in enumerate(person.consents)
            if (kind, for_) == (body["kind"], purpose) and at <= self.as_of
        ]
        return max(said)[2] if said else purpose == "transactional"

    def _answered(self, survey: str, body: Any, person: Person) -> bool:
        body = body if isinstance(body, dict) else {"eq": body}
        comparisons = {name: operand for name, operand in body.items() if name != "within"}
        said = [
            (at, number, score)
            for number, (of, score, at) in enumerate(person.answers)
            if of == survey and at <= self.as_of and ("within" not in body or self._since(at, body["within"]))
        ]
        if not said:
            return set(comparisons) == {"ne"}
        return _compares(Decimal(max(said)[2]), comparisons)

    def _reachable(self, kind: str, person: Person) -> bool:
        if kind not in person.addresses:
            return False
        since = self.population.suppressions.get((kind, person.addresses[kind]))
        return since is None or since > self.as_of

    def _open_complaint(self, wanted: bool, person: Person) -> bool:
        return wanted is any(
            opened_at <= self.as_of and (closed_at is None or self.as_of < closed_at)
            for opened_at, closed_at in person.cases
        )


def _compares(value: Decimal, comparisons: Mapping[str, Any]) -> bool:
    checks = {
        "eq": lambda other: value == other,
        "ne": lambda other: value != other,
        "gt": lambda other: value > other,
        "gte": lambda other: value >= other,
        "lt": lambda other: value < other,
        "lte": lambda other: value <= other,
    }
    return all(checks[name](Decimal(str(operand))) for name, operand in comparisons.items())


def _days(duration: str) -> timedelta:
    return timedelta(days=int(duration.removesuffix("d")))


def _number(value: Any) -> Decimal | None:
    if isinstance(value, str):
        written = re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value) and len(value) <= 16
        return Decimal(value) if written else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Decimal(repr(value)) if is_number else None


def _truth(value: Any) -> bool | None:
    return (
        {"true": True, "false": False}.get(value)
        if isinstance(value, str)
        else (value if isinstance(value, bool) else None)
    )
