"""Things done to what is genuine. By a random generator's seed the same ones every time."""

from __future__ import annotations

from random import Random

# Digits that Python reads as numbers.
EASTERN = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")

_ODD = (
    *("", " ", "0", "-1", "1e9", "0x1", "null", "v1,", "sha256=", "Basic", "MEUCIQ==", "=" * 44),
    *("é", "½", "Ⅷ", "🙂", "١٧٨٠٤٨٨٠٠٠", "\ud800", "\0", "\r\nx: y", "9" * 5000, "A" * 100_000),
)


def mutated(random: Random, content: bytes) -> bytes:
    """The content with one thing changed: a bit, a byte more or less, its end, its capitals, its order."""
    place = random.randrange(len(content))
    before, here, after = content[:place], content[place : place + 1], content[place + 1 :]
    return random.choice(
        (
            lambda: before + bytes([here[0] ^ 1 << random.randrange(8)]) + after,
            lambda: before + bytes([here[0] ^ 1 << random.randrange(8)]) + after,
            lambda: before + after,
            lambda: before + here + random.randbytes(1) + after,
            lambda: before,
            lambda: content + random.choice((b" ", b"\0", b"=", b"&a=", b"\n", content)),
            lambda: content.swapcase(),
            lambda: content[::-1],
            lambda: after + before + here,
        )
    )()


def odd(random: Random) -> str:
    """A text that no provider ever sends in a header, though a server may hand it over."""
    return random.choice(_ODD)
