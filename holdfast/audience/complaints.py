"""What of all that customers say is a complaint: a low answer, a spam report, or words of a list.

A list of words, whole ones: it knows nothing of what is meant. Both ways of being wrong are mended by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Literal

from holdfast.audience.complaint_words import COMPLAINT_WORDS
from holdfast.channel import ResponseKind
from holdfast.settings import Cases
from holdfast.spelling import one_spelling

CaseReason = Literal["reply", "mention", "low_score", "spam_report", "by_hand"]

SAID = (ResponseKind.REPLIED, ResponseKind.MENTIONED, ResponseKind.ANSWERED, ResponseKind.COMPLAINED)
"""The kinds of responses by which customers say something: what conversations and cases are made of."""

# Nobody comes to the point later, and a letter may be megabytes long.
_LOOKED_AT = 5000
# Prefixes that Arabic writes together with the word, and Persian apart or together, as people like.
_ARTICLE = re.compile(r"\b[وف]?ال(?=\w{3})")
_APART = re.compile(r"\b(ن?می|بی) (?=\w)")
_WORD = re.compile(r"[^\W_]+")
_WORD_OF_A_LIST = re.compile(r"[^\W_]+\*?")

_Phrase = tuple[str, ...]
_ByWord = dict[str, list[_Phrase]]


@dataclass(frozen=True)
class Complaints:
    """How a project tells complaints. `phrases` as the lists of words have them."""

    phrases: tuple[str, ...]
    low: dict[str, int]
    reopen_within: timedelta

    @classmethod
    def of(cls, cases: Cases) -> Complaints:
        """As the project's settings say."""
        shipped = [word for language in cases.words_of for word in COMPLAINT_WORDS[language]]
        low = {"nps": cases.nps_up_to, "csat": cases.csat_up_to}
        return cls((*shipped, *cases.words), low, cases.reopen_within)

    def reason(self, kind: str, text: str | None, survey: str | None, score: int | None) -> CaseReason | None:
        """Why a response of this kind is a complaint; None: it is none."""
        match kind:
            case ResponseKind.COMPLAINED:
                return "spam_report"
            case ResponseKind.ANSWERED if survey is not None and score is not None:
                return "low_score" if score <= self.low.get(survey, -1) else None
            case ResponseKind.REPLIED:
                return "reply" if self.found_in(text or "") else None
            case ResponseKind.MENTIONED:
                return "mention" if self.found_in(text or "") else None
        return None

    def found_in(self, text: str) -> bool:
        """Whether one of the words or phrases is in the text, however it is spelt."""
        said = _WORD.findall(_joined(text[:_LOOKED_AT]))
        exact, endings = self._by_first_word
        beginnings = tuple(endings)
        for place, word in enumerate(said):
            if word in exact or word.startswith(beginnings):
                begun = [*exact.get(word, ()), *_that_begin(word, endings)]
                if any(_goes_on(said[place : place + len(phrase)], phrase) for phrase in begun):
                    return True
        return False

    @cached_property
    def _by_first_word(self) -> tuple[_ByWord, _ByWord]:
        """The phrases by their first word; those where it has any ending, by what it begins with."""
        exact: _ByWord = {}
        endings: _ByWord = {}
        for phrase in self.phrases:
            first, *_ = words = tuple(_WORD_OF_A_LIST.findall(_joined(phrase)))
            of = endings if first.endswith("*") else exact
            of.setdefault(first.removesuffix("*"), []).append(words)
        return exact, endings


def _joined(text: str) -> str:
    return _APART.sub(r"\1", _ARTICLE.sub("", one_spelling(text)))


def _that_begin(word: str, endings: _ByWord) -> Iterator[_Phrase]:
    for beginning, phrases in endings.items():
        if word.startswith(beginning):
            yield from phrases


def _goes_on(said: Sequence[str], phrase: _Phrase) -> bool:
    return len(said) == len(phrase) and all(
        word.startswith(wanted[:-1]) if wanted.endswith("*") else word == wanted
        for word, wanted in zip(said, phrase, strict=True)
    )
