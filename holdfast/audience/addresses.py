"""Addresses, folded: one mailbox, number or handle has one key, however it is written."""

from __future__ import annotations

import re
import unicodedata

import idna

_PHONE_SIGNS = re.compile(r"[\s().\-/\u00a0\u200e\u202a\u202c]+")


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


def _email_key(address: str) -> str:
    if address.isascii():
        return address.lower()
    mailbox, _, domain = address.rpartition("@")
    mailbox = unicodedata.normalize("NFC", mailbox).casefold()
    try:
        return f"{mailbox}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        return f"{mailbox}@{domain.casefold()}"
