from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.mime import address
from channels.sendgrid_payload import Account, Limits, body, split
from holdfast.channel import Attachment, Message, Skeleton
from holdfast.errors import ChannelUnavailable
from tests.contract.letters import message, messages
from tests.servers.sendgrid_server import _blamed, _letter

LIMITS = Limits(messages=1000, substitution_bytes=10_000)


def request(batch: list[Message]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body(batch, [message.to for message in batch]))
    return found


def valued(number: int, *values: str, plain: tuple[str, ...] | None = None) -> Message:
    return message(number, escaped=values, plain=plain or values)


def test_what_is_equal_stands_in_the_content_and_what_differs_is_substituted() -> None:
    sent = request([valued(1, "Ann", "tea"), valued(2, "Bob", "tea")])
    (tag,) = sent["personalizations"][0]["substitutions"]
    assert [part["value"] for part in sent["content"]] == [
        f"Hello {tag},\nwe kept tea for you.\n",
        f"<p>Hello {tag}, we kept <b>tea</b> for you.</p>\n",
    ]
    assert [own["substitutions"] for own in sent["personalizations"]] == [{tag: "Ann"}, {tag: "Bob"}]


def test_html_and_text_have_tags_of_their_own_where_a_value_needs_escaping() -> None:
    sent = request([valued(1, "A &amp; B", "x", plain=("A & B", "x")), valued(2, "Bob", "y")])
    plain, html = (part["value"] for part in sent["content"])
    values = sent["personalizations"][0]["substitutions"]
    assert sorted(values.values()) == ["A & B", "A &amp; B", "x"]
    assert values[plain[len("Hello ") :].split(",")[0]] == "A & B"
    assert values[html[len("<p>Hello ") :].split(",")[0]] == "A &amp; B"


def test_a_message_alone_has_its_whole_bodies_and_no_substitutions() -> None:
    sent = request([message(1)])
    assert [part["value"] for part in sent["content"]] == [message(1).text, message(1).html]
    assert sent["personalizations"][0]["substitutions"] == {}


def test_tags_cannot_be_guessed_and_html_leaves_them_alone() -> None:
    batch = [valued(1, "Ann", "tea"), valued(2, "Bob", "tea")]
    (first,), (second,) = (request(batch)["personalizations"][0]["substitutions"] for _ in range(2))
    assert first != second
    assert not set(first) & set("<>&\"'{}")


def test_each_message_has_its_own_subject_headers_name_and_key() -> None:
    two = [
        message(1, subject="One", to_name="Ann", headers={"List-Unsubscribe": "<https://r.example/1>"}),
        message(2, subject="Two", to_name="", headers={"List-Unsubscribe": "<https://r.example/2>"}),
    ]
    first, second = request(two)["personalizations"]
    assert (first["subject"], second["subject"]) == ("One", "Two")
    assert first["to"] == [{"email": "customer1@example.com", "name": "Ann"}]
    assert second["to"] == [{"email": "customer2@example.com"}]
    assert second["headers"] == {
        "Message-ID": "<2.c2lnbmF0dXJl-_2@acme.example>",
        "Auto-Submitted": "auto-generated",
        "List-Unsubscribe": "<https://r.example/2>",
    }
    assert [first["custom_args"], second["custom_args"]] == [{"hf": two[0].key}, {"hf": two[1].key}]


def test_the_request_names_the_sender_and_turns_sendgrids_tracking_off() -> None:
    sent = request([message(1, sender='"Acme, Berlin" <hello@acme.example>')])
    assert sent["from"] == {"email": "hello@acme.example", "name": "Acme, Berlin"}
    assert sent["tracking_settings"] == {
        "click_tracking": {"enable": False, "enable_text": False},
        "open_tracking": {"enable": False},
        "subscription_tracking": {"enable": False},
    }


def test_a_sender_that_is_no_mailbox_is_for_an_operator() -> None:
    with pytest.raises(ChannelUnavailable, match="the sender is not a mailbox"):
        request([message(1, sender="Acme")])


def test_names_have_none_of_the_signs_that_sendgrid_refuses() -> None:
    (own,) = request([message(1, to_name="Smith, Ann; Dr.\r\nBcc: x")])["personalizations"]
    assert own["to"][0]["name"] == "Smith  Ann  Dr. Bcc: x"


def test_header_values_are_one_line_of_ascii() -> None:
    (own,) = request([message(1, headers={"X-Note": "Grüße\r\nBcc: everyone@example.com"})])[
        "personalizations"
    ]
    assert own["headers"]["X-Note"] == "=?utf-8?b?R3LDvMOfZSBCY2M6IGV2ZXJ5b25lQGV4YW1wbGUuY29t?="


def test_a_skeleton_without_html_is_sent_as_text_alone() -> None:
    (part,) = request([message(1, skeleton=Skeleton(text=("Hello",)), escaped=(), plain=())])["content"]
    assert part == {"type": "text/plain", "value": "Hello"}


# --- batches --------------------------------------------------------------------------------------


def test_messages_of_different_skeletons_or_senders_never_share_a_request() -> None:
    other = Skeleton(html=("<p>Hi</p>",), text=("Hi",))
    mixed = [message(1), message(2, skeleton=other), message(3), message(4, sender="b@acme.example")]
    assert [[m.to[8] for m in batch] for batch in split(mixed, LIMITS)] == [["1", "3"], ["2"], ["4"]]


def test_an_address_is_in_a_request_once_and_costs_the_others_no_request() -> None:
    shared = [message(number, to=f"Family{number % 10}@example.com") for number in range(20)]
    shared.append(message(20, to="FAMILY3@example.com"))
    assert [len(batch) for batch in split(shared, LIMITS)] == [10, 10, 1]


def test_a_request_has_at_most_so_many_messages() -> None:
    assert [len(batch) for batch in split(messages(2001), LIMITS)] == [1000, 1000, 1]


def test_a_message_with_more_values_than_sendgrid_substitutes_goes_alone() -> None:
    long = valued(2, "x" * 6_000, "y")
    assert [[m.to[8] for m in batch] for batch in split([message(1), long, message(3)], LIMITS)] == [
        ["2"],
        ["1", "3"],
    ]


def test_requests_stay_under_their_bytes() -> None:
    limits = Limits(messages=1000, substitution_bytes=1_000_000)
    long = [valued(number, "字" * 150_000, "y") for number in range(50)]
    batches = list(split(long, limits))
    assert [len(batch) for batch in batches] == [22, 22, 6]
    assert max(len(json.dumps(request(batch))) for batch in batches) < 30_000_000


TEXTS = st.text(max_size=40)


@st.composite
def _campaign(draw: st.DrawFn) -> list[Message]:
    skeletons = draw(
        st.lists(
            st.builds(
                lambda html, text: Skeleton(
                    html=("<p>", *["|"] * len(html)),
                    html_holes=tuple(html),
                    text=("*", *["|"] * len(text)),
                    text_holes=tuple(text),
                ),
                st.lists(st.integers(0, 3), max_size=6),
                st.lists(st.integers(0, 3), max_size=6),
            ),
            min_size=1,
            max_size=3,
        )
    )
    not_printed = st.lists(TEXTS, max_size=1).map(tuple)
    values = st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, not_printed).map(lambda drawn: drawn[:4] + drawn[4])
    return [
        message(
            number,
            skeleton=draw(st.sampled_from(skeletons)),
            to=f"customer{draw(st.integers(1, 12))}@example.com",
            to_name=draw(TEXTS),
            subject=draw(TEXTS),
            escaped=draw(values),
            plain=draw(values),
        )
        for number in range(1, draw(st.integers(1, 12)) + 1)
    ]


@settings(max_examples=50)
@given(_campaign())
def test_everyone_gets_their_own_letter_in_requests_that_sendgrid_takes(campaign: list[Message]) -> None:
    limits = Limits(messages=5, substitution_bytes=400)
    letters = {}
    for batch in split(campaign, limits):
        sent = request(batch)
        assert list(_blamed(sent, 10_000)) == []
        assert len(batch) <= 5
        for own in sent["personalizations"]:
            assert (
                sum(len(tag.encode()) + len(value.encode()) for tag, value in own["substitutions"].items())
                <= 400
            )
            letter = _letter("id", sent, own)
            letters[letter.key] = letter
    assert len(letters) == len(campaign)
    for original in campaign:
        letter = letters[original.key]
        assert (letter.html, letter.text) == (original.html, original.text)
        assert letter.to == original.to


# --- what settings and campaigns add --------------------------------------------------------------

LABELS = ("winback", "winback/hello")
TERMS = Attachment("terms.pdf", "application/pdf", b"%PDF-1.7 terms")


def sent_by(account: Account, *batch: Message) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body(batch, [message.to for message in batch], account))
    return found


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (Account(), ["winback", "winback/hello"]),
        (Account(categories=("spring", "winback")), ["winback", "winback/hello", "spring"]),
        (Account(labels=False, categories=("spring",)), ["spring"]),
        (Account(labels=False), None),
    ],
)
def test_categories_are_the_names_of_campaign_and_step_and_those_of_the_file(
    account: Account, expected: list[str] | None
) -> None:
    assert sent_by(account, message(1, labels=LABELS)).get("categories") == expected


def test_a_request_has_at_most_ten_categories() -> None:
    many = Account(categories=tuple(f"c{number}" for number in range(12)))
    assert len(sent_by(many, message(1, labels=LABELS))["categories"]) == 10


def test_the_unsubscribe_group_is_for_messages_that_can_be_unsubscribed_from() -> None:
    account = Account(group=7, groups_to_display=(7, 8))
    assert sent_by(account, message(1))["asm"] == {"group_id": 7, "groups_to_display": [7, 8]}
    assert sent_by(Account(group=7), message(1))["asm"] == {"group_id": 7}
    assert "asm" not in sent_by(account, message(1, headers={}))


def test_sandbox_mode_is_asked_for_only_where_the_settings_say_so() -> None:
    asked = sent_by(Account(sandbox_mode=True), message(1))
    assert asked["mail_settings"] == {"sandbox_mode": {"enable": True}}
    assert "mail_settings" not in sent_by(Account(), message(1))


def test_answers_go_where_the_brand_says() -> None:
    sent = sent_by(Account(), message(1, reply_to="Acme's people <people@acme.example>"))
    assert sent["reply_to"] == {"email": "people@acme.example", "name": "Acme's people"}
    assert "reply_to" not in sent_by(Account(), message(1))


def test_answers_to_a_reply_address_name_their_message() -> None:
    account = Account(reply_address="reply@in.acme.example")
    alone = sent_by(account, message(1, reply_to="People <people@acme.example>"))
    assert alone["reply_to"] == {"email": f"reply+{message(1).key}@in.acme.example", "name": "People"}
    together = sent_by(account, message(1), message(2))
    for own, key in zip(together["personalizations"], (message(1).key, message(2).key), strict=True):
        (tag,) = [tag for tag, value in own["substitutions"].items() if value == key]
        assert together["reply_to"] == {"email": f"reply+{tag}@in.acme.example", "name": "Acme"}
        assert own["headers"]["Message-ID"] == f"<{key}@in.acme.example>"


def test_an_address_with_a_tag_in_it_is_an_address() -> None:
    together = sent_by(Account(reply_address="reply@in.acme.example"), *messages(200))
    assert address(together["reply_to"]["email"]) == together["reply_to"]["email"]
    assert not list(_blamed(together, 10_000))


def test_a_file_goes_along_once_for_all_messages_of_a_request() -> None:
    sent = sent_by(Account(), *(message(number, attachments=(TERMS,)) for number in (1, 2)))
    assert sent["attachments"] == [
        {
            "content": b64encode(TERMS.content).decode(),
            "type": "application/pdf",
            "filename": "terms.pdf",
            "disposition": "attachment",
        }
    ]


@pytest.mark.parametrize(
    "different",
    [
        {"labels": ("winback", "winback/reminder")},
        {"reply_to": "other@acme.example"},
        {"attachments": (TERMS,)},
        {"headers": {}},
    ],
    ids=lambda different: next(iter(different)),
)
def test_messages_that_differ_in_what_a_request_says_once_never_share_one(different: dict[str, Any]) -> None:
    mixed = [message(1), message(2, **different), message(3)]
    batches = list(split(mixed, LIMITS, Account(group=7)))
    assert [[m.to[8] for m in batch] for batch in batches] == [["1", "3"], ["2"]]


def test_without_a_group_it_is_no_matter_who_can_be_unsubscribed_from() -> None:
    assert [len(batch) for batch in split([message(1), message(2, headers={})], LIMITS)] == [2]


def test_attached_files_count_for_the_bytes_of_a_request() -> None:
    large = (Attachment("large.bin", "application/octet-stream", b"\0" * 10_000_000),)
    limits = Limits(messages=1000, substitution_bytes=1_000_000)
    long = [
        message(number, escaped=("x" * 450_000, "y"), plain=("x" * 450_000, "y"), attachments=large)
        for number in range(8)
    ]
    batches = list(split(long, limits))
    assert [len(batch) for batch in batches] == [7, 1]
    assert max(len(json.dumps(request(batch))) for batch in batches) < 30_000_000
