from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audience.addresses import address_key, e164, expected_address


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


@pytest.mark.parametrize(
    ("kind", "sound", "unsound"),
    [
        ("email", ["ann@acme.example", "änn@büro.example"], ["ann", "ann@", "a b@acme.example", "a@b, c@d"]),
        ("sms", ["+49 (151) 12345678", "0049151123456"], ["0151 12345678", "+49", "+49151x234567"]),
        ("whatsapp", ["+4915112345678"], ["4915112345678"]),
        ("telegram", ["4711", "-1001234567890"], ["@ann", "0", "47 11"]),
        ("messenger", ["2544100000"], ["ann", "12"]),
        ("x", ["@ann", "ann_1", "1900000000000000"], ["ann smith", "@", "@a_handle_too_long"]),
        ("mastodon", ["@ann@mastodon.example", "ann"], ["@ann@b@c", "ann@"]),
        ("letter", ["1 High St, Berlin"], []),
    ],
)
def test_what_cannot_be_an_address_of_its_kind_is_told_before_anything_is_sent(
    kind: str, sound: list[str], unsound: list[str]
) -> None:
    assert [address for address in sound if expected_address(kind, address)] == []
    nothing = ["", " ", "a\nb", "9" * 321]
    assert [address for address in unsound + nothing if not expected_address(kind, address)] == []


@pytest.mark.parametrize(
    "written", ["+4915112345678", "0049 (151) 1234-5678", " +49.151.12345678 ", "\u202a+4915112345678\u202c"]
)
def test_a_number_is_the_same_in_any_punctuation(written: str) -> None:
    assert e164(written) == "+4915112345678"


@pytest.mark.parametrize(
    "written",
    ["", "+", "0151 12345678", "4915112345678", "+0151123", "+49151", "+" + "1" * 16, "+4915112345678\n",
     "+49151\n12345678", "+49١٥١١٢٣٤٥", "+4915112345678" + " " * 30, "+49151x"],
)  # fmt: skip
def test_what_is_no_number_with_its_country_is_none(written: str) -> None:
    assert e164(written) == ""
