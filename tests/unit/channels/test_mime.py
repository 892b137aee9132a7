"""Letters are compared with what the standard library's parser reads from them."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channels.mime import Letter, address, compose, safe_key
from holdfast.channel import Attachment, Message, Rejected, RejectReason, Skeleton
from holdfast.errors import ChannelUnavailable
from tests.contract.letters import message

DATE = formatdate(1_790_000_000)


def letter(**changes: Any) -> Letter:
    composed = compose(message(**changes), DATE)
    assert isinstance(composed, Letter)
    return composed


def parsed(composed: Letter) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(composed.content, policy=policy.default))


def body(read: EmailMessage, subtype: str) -> str:
    part = read.get_body((subtype,))
    assert part is not None
    return part.get_content().replace("\r\n", "\n")


def display_name(composed: Letter, header: str) -> str:
    # Not by the newer parser: in Python 3.11 it leaves blanks between the encoded words of a name.
    raw = message_from_bytes(composed.content, policy=policy.compat32)[header]
    name, _ = parseaddr(re.sub(r"\s+", " ", raw))
    return str(make_header(decode_header(name)))


SCRIPTS = {
    "latin": "Grüße aus Köln, straße & Ærøskøbing",
    "greek": "Γεια σου Ελένη, κρατήσαμε τα αγαπημένα σου",
    "cyrillic": "Привет, Наташа, мы сохранили ваше избранное",
    "arabic": "مرحبا يا فاطمة، احتفظنا بمفضلاتك لأننا نحبك كثيرا وننتظر عودتك إلى متجرنا",
    "persian": "سلام مریم، دلمان برایت تنگ شده، به خانه\u200cات برگرد",
    "hebrew": "שלום רותי, שמרנו לך את המועדפים",
    "hindi": "नमस्ते प्रिया, हमने आपके पसंदीदा सहेज लिए हैं",
    "thai": "สวัสดีคุณสมชาย เราเก็บของโปรดของคุณไว้แล้ว",
    "chinese": "你好小明，我们保留了您的收藏",
    "japanese": "こんにちは、さくらさん。お気に入りを取っておきました",
    "korean": "안녕하세요 지우님, 즐겨찾기를 보관해 두었습니다",
    "emoji": "👩🏽\u200d🚀🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 𝔥𝔬𝔩𝔡 𠜎",
}


@pytest.mark.parametrize("words", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_subject_name_text_and_html_arrive_as_they_were_written_in_any_script(words: str) -> None:
    skeleton = Skeleton(
        html=(f"<p>{words} ", f".</p>\n<p>.\n{words}</p>\n"),
        html_holes=(0,),
        text=("", f"\n.\n{words}\n"),
        text_holes=(0,),
    )
    sent = message(subject=words, to_name=words, skeleton=skeleton, escaped=(words,), plain=(words,))
    composed = compose(sent, DATE)
    assert isinstance(composed, Letter)
    read = parsed(composed)
    assert read["Subject"] == words
    assert display_name(composed, "To") == words
    assert body(read, "plain") == sent.text
    assert body(read, "html") == sent.html


def test_a_letter_reads_like_this() -> None:
    assert letter().content.decode() == (
        "Date: Mon, 21 Sep 2026 14:13:20 -0000\r\n"
        'From: "Acme" <hello@acme.example>\r\n'
        'To: "Ann" <customer1@example.com>\r\n'
        "Subject: We kept your favourites\r\n"
        "Message-ID: <1.c2lnbmF0dXJl-_1@acme.example>\r\n"
        "Auto-Submitted: auto-generated\r\n"
        "List-Unsubscribe: <https://r.acme.example/u/1.abc>\r\n"
        "MIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="=_holdfast_alternative"\r\n'
        "\r\n"
        "--=_holdfast_alternative\r\n"
        'Content-Type: text/plain; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
        "Hello=20=\r\nAnn=\r\n,\r\nwe kept=20=\r\ntea & cake=\r\n for you.\r\n"
        "\r\n"
        "--=_holdfast_alternative\r\n"
        'Content-Type: text/html; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
        "<p>Hello=20=\r\nAnn=\r\n, we kept <b>=\r\ntea &amp; cake=\r\n</b> for you.</p>\r\n"
        "\r\n"
        "--=_holdfast_alternative--\r\n"
    )


# What a file or a database can hold: any character but surrogates, line breaks of every kind among them.
anything = st.text(st.characters(codec="utf-8"), max_size=300)


@given(anything, anything, anything, anything)
def test_whatever_it_says_a_letter_keeps_its_form(subject: str, name: str, value: str, part: str) -> None:
    skeleton = Skeleton(html=(part, part), html_holes=(0,), text=(part, part), text_holes=(0,))
    composed = letter(
        subject=subject,
        to_name=name,
        headers={"X-Note": value},
        skeleton=skeleton,
        escaped=(value,),
        plain=(value,),
    )
    head, _, _ = composed.content.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith(b" ")]
    assert b" ".join(names).decode() == (
        "Date From To Subject Message-ID Auto-Submitted X-Note MIME-Version Content-Type"
    )
    assert composed.content.isascii()
    assert b"\n" not in composed.content.replace(b"\r\n", b"")
    assert b"\r" not in composed.content.replace(b"\r\n", b"")
    assert max(len(line) for line in composed.content.split(b"\r\n")) <= 998
    assert composed.content.count(b"--=_holdfast_alternative") == 3
    read = parsed(composed)
    unified = (part + value + part).replace("\r\n", "\n").replace("\r", "\n")
    # A line break divided between a part and a value becomes two; else the text is as it was.
    if not (part.endswith("\r") or value.endswith("\r")):
        assert body(read, "plain") == unified
        assert body(read, "html") == unified


@given(st.text(st.characters(codec="utf-8"), max_size=400))
@example("\x08\x80\x80" + "\U00010000" * 5 + "0")  # 76 to the letter, and then a soft break
@example("a" * 76)
@example("a" * 73 + "=")
def test_lines_of_a_body_are_at_most_76_characters(text: str) -> None:
    skeleton = Skeleton(html=(text, text), html_holes=(0,), text=(text, text), text_holes=(0,))
    content = letter(skeleton=skeleton, escaped=(text,), plain=(text,)).content
    assert max(len(line) for line in content.split(b"\r\n")) <= 76


@given(st.text(st.sampled_from("abc äß字😀-,."), max_size=300))
def test_a_subject_arrives_whole_however_long(subject: str) -> None:
    assert parsed(letter(subject=subject))["Subject"] == subject.strip()


def test_a_long_plain_header_is_folded_at_its_spaces_and_reads_the_same() -> None:
    links = f"<https://r.acme.example/u/{'t' * 60}>, <mailto:leave@acme.example?subject={'t' * 60}>"
    composed = letter(headers={"List-Unsubscribe": links})
    assert parsed(composed)["List-Unsubscribe"] == links
    assert b">,\r\n <mailto:" in composed.content


@pytest.mark.parametrize(
    ("skeleton", "kind"),
    [
        (Skeleton(text=("Hello",)), "text/plain"),
        (Skeleton(html=("<p>Hello</p>",)), "text/html"),
    ],
    ids=["text", "html"],
)
def test_a_message_with_one_body_is_one_part(skeleton: Skeleton, kind: str) -> None:
    composed = letter(skeleton=skeleton, escaped=(), plain=())
    read = parsed(composed)
    assert read.get_content_type() == kind
    assert read.get_content().strip() in ("Hello", "<p>Hello</p>")
    assert composed.content.endswith(b"\r\n")


@pytest.mark.parametrize(
    ("given_address", "expected"),
    [
        ("ann@example.com", "ann@example.com"),
        ("ann+tag@mail.example.com", "ann+tag@mail.example.com"),
        ("o'hara..x@docomo.example", "o'hara..x@docomo.example"),
        ("ann@localhost", "ann@localhost"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@faß.example", "ann@xn--fa-hia.example"),
        ("анна@пример.рф", "анна@xn--e1afmkfd.xn--p1ai"),
        ("", None),
        ("ann", None),
        ("ann@", None),
        ("@example.com", None),
        ("ann@example..com", None),
        ("ann@-example.com", None),
        ("ann@@example.com", None),
        ("ann b@example.com", None),
        ("ann@example.com, bob@example.com", None),
        ("ann@example.com>\r\nRCPT TO:<bob@example.com", None),
        ("Ann <ann@example.com>", None),
        ("an\u202en@example.com", None),
        ("ann@exa\u202emple.com", None),
        ("ann@example.com\n", None),
        ("a\ud800@example.com", None),
        (f"{'a' * 250}@example.com", None),
    ],
    ids=ascii,
)
def test_an_address_is_one_address_or_none(given_address: str, expected: str | None) -> None:
    assert address(given_address) == expected


def test_a_bad_address_rejects_the_message_without_repeating_it() -> None:
    assert compose(message(to="not an address"), DATE) == Rejected(
        RejectReason.BAD_ADDRESS, "not an email address"
    )


@pytest.mark.parametrize(
    "header", ["From", "bcc", "Auto-Submitted", "X Note", "X-Note:", "", "X\r\nY", "Ä"], ids=ascii
)
def test_a_header_that_is_not_the_messages_to_set_rejects_it(header: str) -> None:
    refused = compose(message(headers={header: "x"}), DATE)
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.CONTENT


def test_the_envelope_may_have_another_sender_who_names_the_letter() -> None:
    composed = compose(message(), DATE, "bounce+1@r.acme.example")
    assert isinstance(composed, Letter)
    assert composed.sender == "bounce+1@r.acme.example"
    assert composed.message_id == "<1.c2lnbmF0dXJl-_1@r.acme.example>"
    assert b"Message-ID: <1.c2lnbmF0dXJl-_1@r.acme.example>\r\n" in composed.content
    assert b'From: "Acme" <hello@acme.example>\r\n' in composed.content


@pytest.mark.parametrize("sender", ["", "Acme", "Acme <hello>", "a@b@c"])
def test_a_sender_that_is_no_mailbox_needs_an_operator(sender: str) -> None:
    with pytest.raises(ChannelUnavailable, match="the sender is not a mailbox"):
        compose(message(sender=sender), DATE)


@pytest.mark.parametrize(
    ("sender", "name", "at"),
    [
        ("Acme <hello@acme.example>", "Acme", "hello@acme.example"),
        ("hello@acme.example", "", "hello@acme.example"),
        (
            "Bäckerei, Söhne & Co <hallo@bäckerei.example>",
            "Bäckerei, Söhne & Co",
            "hallo@xn--bckerei-5wa.example",
        ),
        ('"Smith, Jones" <hello@acme.example>', "Smith, Jones", "hello@acme.example"),
    ],
)
def test_a_sender_is_written_as_people_write_it(sender: str, name: str, at: str) -> None:
    composed = letter(sender=sender)
    assert composed.sender == at
    assert display_name(composed, "From") == name
    assert parsed(composed)["From"].addresses[0].addr_spec == at


def test_only_a_local_part_beyond_ascii_asks_for_smtputf8() -> None:
    assert not letter(to="ann@bücher.example").utf8
    composed = letter(to="анна@пример.рф")
    assert composed.utf8
    assert 'To: "Ann" <анна@xn--e1afmkfd.xn--p1ai>\r\n'.encode() in composed.content


def test_keys_are_kept_where_they_are_safe_in_a_file_name_and_a_message_id() -> None:
    assert safe_key("12.Abc-_9") == "12.Abc-_9"
    for unsafe in ("", "../../etc/passwd", ".hidden", "a b", "a\r\nb", "a..b", "x" * 129, "ключ"):
        assert re.fullmatch("[0-9a-f]{64}", safe_key(unsafe))
    assert safe_key("a b") != safe_key("a c")


def test_the_same_message_has_the_same_id_each_time_it_is_composed() -> None:
    again: Message = message()
    assert letter().message_id == compose(again, DATE).message_id  # type: ignore[union-attr]


# --- answers and files ----------------------------------------------------------------------------


def test_answers_go_where_the_message_says() -> None:
    read = parsed(letter(reply_to="Schmidt, Söhne <leute@köln.example>"))
    assert [(each.display_name, each.addr_spec) for each in read["Reply-To"].addresses] == [
        ("Schmidt, Söhne", "leute@xn--kln-sna.example")
    ]
    assert parsed(letter())["Reply-To"] is None


def test_an_address_for_answers_beyond_ascii_asks_for_smtputf8_and_one_that_is_none_is_named() -> None:
    assert letter(reply_to="Acme <grüße@acme.example>").utf8
    assert not letter(reply_to="Grüße <hello@grüße.example>").utf8
    with pytest.raises(ChannelUnavailable, match="the address for answers is not a mailbox") as caught:
        letter(reply_to="Acme <a b@acme.example>")
    assert "brand: reply_to" in str(caught.value.hint)


def test_where_answers_go_is_not_a_headers_to_set() -> None:
    refused = compose(message(headers={"Reply-To": "mallory@example.com"}), DATE)
    assert isinstance(refused, Rejected)


@pytest.mark.parametrize(
    ("name", "media_type", "content"),
    [
        ("terms.pdf", "application/pdf", bytes(range(256)) * 300),
        ("Preise für Köln.csv", "text/csv", "a,b\r\nä,ö\r\n".encode()),
        ("メニュー.png", "image/png", b"\x89PNG\r\n"),
        ("empty.bin", "application/octet-stream", b""),
        ("boundary.txt", "text/plain", b"--=_holdfast_mixed--\r\n.\r\n"),
    ],
)
def test_files_arrive_as_they_are_beside_text_and_html(name: str, media_type: str, content: bytes) -> None:
    files = (Attachment(name, media_type, content), Attachment("more.pdf", "application/pdf", b"%PDF"))
    composed = letter(attachments=files)
    read = parsed(composed)
    assert (body(read, "plain"), body(read, "html")) == (message().text, message().html)
    assert [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in read.iter_attachments()
    ] == [(name, media_type, content), ("more.pdf", "application/pdf", b"%PDF")]
    assert max(map(len, composed.content.split(b"\r\n"))) <= 998
    assert b"\n" not in composed.content.replace(b"\r\n", b"")


def test_a_files_name_cannot_end_its_header() -> None:
    read = parsed(letter(attachments=(Attachment('a"\r\nX-Injected: yes.pdf', "application/pdf", b"x"),)))
    [part] = read.iter_attachments()
    assert part["X-Injected"] is None
