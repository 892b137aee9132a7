"""What the sandbox has written, read back, and the pages that show it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from channels.sandbox import SandboxChannel, SandboxSettings
from channels.sandbox_files import Outbox, read_outbox
from channels.sandbox_page import chats, pages, size
from holdfast.channel import Accepted, Skeleton
from tests.contract.channel_contract import HOSTILE
from tests.contract.letters import message

NOW = datetime(2026, 6, 3, 14, 0, tzinfo=timezone(timedelta(hours=2)))
START = datetime(2026, 6, 3, 8, 30, tzinfo=UTC)
PAGE = "<html><head><title>No</title><style>p {{ color: red }}</style></head><body>{}</body></html>"


def filled(folder: Path, kind: str, *sent: Any, post: bool = False, latest: int = 50) -> Outbox:
    """A sandbox's folder after these messages, or texts of posts, a minute after each other."""
    channel = SandboxChannel("shop", SandboxSettings(kind=kind, folder=folder, post=post))
    for number, each in enumerate(sent):
        [outcome] = [channel.publish(each)] if post else channel.send([each])
        assert isinstance(outcome, Accepted)
        at = (START + timedelta(minutes=number)).timestamp()
        os.utime(folder / outcome.provider_id, (at, at))
    return read_outbox("shop", kind, folder, is_posts=post, latest=latest)


def text(number: int, words: str, to: str = "+4915155500001", **more: Any) -> Any:
    return message(number, to=to, subject="", skeleton=Skeleton(text=(words,)), plain=(), **more)


def letter(number: int, html: str, **more: Any) -> Any:
    skeleton = Skeleton(html=(html,), text=("In plain words.",))
    return message(number, skeleton=skeleton, escaped=(), plain=(), **more)


def page_of(box: Outbox) -> str:
    return pages([box], "Acme", NOW)["index.html"]


def test_a_letter_comes_back_as_a_mail_program_has_it(tmp_path: Path) -> None:
    preheader = '<div style="display:none">It has been  a while.</div>'
    box = filled(
        tmp_path, "email", letter(1, PAGE.format(f"{preheader}<p>Hello,</p><p>Ann</p>"), subject="شاي")
    )
    [sent] = box.newest
    assert (sent.to, sent.subject, sent.at) == ("Ann <customer1@example.com>", "شاي", START)
    assert sent.snippet == "It has been a while. Hello, Ann"
    assert sent.text.strip() == "In plain words."
    assert dict(sent.headers)["From"] == sent.sender != ""


def test_a_letter_with_markup_that_is_none_is_shown_as_well(tmp_path: Path) -> None:
    box = filled(tmp_path, "email", letter(1, "<p>Hello</p><![nonsense[x]]>"))
    assert box.newest[0].snippet == "Hello"
    assert "nonsense" in page_of(box)


def test_a_text_and_a_post_come_back_as_they_were_written(tmp_path: Path) -> None:
    words = "To: nobody\n\nHello\n\nwith a line between"
    [sent] = filled(tmp_path / "sms", "sms", text(1, words)).newest
    assert (sent.to, sent.subject, sent.text) == ("+4915155500001", "", words)
    [titled] = filled(tmp_path / "letter", "letter", message(2, subject="Back?", to="1 High St")).newest
    assert (titled.to, titled.subject) == ("1 High St", "Back?")
    [post] = filled(tmp_path / "x", "x", words, post=True).newest
    assert (post.to, post.text) == ("", words)


def test_the_newest_come_first_and_the_rest_is_counted(tmp_path: Path) -> None:
    box = filled(tmp_path, "sms", *(text(n, f"Text {n}") for n in range(1, 6)), latest=2)
    assert ([sent.text for sent in box.newest], box.total) == (["Text 5", "Text 4"], 5)
    shown = page_of(box)
    assert "The newest 2 of 5. The others are in" in shown
    assert str(tmp_path) in shown
    assert "Text 3" not in shown


def test_what_is_under_way_or_is_no_message_is_not_shown(tmp_path: Path) -> None:
    filled(tmp_path, "sms", text(1, "Hello"))
    (tmp_path / ".2.txt.4711.1").write_text("To: half")
    (tmp_path / "note.md").write_text("mine")
    (tmp_path / "folder.txt").mkdir()
    assert read_outbox("shop", "sms", tmp_path, is_posts=False, latest=9).total == 1
    assert read_outbox("shop", "sms", tmp_path / "none", is_posts=False, latest=9).total == 0


def test_a_chat_is_of_one_address_its_oldest_message_first_and_the_liveliest_chat_comes_first(
    tmp_path: Path,
) -> None:
    ann, bob = "+4915155500001", "+4915155500002"
    box = filled(tmp_path, "sms", text(1, "a1", ann), text(2, "b1", bob), text(3, "a2", ann))
    told = [(chat.to, [sent.text for sent in chat.messages]) for chat in chats(box)]
    assert told == [(ann, ["a1", "a2"]), (bob, ["b1"])]


@pytest.mark.parametrize(
    ("kind", "is_posts", "words", "told"),
    [
        ("sms", False, "a" * 161, "161 characters, 2 segments"),
        ("sms", False, "ي" * 70, "70 characters, 1 segment"),
        ("x", True, "Back: https://shop.example/a/very/long/way", "29 of 280 characters, as X counts"),
        ("mastodon", True, "@ann@mastodon.example hi", "7 of 500 characters, as Mastodon counts"),
        ("x", False, "Hello", "5 characters"),
        ("telegram", False, "!", "1 character"),
    ],
)
def test_texts_are_as_long_as_their_network_counts(
    tmp_path: Path, kind: str, is_posts: bool, words: str, told: str
) -> None:
    assert size(Outbox("shop", kind, is_posts, tmp_path, [], 0), words) == told


def test_each_channel_has_a_page_and_all_pages_lead_to_all_others(tmp_path: Path) -> None:
    kinds = ["email", "sms", "telegram", "x", "letter"]
    boxes = [Outbox(kind, kind, kind == "x", tmp_path, [], 0) for kind in kinds]
    boxes.append(Outbox("receipts", "email", False, tmp_path, [], 0))
    written = pages(boxes, "Acme", NOW)
    assert [*written] == ["index.html", *(f"channel-{box.channel}.html" for box in boxes[1:])]
    titles = ["Email (email)", "SMS", "Telegram", "X posts", "letter", "Email (receipts)"]
    for name, shown in written.items():
        links = re.findall(r'<a href="([^"]+)"[^>]*>([^<]+?) <span>0', shown)
        assert links == list(zip(written, titles, strict=True))
        assert re.findall(r'<a href="([^"]+)" aria-current="page">', shown) == [name]
        assert "Nothing went out by" in shown


def test_times_are_shown_in_the_zone_of_the_business(tmp_path: Path) -> None:
    assert ">03 Jun, 10:30<" in page_of(filled(tmp_path, "sms", text(1, "Hello")))


@pytest.mark.parametrize("kind", ["email", "sms", "x"])
def test_hostile_content_is_text_of_the_page_and_never_its_markup(tmp_path: Path, kind: str) -> None:
    hostile = "</script></iframe>\"'><script>alert(1)</script>{{ 7*7 }}<img src=x onerror=alert(1)>"
    for number, words in enumerate([hostile, *HOSTILE], start=1):
        folder = tmp_path / str(number)
        if kind == "email":
            page = page_of(filled(folder, kind, letter(1, PAGE.format(words), subject=words, to_name=words)))
        else:
            sent = words if kind == "x" else text(1, words)
            page = page_of(filled(folder, kind, sent, post=kind == "x"))
        assert not re.search(r"<(script|img)\b", page)
        assert page.count("<iframe") == page.count("</iframe>") == (kind == "email")
        assert ("{{ 7*7 }}" in page) == (words == hostile)
