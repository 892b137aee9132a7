"""One spelling for what phones and keyboards write in several, so that words can be compared."""

from __future__ import annotations

import unicodedata

# An Arabic keyboard and a Persian one write the same letter by two characters; hamzas, and the dots of a last
# letter, are often left out; umlauts are written out.
_LETTERS = str.maketrans("كيىأإآٱؤة", "کییااااوه") | str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
# Vowel signs, the stroke that stretches words, soft hyphens, and what only says how signs join or run.
_LEFT_OUT = dict.fromkeys([*range(0x064B, 0x0660), 0x0670, 0x0640, 0x00AD, *range(0x200B, 0x2010), 0xFEFF])
_ONE = _LETTERS | _LEFT_OUT


def one_spelling(text: str) -> str:
    """The text without capitals, with one character a letter and one space a gap. For comparing alone."""
    # NFKC: phones write wide letters, and old ones Arabic in forms of presentation.
    plain = unicodedata.normalize("NFKC", text).casefold()
    if not plain.isascii():
        plain = plain.translate(_ONE)
    return " ".join(plain.split())
