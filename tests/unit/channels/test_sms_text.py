from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.sms_text import segments


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("a" * 1600, 11),
        ("ÄÖÜäöüß à è é ù ì ò Ç Ñ ñ Å å Æ æ Ø ø ¿¡ §¤ ΔΦΓΛΩΠΨΣΘΞ @£$¥_\r\n" + "x" * 95, 1),
        ("^{}\\[~]|€\f" * 8, 1),
        ("^{}\\[~]|€\f" * 8 + "a", 2),
        # 76 of them are 152 septets, and the 153rd place stays empty.
        ("€" * 81, 2),
        ("€" * 152, 2),
        ("a" + "€" * 152, 2),
        ("aa" + "€" * 152, 3),
        ("ç" * 70, 1),  # small, it is not in the alphabet
        ("ç" * 71, 2),
        ("م" * 134, 2),
        ("م" * 135, 3),
        ("字" * 1600, 24),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 66, 2),  # 33 a part: a pair is not split
        ("😀" * 67, 3),
        ("a" * 70 + "’", 2),
        ("\x1b", 1),
        ("\ud800", 1),
    ],
)
def test_a_text_becomes_so_many_messages(text: str, count: int) -> None:
    assert segments(text) == count


@given(st.text(max_size=700))
def test_a_longer_text_never_becomes_fewer_messages(text: str) -> None:
    assert segments(text) <= segments(text + "x") <= segments(text + "x😀")
