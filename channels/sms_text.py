"""How many short messages a text becomes: what networks count, and providers bill.

The alphabet is the default one of 3GPP TS 23.038 (6.2.1), whose extension table (6.2.1.1) takes two septets
a character. A text with any other character goes in UCS-2, in practice UTF-16: two octets a unit. A message
has room for 140 octets, which are 160 septets or 70 units; one that is part of a longer text begins with a
header of 6 octets (3GPP TS 23.040, 9.2.3.24.1), which leaves 153 septets or 67 units. No character is split.
"""

from __future__ import annotations

from collections.abc import Sequence

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")


def segments(text: str) -> int:
    """The number of short messages; 1 for an empty text."""
    if _BASIC.union(_EXTENSION).issuperset(text):
        return _packed([2 if character in _EXTENSION else 1 for character in text], 160, 153)
    return _packed([2 if character > "\uffff" else 1 for character in text], 70, 67)


def _packed(widths: Sequence[int], alone: int, in_part: int) -> int:
    if sum(widths) <= alone:
        return 1
    count, room = 1, in_part
    for width in widths:
        if width > room:
            count, room = count + 1, in_part
        room -= width
    return count
