from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.demo.shop import ShopFiles, write_shop

TODAY = date(2026, 11, 21)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> ShopFiles:
    """A shop of the default size."""
    return write_shop(tmp_path_factory.mktemp("shop"), today=TODAY)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_and_day_give_the_same_bytes(tmp_path: Path) -> None:
    once, twice, other = (
        write_shop(tmp_path / name, customers=300, seed=seed, today=TODAY)
        for name, seed in (("once", 7), ("twice", 7), ("other", 8))
    )
    for name in ("customers", "orders", "lines", "events"):
        assert getattr(once, name).read_bytes() == getattr(twice, name).read_bytes()
        assert getattr(once, name).read_bytes() != getattr(other, name).read_bytes()


def test_customers_write_their_names_in_many_scripts(shop: ShopFiles) -> None:
    customers = rows(shop.customers)
    letters = {letter for customer in customers for letter in customer["first_name"] if letter.isalpha()}
    scripts = {unicodedata.name(letter).split()[0] for letter in letters}
    assert {
        "LATIN",
        "ARABIC",
        "GREEK",
        "CYRILLIC",
        "CJK",
        "HIRAGANA",
        "HANGUL",
        "DEVANAGARI",
        "HEBREW",
        "THAI",
    } <= scripts
    assert {"ar", "ar-EG", "fa", "de", "fr", ""} <= {customer["locale"] for customer in customers}
    assert sum(not customer["first_name"] for customer in customers) > 100
    assert any("<script>" in customer["first_name"] for customer in customers)
    assert any("\n" in customer["first_name"] for customer in customers)


def test_no_address_can_reach_anyone(shop: ShopFiles) -> None:
    assert all(
        email.endswith(".example") for customer in rows(shop.customers) if (email := customer["email"])
    )


def test_consent_is_given_refused_and_missing(shop: ShopFiles) -> None:
    consents = Counter(customer["consent.email"] for customer in rows(shop.customers))
    assert min(consents["yes"], consents["no"], consents[""]) > 200


def test_orders_span_two_years_and_end_before_today(shop: ShopFiles) -> None:
    moments = [datetime.fromisoformat(order["ordered_at"]) for order in rows(shop.orders)]
    assert len(moments) > 20_000
    assert moments == sorted(moments)
    assert moments[-1].date() < TODAY
    assert moments[-1] - moments[0] > timedelta(days=700)


def test_every_recency_that_makes_a_lifecycle_stage_occurs(shop: ShopFiles) -> None:
    ages: dict[str, list[int]] = {}
    for order in rows(shop.orders):
        age = (TODAY - datetime.fromisoformat(order["ordered_at"]).date()).days
        ages.setdefault(order["customer_id"], []).append(age)
    recencies = [min(own) for own in ages.values()]
    assert sum(max(own) <= 30 for own in ages.values()) > 100
    assert sum(recency <= 90 for recency in recencies) > 1000
    assert sum(90 < recency <= 180 for recency in recencies) > 200
    assert sum(recency > 180 for recency in recencies) > 1000
    assert (
        sum(len(own) > 1 and min(own) <= 90 and sorted(own)[1] - min(own) > 180 for own in ages.values()) > 30
    )
    assert len(ages) < 5000


def test_an_orders_total_is_the_sum_of_its_lines(shop: ShopFiles) -> None:
    sums: Counter[str] = Counter()
    for line in rows(shop.lines):
        sums[line["order_id"]] += int(line["quantity"]) * round(float(line["unit_price"]) * 100)
    assert sums == {order["order_id"]: round(float(order["total"]) * 100) for order in rows(shop.orders)}
