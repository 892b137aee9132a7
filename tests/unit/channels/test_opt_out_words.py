"""One word ends the messages, in the languages that the pages are in, however a phone spells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from channels.opt_out_words import STOP_WORDS, meant_by
from holdfast.channel import ResponseKind

ANSWERS = (Path(__file__).parents[3] / "docs" / "answers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", STOP_WORDS)
def test_each_word_alone_unsubscribes_and_is_documented(word: str) -> None:
    assert meant_by(word) is ResponseKind.UNSUBSCRIBED
    assert meant_by(f"  “{word.upper()}” !\n") is ResponseKind.UNSUBSCRIBED
    assert f"`{word}`" in ANSWERS


@pytest.mark.parametrize(
    "said",
    [
        "ＳＴＯＰ",  # wide letters
        "stop\u00a0all",
        "الغاء الاشتراك",  # without its hamza
        "إلغاء\u200f الاشتراك؟",
        "لغو اشتراك",  # from an Arabic keyboard
        "\ufedf\ufed0\ufeee",  # in forms of presentation
    ],
)
def test_a_word_is_known_in_other_spellings(said: str) -> None:
    assert meant_by(said) is ResponseKind.UNSUBSCRIBED


@pytest.mark.parametrize(
    "said", ["", "Stop by my shop", "don't stop", "the end", "yes", "STOP " * 50, "stop" + "." * 1000, "\0"]
)
def test_whoever_says_more_has_replied(said: str) -> None:
    assert meant_by(said) is ResponseKind.REPLIED


@pytest.mark.parametrize("word", ["START", " unstop. "])
def test_a_word_begins_them_again(word: str) -> None:
    assert meant_by(word) is ResponseKind.RESUBSCRIBED
