"""What links and invitations say of a message, and what nobody can make them say."""

from __future__ import annotations

import re
import string
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tokens import Signer, TokenExpired, TokenForged

TODAY = date(2026, 6, 3)
SIGNER = Signer(b"a secret of the tests, 32 bytes.")
LETTERS = string.ascii_letters + string.digits + "_-"


def test_what_an_older_secret_signed_is_believed_until_it_is_taken_out() -> None:
    old, new = b"an old secret, of last year", b"a new secret, of this year"
    before, between, after = Signer(old), Signer(new, old), Signer(new)
    for sign, verify in [
        (lambda s: s.sign("unsubscribe", 7), lambda s, token: s.verify("unsubscribe", token)),
        (lambda s: s.sign("track", 7, TODAY), lambda s, token: s.verify("track", token, TODAY)),
        (lambda s: s.sign_invitation(7, TODAY), lambda s, token: s.verify_invitation(token, TODAY)),
        (lambda s: s.sign_link("https://a.example/"), lambda s, token: s.verify_link(token)),
        (
            lambda s: s.sign_confirmation(7, "ann@shop.example", TODAY),
            lambda s, token: s.is_mark(s.verify_confirmation(token, TODAY)[1], "ann@shop.example"),
        ),
    ]:
        assert sign(between) == sign(after) != sign(before)
        expected = verify(before, sign(before))
        assert verify(between, sign(before)) == verify(between, sign(after)) == expected
        with pytest.raises(TokenForged):
            verify(after, sign(before))
        with pytest.raises(TokenForged):
            verify(between, sign(Signer(b"the secret of a stranger")))
    mark = before.mark("ann@shop.example")
    assert between.is_mark(mark, "ann@shop.example")
    assert not between.is_mark(mark, "bob@shop.example")
    assert not after.is_mark(mark, "ann@shop.example")


def test_what_was_signed_before_an_update_is_believed_after_it() -> None:
    signed = "7-20607.WKooiHtJtV1gc43AqRfvxd22RomoywF0_YeyOm9e6eg"
    link = "aHR0cHM6Ly9hLmV4YW1wbGUv.181fQ0lh6DlVROirkP75cwCToVBYHsUeo5NZxvjVHTo"
    assert (SIGNER.verify("track", signed, TODAY), SIGNER.verify_link(link)) == (7, "https://a.example/")


@given(st.integers(0, 2**63 - 1), st.integers(0, 10_000))
def test_an_invitation_fits_telegrams_link_and_gives_its_message_back(message_id: int, days: int) -> None:
    token = SIGNER.sign_invitation(message_id, TODAY + timedelta(days=days))
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", token)
    assert SIGNER.verify_invitation(token, TODAY) == message_id


def test_an_invitation_is_good_to_the_end_of_its_last_day() -> None:
    token = SIGNER.sign_invitation(5, TODAY)
    assert SIGNER.verify_invitation(token, TODAY) == 5
    with pytest.raises(TokenExpired):
        SIGNER.verify_invitation(token, TODAY + timedelta(days=1))


def test_no_letter_of_an_invitation_can_be_another() -> None:
    token = SIGNER.sign_invitation(123, TODAY)
    for place, letter in enumerate(token):
        for other in LETTERS:
            if other != letter:
                with pytest.raises(TokenForged):
                    SIGNER.verify_invitation(token[:place] + other + token[place + 1 :], TODAY)


@pytest.mark.parametrize("token", ["", "a", "A" * 35, "A" * 64, "c_4711", "ä", "=" * 8, "\0", "🙂"])
def test_what_was_never_an_invitation_is_refused(token: str) -> None:
    with pytest.raises(TokenForged):
        SIGNER.verify_invitation(token, TODAY)


def test_tokens_of_other_uses_and_other_projects_are_none() -> None:
    token = SIGNER.sign_invitation(123, TODAY)
    with pytest.raises(TokenForged):
        Signer(b"another secret of the tests, 32 b.").verify_invitation(token, TODAY)
    for tried in (
        token[:-1],
        token + "A",
        token + "=",
        SIGNER.sign("track", 123),
        SIGNER.sign("unsubscribe", 123),
    ):
        with pytest.raises(TokenForged):
            SIGNER.verify_invitation(tried, TODAY)
    with pytest.raises(TokenForged):
        SIGNER.verify("unsubscribe", token)
