"""Envelope senders that name their message."""

from __future__ import annotations

import pytest

from channels.verp import BounceAddress
from holdfast.tokens import Signer

BOUNCES = BounceAddress("bounce@r.acme.example")
SIGNER = Signer(b"a secret of the tests, 32 bytes.")


@pytest.mark.parametrize("number", [1, 17, 999_999_999, 10**11])
def test_a_key_comes_back_as_it_left(number: int) -> None:
    key = SIGNER.sign("message", number)
    sender = BOUNCES.of(key)
    assert len(sender.partition("@")[0]) <= 64
    assert list(BOUNCES.addressed([f"<{sender}>"])) == [key]


def test_the_longest_name_of_an_address_leaves_room_for_a_key() -> None:
    key = SIGNER.sign("message", 999_999_999)
    bounces = BounceAddress("bounces-to@r.acme.example")
    assert list(bounces.addressed([bounces.of(key)])) == [key]


def test_a_key_that_does_not_fit_is_left_out() -> None:
    assert BOUNCES.of("x" * 58) == "bounce@r.acme.example"


@pytest.mark.parametrize(
    ("header", "keys"),
    [
        ("bounce+1.a@r.acme.example", ["1.a"]),
        ('"Acme" <BOUNCE+1.A@R.ACME.EXAMPLE>, bounce+2.b@r.acme.example', ["1.A", "2.b"]),
        ("by mx for <bounce+1.a@r.acme.example>; Mon", ["1.a"]),
        ("bounce@r.acme.example", []),
        ("bounce+@r.acme.example", []),
        ("rebounce+1.a@r.acme.example", []),
        ("a+bounce+1.a@r.acme.example", []),
        ("bounce+1.a@r.acme.example.evil.example", []),
        ("bounce+1.a@rxacme.example", []),
        ("bounce+1.a\r\n@r.acme.example", []),
        ("", []),
    ],
)
def test_only_our_own_addresses_are_read(header: str, keys: list[str]) -> None:
    assert list(BOUNCES.addressed([header])) == keys


def test_only_our_own_message_ids_are_read() -> None:
    header = "<1.a@r.acme.example>\r\n <2.b@other.example> <3.c@R.acme.example>"
    assert list(BOUNCES.named([header])) == ["1.a", "3.c"]
