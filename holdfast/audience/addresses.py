"""Addresses: what one of each kind looks like; and folded, one key however it is written."""

from __future__ import annotations

import re
import unicodedata

import idna

_LONGEST = 320
_LONGEST_NUMBER = 40  # in any punctuation that people use
_HANDLE = r"@?\w{1,15}|\d{1,20}"
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_NUMBER = (_E164.pattern, "a number with its country, like +49 151 12345678")
# By kind: what the whole address is, and that in words. Of other kinds it is any line of text.
_FORMS = {
    "email": (r'[^\s<>()\[\]:;@\\,"]+@[^\s@<>()\[\]:;\\,"]+', "an email address, like ann@acme.example"),
    "sms": _NUMBER,
    "whatsapp": _NUMBER,
    "telegram": (r"-?[1-9]\d{0,15}", "a chat id, which is a number: @userinfobot tells people theirs"),
    "messenger": (r"\d{5,25}", "a page-scoped id, which is a number"),
    "x": (_HANDLE, "a handle or a numeric user id"),
    "mastodon": (r"@?\w[\w.-]*(@[\w.:-]+)?", "an account, like @ann@mastodon.example"),
}
_PHONE_SIGNS = re.compile(r"[\s().\-/\u00a0\u200e\u202a\u202c]+")


def expected_address(kind: str, address: str) -> str | None:
    """What an address of this kind looks like, in words, where this is none; None: it may be one.

    Whether there is such an address only its provider knows.
    """
    pattern, words = _FORMS.get(kind, (r".*\S.*", "a line of text"))
    written = phone_number(address) if kind in ("sms", "whatsapp") else address.strip(" ")
    is_line = address.isprintable() and len(address) <= _LONGEST
    return None if is_line and re.fullmatch(pattern, written, re.ASCII if kind != "email" else 0) else words


def address_key(kind: str, address: str) -> str:
    """What suppressions are keyed by: equal for two spellings of one address of this kind."""
    address = address.strip()
    if kind == "email":
        return _email_key(address)
    if kind in ("sms", "whatsapp"):
        return phone_number(address)
    return unicodedata.normalize("NFC", address).removeprefix("@").casefold()


def phone_number(written: str) -> str:
    """A number without its punctuation; the international prefix 00 as +."""
    number = _PHONE_SIGNS.sub("", written)
    return f"+{number[2:]}" if number.startswith("00") else number


def e164(written: str) -> str:
    """A number with its country, without its punctuation; '' where it is none, or has line breaks."""
    is_line = written.splitlines() == [written] and len(written) <= _LONGEST_NUMBER
    number = phone_number(written) if is_line else ""
    return number if _E164.fullmatch(number) else ""


def _email_key(address: str) -> str:
    if address.isascii():
        return address.lower()
    mailbox, _, domain = address.rpartition("@")
    mailbox = unicodedata.normalize("NFC", mailbox).casefold()
    try:
        return f"{mailbox}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        return f"{mailbox}@{domain.casefold()}"
