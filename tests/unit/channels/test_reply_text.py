"""What a person wrote in a reply, and the letter that it answers, told apart."""

from __future__ import annotations

from email import message_from_string

import pytest

from channels.opt_out_words import meant_by
from channels.reply_text import own_words
from holdfast.channel import ResponseKind


def words(text: str, kind: str = "plain; charset=utf-8") -> str:
    return own_words([message_from_string(f"Content-Type: text/{kind}\n\n{text}")])


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("Hello", "Hello"),
        ("", ""),
        ("Yes.\n\nOn Monday, Acme wrote:\n> Hello\n> there", "Yes."),
        ("Yes.\n\nLe mer. 3 juin 2026 à 14:00, Acme <hello@acme.example> a\nécrit :\n\n> Hello", "Yes."),
        ("Yes.\n\n-----Original Message-----\nFrom: Acme\nHello", "Yes."),
        ("Yes.\n\n________________________________\nFrom: Acme", "Yes."),
        ("Yes.\n\n-- \nAnn\nHead of tea", "Yes."),
        ("On Monday, Acme wrote:\n> Hello\n\nNo, thanks.", "No, thanks."),
        ("> Do you like it?\nYes.\n> And this?\nNo.", "Yes.\nNo."),
        ("My list:\n\n> one", ""),
        ("I like:\ntea\n\n\n\n\ncake", "I like:\ntea\n\ncake"),
        (">" * 100, ""),
    ],
)
def test_own_words_stand_above_the_quoted_letter_or_else_below(text: str, own: str) -> None:
    assert words(text) == own


@pytest.mark.parametrize(
    ("html", "own"),
    [
        ("<p>Yes &amp; <b>no</b> thanks</p>", "Yes & no thanks"),
        ("<style>p {}</style><script>x()</script><div>Yes</div>", "Yes"),
        (
            "<div>Yes</div><blockquote><p>Hello</p><blockquote>x</blockquote></blockquote><p>Bye</p>",
            "Yes\n\nBye",
        ),
        ("Yes<br>no<br/>thanks", "Yes\nno\nthanks"),
        ("<p>Yes<hr><p>From: Acme", "Yes"),
        ("Yes</blockquote></p><![nonsense[x]]>", "Yes"),
        ("Yes <b>no</b> thanks, 1 < 2", "Yes no thanks, 1 < 2"),
        ("Yes<!-- no -->, thanks<!-- for", "Yes, thanks<!-- for"),
        ("<" * 40_000, None),
        ("<!--" * 12_000, None),
        ("<a " * 15_000, None),
        ("<a b='" * 8_000, None),
        ("<p>" + "<!-- <a " * 6_000, None),
        ("<![CDATA[" * 5_000, None),
        ("&#" * 20_000, None),
    ],
)
@pytest.mark.timeout(5)
def test_a_page_is_read_as_its_text(html: str, own: str | None) -> None:
    assert own is None or words(html, "html") == own


@pytest.mark.parametrize(
    "charset", ["utf-8", "no-such", "zlib", "idna", "punycode", "undefined", "rot13", ""]
)
def test_a_charset_that_is_none_spoils_no_text(charset: str) -> None:
    assert "Hello" in words("Hello", f'plain; charset="{charset}"') or charset in ("punycode", "rot13")


def test_text_is_read_from_the_first_part_that_is_no_attachment() -> None:
    parts = [
        message_from_string(f"Content-Type: {kind}\nContent-Disposition: {disposition}\n\n{text}")
        for kind, disposition, text in (
            ("text/plain", "attachment", "attached"),
            ("text/html", "inline", "<p>page"),
            ("text/plain", "inline", "text"),
        )
    ]
    assert own_words(parts) == "text"
    assert own_words(parts[:2]) == "page"
    assert own_words(parts[:1]) == ""


def test_text_is_cut_where_no_person_writes_on() -> None:
    assert len(words("x" * 200_000)) == 10_000


@pytest.mark.parametrize(
    "text", ["STOP", "Unsubscribe.\n\nOn Monday Acme wrote:\n> Hello", "stop\n\n-- \nAnn"]
)
def test_a_word_that_unsubscribes_is_found_above_what_it_answers(text: str) -> None:
    assert meant_by(words(text)) is ResponseKind.UNSUBSCRIBED
