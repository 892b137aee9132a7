from __future__ import annotations

import pytest

from channels.mastodon_text import (
    account,
    counted_length,
    plain_text,
    same_post,
    without_first_mentions,
    without_mentions,
)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("Hello", 5),
        ("a\nb", 3),
        ("a\r\nb", 3),
        ("https://acme.example/" + "x" * 300, 23),
        ("https://a.b", 23),
        ("See https://acme.example/a, then go.", 4 + 23 + 10),
        ("http://a.example http://b.example", 47),
        ("@ann", 4),
        ("@ann@mastodon.example", 4),
        ("Hi @ann@mastodon.example!", 8),
        ("ann@mastodon.example", 20),
        ("cafe\u0301", 4),
        ("مَرْحَبًا", 5),
        ("नमस्ते", 4),
        ("字" * 10, 10),
        ("😀", 1),
        ("👍🏽", 1),
        ("❤\ufe0f", 1),
        ("👨‍👩‍👧‍👦", 1),
        ("🏳\ufe0f‍🌈", 1),
        ("🇩🇪🇪🇬", 2),
        ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", 1),
        ("می‌خواهم", 7),
    ],
)
def test_a_length_is_what_a_reader_counts(text: str, length: int) -> None:
    assert counted_length(text) == length


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("@ann@mastodon.example", "ann@mastodon.example"),
        ("ann@mastodon.example", "ann@mastodon.example"),
        (" @ann ", "ann"),
        ("@ann_b.c-d@social.example:3000", "ann_b.c-d@social.example:3000"),
        ("@ann@مثال.إختبار", "ann@مثال.إختبار"),
        ("", ""),
        ("@", ""),
        ("@ann@", ""),
        ("@ann@@b", ""),
        ("@ann b", ""),
        ("@ann\n@bob", ""),
        ("@ann@host @bob@host", ""),
        ("https://mastodon.example/@ann", ""),
        ("@анна", ""),
    ],
)
def test_an_address_is_a_user_with_or_without_host(address: str, expected: str) -> None:
    assert account(address) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello @bob@evil.example", "Hello @\u2060bob@evil.example"),
        ("@bob", "@\u2060bob"),
        ("(@bob)", "(@\u2060bob)"),
        ("@bob@evil.example@eve", "@\u2060bob@evil.example@eve"),
        ("write to hello@acme.example", "write to hello@acme.example"),
        ("https://social.example/@acme", "https://social.example/@acme"),
        ("3 @ 4", "3 @ 4"),
    ],
)
def test_nobody_is_mentioned_by_a_customers_data(text: str, expected: str) -> None:
    assert without_mentions(text) == expected


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<p>Hello</p>", "Hello"),
        ("<p>One<br />two</p><p>three</p>", "One\ntwo\n\nthree"),
        ("<p>tea &amp; cake &lt;3 &#39;</p>", "tea & cake <3 '"),
        (
            '<p><a href="https://acme.example/a"><span class="invisible">https://</span>'
            '<span class="ellipsis">acme.exam</span><span class="invisible">ple/a</span></a></p>',
            "https://acme.example/a",
        ),
        ('<p><span class="h-card"><a href="x">@<span>acme</span></a></span> Yes!</p>', "@acme Yes!"),
        ("<p>unclosed <b>and", "unclosed and"),
        ("", ""),
    ],
)
def test_html_is_read_as_its_text(content: str, text: str) -> None:
    assert plain_text(content) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@acme Yes", "Yes"),
        ("@acme @bob@social.example\nYes", "Yes"),
        ("Yes @acme", "Yes @acme"),
        ("@acme", "@acme"),
    ],
)
def test_those_whom_a_reply_is_to_are_no_part_of_it(text: str, expected: str) -> None:
    assert without_first_mentions(text) == expected


@pytest.mark.parametrize(
    ("text", "content", "is_same"),
    [
        ("Hello\n\nworld", "<p>Hello</p><p>world</p>", True),
        ("Hi @ann@social.example", "<p>Hi @<span>ann</span></p>", True),
        ("cafe\u0301", "<p>café</p>", True),
        ("Hello", "<p>Hello.</p>", False),
    ],
)
def test_a_post_is_known_by_its_text(text: str, content: str, is_same: bool) -> None:
    assert same_post(text, content) is is_same
