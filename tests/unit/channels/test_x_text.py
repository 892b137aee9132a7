from __future__ import annotations

import pytest

from channels.x_social import XChannel, XSettings
from channels.x_text import same_post, weighted_length


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("Hello", 5),
        ("Grüße", 5),
        ("Gru\u0308ße", 5),
        ("مرحبا", 5),
        ("hello – “there”", 15),
        ("字" * 140, 280),
        ("こんにちは", 10),
        ("€", 2),
        ("https://acme.example/a/very/long/path?with=many&parameters=indeed", 23),
        ("see http://acme.example.", 28),
        ("(https://acme.example/a)", 25),
        ("https://acme.example https://acme.example", 47),
        ("😀", 2),
        ("👍🏽", 2),
        ("👨‍👩‍👧‍👦", 2),
        ("❤️", 2),
        ("🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", 2),
        ("🇩🇪🇪🇬", 4),
        ("1️⃣", 2),
        ("a\nb", 3),
    ],
)
def test_a_post_is_as_long_as_x_counts(text: str, length: int) -> None:
    assert weighted_length(text) == length


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a" * 280, None),
        ("a" * 257 + "https://acme.example/much/longer/than/it/looks", None),
        ("a" * 281, "the post is 281 characters long as X counts; it takes 280"),
        ("字" * 141, "the post is 282 characters long as X counts; it takes 280"),
        (" \n", "a post without text"),
    ],
)
def test_what_x_would_refuse_is_said_in_words(text: str, problem: str | None) -> None:
    settings = XSettings.model_validate({"user_token": "any"})
    assert XChannel.problem_with(text, settings) == problem


@pytest.mark.parametrize(
    ("text", "given", "links"),
    [
        ("Tea & <cake>", "Tea &amp; &lt;cake&gt;", {}),
        ("Come: https://acme.example/", "Come: https://t.co/a1", {"https://t.co/a1": "https://acme.example"}),
        ("Gru\u0308ße\n\nund mehr", "Grüße\n\nund mehr", {}),
    ],
)
def test_a_post_is_known_again_as_x_gives_it_back(text: str, given: str, links: dict[str, str]) -> None:
    urls = [{"url": url, "expanded_url": long} for url, long in links.items()]
    assert same_post(text, {"text": given, "entities": {"urls": urls}})
    assert not same_post(text + " more", {"text": given, "entities": {"urls": urls}})
