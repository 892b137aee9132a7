"""A text is a complaint by a list of words, in four languages, however a phone spells them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audience.complaint_words import COMPLAINT_WORDS
from holdfast.audience.complaints import Complaints
from holdfast.settings import Cases

SHIPPED = Complaints.of(Cases())


@pytest.mark.parametrize(
    "text",
    [
        "The mug arrived BROKEN.",
        "It doesn’t work, and nobody answers",
        "i would like my money   back!",
        "*Refunded*? I have seen nothing",
        "Die Tasse kam beschädigt an",
        "Ich bin sehr ENTTAEUSCHT",  # without an umlaut's key
        "Wo ist mein Paket? Es ist nicht\nangekommen.",
        "Bescha\u0308digte Ware",  # the dots apart from their letter
        "الطلب لم يصلني بعد",
        "وصل المنتج مَكْسُورًا",  # with its vowel signs
        "عندي شكوي",  # the last letter without its dots' difference
        "هذه خدمة سيئه جدا",
        "اشتكي من التأخير",  # without its hamza
        "المعطلة",  # with its article
        "سفارشم هنوز نرسیده است",
        "دستگاه کار نمی‌کند",
        "دستگاه کار نمی کند",
        "دستگاه كار نميكند",  # from an Arabic keyboard
        "پولم را پس بدهید",
        "ＢＲＯＫＥＮ",
    ],
)
def test_complaints_of_four_languages_are_found_in_any_spelling(text: str) -> None:
    assert SHIPPED.found_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Thank you, it is lovely!",
        "The heartbroken hero of your book",  # a word inside another
        "We work. It never rains, and the parcel arrived",
        "Gut angekommen, vielen Dank",
        "Kein Fehler, nicht zu glauben",
        "شكرا لكم، وصل الطلب",
        "ممنون، سفارش رسید",
        "money. Come back soon",  # its words apart
        "برنامه را نصب کردم، ممنون",  # installed it; in Arabic a swindle
        "شكرا للوكيل على المساعدة",  # the dealer; in Persian a lawyer
        "Das Bild zeigt einen gebrochenen Ast",
        "🙏" * 3000,
    ],
)
def test_what_has_none_of_the_words_is_none(text: str) -> None:
    assert not SHIPPED.found_in(text)


@pytest.mark.parametrize("language", COMPLAINT_WORDS)
def test_each_shipped_phrase_is_found_where_its_language_counts(language: str) -> None:
    only = Complaints.of(Cases.model_validate({"words_of": [language]}))
    for phrase in COMPLAINT_WORDS[language]:
        assert only.found_in(f"– {phrase.replace('*', '').upper()}!"), phrase
    assert not Complaints.of(Cases(words_of=[])).found_in(" ".join(COMPLAINT_WORDS[language]))


def test_a_project_adds_words_and_endings_or_has_its_own_alone() -> None:
    mine = Complaints.of(Cases(words_of=[], words=["lauwarm*", "zu  Spät"]))
    assert mine.found_in("Die Suppe war lauwarme Brühe")
    assert mine.found_in("ZU SPAET gekommen")
    assert not mine.found_in("broken")
    assert Complaints.of(Cases(words=["lauwarm"])).found_in("broken")


@pytest.mark.parametrize(
    ("kind", "text", "survey", "score", "reason"),
    [
        ("replied", "broken", None, None, "reply"),
        ("replied", "thanks", None, None, None),
        ("replied", None, None, None, None),
        ("mentioned", "broken", None, None, "mention"),
        ("complained", None, None, None, "spam_report"),
        ("answered", None, "nps", 6, "low_score"),
        ("answered", "broken", "nps", 7, None),
        ("answered", None, "csat", 2, "low_score"),
        ("answered", None, "csat", 3, None),
        ("answered", None, None, None, None),
        ("clicked", "broken", None, None, None),
    ],
)
def test_what_opens_a_case(
    kind: str, text: str | None, survey: str | None, score: int | None, reason: str | None
) -> None:
    assert SHIPPED.reason(kind, text, survey, score) == reason


def test_scores_can_be_left_out() -> None:
    none = Complaints.of(Cases(nps_up_to=-1, csat_up_to=0))
    assert none.reason("answered", None, "nps", 0) is None
    assert none.reason("answered", None, "csat", 1) is None


@given(st.text(max_size=200))
def test_any_text_can_be_judged_and_a_phrase_in_it_is_found(text: str) -> None:
    SHIPPED.found_in(text)
    assert SHIPPED.found_in(f"{text} . money back . {text}")
