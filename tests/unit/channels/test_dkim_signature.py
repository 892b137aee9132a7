"""DKIM signatures, verified by another implementation, dkimpy."""

from __future__ import annotations

import re
import secrets
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)
from pydantic import SecretStr

from channels.dkim_signature import DkimSigner
from channels.mime import Letter, compose
from channels.smtp_settings import DkimSettings
from holdfast.channel import Skeleton
from holdfast.errors import SettingsError
from tests.contract.channel_contract import HOSTILE
from tests.contract.dkim_key import KEY, RECORD, pem
from tests.contract.letters import message

DATE = "Wed, 03 Jun 2026 12:00:00 +0000"


def record(name: bytes, timeout: int = 5) -> bytes:
    """What the DNS says."""
    assert name == b"s2026._domainkey.acme.example."
    return RECORD


def signer(key: str) -> DkimSigner:
    return DkimSigner("email", DkimSettings(domain="acme.example", selector="s2026", key=SecretStr(key)))


def signed(**changes: Any) -> bytes:
    letter = compose(message(**changes), DATE)
    assert isinstance(letter, Letter)
    return signer(pem()).signed(letter.content)


def is_genuine(content: bytes) -> bool:
    return bool(dkim.verify(content, dnsfunc=record))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_another_implementation_verifies_whatever_is_in_the_letter(text: str) -> None:
    body = f"{text}\n\n  two   spaces \t\n\n\n"
    skeleton = Skeleton(html=(f"<p>{body}", "</p>"), html_holes=(0,), text=(body,))
    sent = {"subject": text, "to_name": text, "escaped": (text,), "plain": (text,)}
    content = signed(
        sender="Smith, Jones <hello@acme.example>", skeleton=skeleton, headers={"X-A": text}, **sent
    )
    assert is_genuine(content)


@pytest.mark.parametrize("to", ["ann@bücher.example", "анна@пример.рф"])
def test_letters_to_international_addresses_are_signed(to: str) -> None:
    assert is_genuine(signed(to=to))


@pytest.mark.parametrize("skeleton", [Skeleton(), Skeleton(text=("\n\n\n",)), Skeleton(html=("<p>Hi",))])
def test_letters_without_much_text_are_signed(skeleton: Skeleton) -> None:
    assert is_genuine(signed(skeleton=skeleton))


@pytest.mark.parametrize(
    "name",
    [
        *("Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"),
        *("List-Unsubscribe", "List-Unsubscribe-Post"),
    ],
)
def test_no_header_can_be_changed_or_taken_out(name: str) -> None:
    headers = {
        "List-Unsubscribe": "<https://r.acme.example/u/1>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    content = signed(headers=headers)
    line = re.compile(rb"^%b: .*\r\n" % name.encode(), re.MULTILINE)
    assert is_genuine(content)
    for changed in (b"%b: other\r\n" % name.encode(), b""):
        other, times = line.subn(changed, content, count=1)
        assert times == 1
        assert not is_genuine(other)


@pytest.mark.parametrize("name", ["From", "To", "Cc", "Subject", "Date", "Reply-To", "Content-Type"])
def test_no_header_that_mail_programs_show_can_be_added(name: str) -> None:
    added = f"{name}: other@evil.example\r\n".encode()
    content = signed()
    assert is_genuine(content)
    head, blank, body = content.partition(b"\r\n\r\n")
    assert not is_genuine(added + content)
    assert not is_genuine(head + b"\r\n" + added.rstrip() + blank + body)


def test_the_body_cannot_be_changed() -> None:
    content = signed()
    assert is_genuine(content + b"\r\n\r\n")  # what mail servers do
    assert not is_genuine(content.replace(b"favourites", b"FAVOURITES"))
    assert not is_genuine(content.replace(b"we kept", b"we lost"))
    assert not is_genuine(content + b"more\r\n")


def test_a_header_with_another_line_folding_and_the_trace_of_the_way_break_nothing() -> None:
    content = signed(subject="one two three " * 10)
    folded = content.replace(b"Subject: one two", b"SUBJECT:   one\r\n\ttwo")
    assert folded != content
    assert is_genuine(b"Received: from mx\r\n\tby mx2; today\r\nReturn-Path: <x@y.example>\r\n" + folded)


def test_lines_are_as_long_as_mail_may_have_them() -> None:
    head = signed().partition(b"\r\n\r\n")[0]
    assert max(len(line) for line in head.split(b"\r\n")) <= 78


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\\n"])
def test_a_key_is_taken_as_tools_write_it_and_environments_hold_it(form: Any, line_break: str) -> None:
    letter = compose(message(), DATE)
    assert isinstance(letter, Letter)
    written = pem(form=form).replace("\n", line_break)
    assert is_genuine(signer(written).signed(letter.content))


NO_KEY = "channel 'email': dkim.key: not a private RSA key in PEM, without a password"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "s3cret-Wert",
        "Schlüssel",
        pem()[:300],
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(encryption=BestAvailableEncryption(b"x")),
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    ],
)
def test_what_is_no_key_is_told_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError) as error:
        signer(key)
    assert str(error.value) == NO_KEY
    assert "openssl genrsa 2048" in str(error.value.hint)
    assert error.value.__cause__ is None


def short_key() -> rsa.RSAPrivateKey:
    """A key of 512 bits, which the library does not make."""

    def prime() -> int:
        while True:
            number = secrets.randbits(256) | 3 << 254 | 1
            if number % 65537 != 1 and pow(2, number - 1, number) == 1:
                return number

    p, q = prime(), prime()
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(65537, p * q)
    )
    return numbers.private_key()


def test_a_key_that_receivers_do_not_trust_is_refused() -> None:
    with pytest.raises(SettingsError, match="a key of 512 bits, which receivers do not trust"):
        signer(pem(short_key()))
