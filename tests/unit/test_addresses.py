from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audience.addresses import address_key


@pytest.mark.parametrize(
    ("kind", "spellings", "key"),
    [
        ("email", ["Ann@Shop.Example", " ann@shop.example "], "ann@shop.example"),
        ("email", ["post@BÜCHER.example", "post@bu\u0308cher.example", "post@xn--bcher-kva.example"],
         "post@xn--bcher-kva.example"),
        ("email", ["JÜRGEN@shop.example", "ju\u0308rgen@shop.example"], "jürgen@shop.example"),
        ("sms", ["+49 30 1234-56", "0049 (30) 123456", "+49/30.123456"], "+4930123456"),
        ("whatsapp", ["+49 30 123456"], "+4930123456"),
        ("x", ["@Ann", "ann"], "ann"),
        ("mastodon", ["@Ann@social.example", "ann@social.example"], "ann@social.example"),
        ("telegram", ["-100123"], "-100123"),
    ],
)  # fmt: skip
def test_two_spellings_of_an_address_have_one_key(kind: str, spellings: list[str], key: str) -> None:
    assert {address_key(kind, spelling) for spelling in spellings} == {key}


def test_two_domains_that_only_look_alike_stay_apart() -> None:
    assert address_key("email", "a@straße.example") != address_key("email", "a@strasse.example")


@given(st.sampled_from(["email", "sms", "x", "telegram", "webhook"]), st.text(max_size=40))
def test_any_text_has_a_key_and_a_key_is_its_own_key(kind: str, text: str) -> None:
    key = address_key(kind, text)
    assert address_key(kind, key) == key
