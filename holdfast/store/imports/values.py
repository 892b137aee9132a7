"""Cells of a file as values of the store. What cannot be read is rejected, for a reason without data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from babel.numbers import get_currency_precision

from holdfast.audience.addresses import address_key, phone_number
from holdfast.settings import Business
from holdfast.tables import to_microseconds
from holdfast.tokens import Signer, TokenForged

ID_LENGTH = 200
TEXT_LENGTH = 2000

# As old as a purchase history or a customer can sensibly be.
_FIRST_YEAR = 1900
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the wall clock of whatever zone the times are in
_MICROSECOND = timedelta(microseconds=1)
_NO_OFFSET = timedelta()

_EMAIL = re.compile(
    r'[^@\s<>,;:"()\x00-\x1f\x7f]+@[^@\s<>,;:"()\x00-\x1f\x7f.]+(\.[^@\s<>,;:"()\x00-\x1f\x7f.]+)+'
)
_PHONE = re.compile(r"\+?[0-9]{5,15}")
_HANDLED = ("telegram", "x", "messenger", "mastodon")
_HANDLE = re.compile(r"[^\s\x00-\x1f\x7f]{1,320}")
# Of a kind that only its channel knows, as a street and a town: an index of PostgreSQL holds 2,700 bytes.
_LONGEST_ADDRESS = 2000
_LANGUAGE_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|[0-9]{3}))?")
_AMOUNT = re.compile(r"([0-9]{1,13})(?:\.([0-9]+))?")
_NEGATIVE = re.compile(r"[-\N{MINUS SIGN}(]\s*[0-9]")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,9})\.[0-9]{1,5}")

_YES_NO = {
    "yes": True,
    "y": True,
    "true": True,
    "1": True,
    "no": False,
    "n": False,
    "false": False,
    "0": False,
}


class Rejected(ValueError):
    """This row cannot be kept. The text says why, in words that hold nothing of the row."""


@dataclass(frozen=True, slots=True)
class Conventions:
    """How this business writes times and amounts: what a file leaves unsaid.

    `latest` is the last moment, in microseconds, that is not in the future. Of the kinds `double_opt_in` a
    yes to marketing counts once it is confirmed. `signer` believes the codes of invitations.
    """

    zone: ZoneInfo
    currency: str
    digits: int
    today: date
    latest: int
    signer: Signer
    double_opt_in: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, business: Business, now: datetime, signer: Signer, double_opt_in: Iterable[str] = ()
    ) -> Conventions:
        """The conventions at this moment."""
        zone = ZoneInfo(business.timezone)
        return cls(
            zone=zone,
            currency=business.currency,
            digits=get_currency_precision(business.currency),
            today=now.astimezone(zone).date(),
            latest=to_microseconds(now + _DAY),
            signer=signer,
            double_opt_in=frozenset(double_opt_in),
        )

    def invitation(self, column: str, code: str) -> int | None:
        """The message whose invitation has this code; nothing when empty."""
        code = code.strip()
        try:
            return self.signer.verify("referral", code) if code else None
        except TokenForged:
            raise Rejected(f"{column}: not the code of an invitation of ours") from None

    def moment(self, column: str, text: str) -> tuple[int, int]:
        """An ISO 8601 time or date as microseconds, and its month in the business's zone.

        A time without an offset is in the business's zone; a date alone is the start of its day.
        """
        try:
            local = datetime.fromisoformat(text.strip())
            if local.tzinfo:
                local = local.astimezone(self.zone).replace(tzinfo=None)
            # Between naive times, and the offset apart: half the time that aware ones take.
            microseconds = (local - _EPOCH - (self.zone.utcoffset(local) or _NO_OFFSET)) // _MICROSECOND
        except (ValueError, OverflowError):
            raise Rejected(f"{column}: not an ISO 8601 date or time") from None
        if microseconds > self.latest:
            raise Rejected(f"{column}: in the future")
        if local.year < _FIRST_YEAR:
            raise Rejected(f"{column}: before {_FIRST_YEAR}")
        return microseconds, local.year * 12 + local.month - 1

    def day(self, column: str, text: str) -> str | None:
        """A past day, as ISO text, which both databases take for a date; nothing when empty."""
        text = text.strip()
        if not text:
            return None
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise Rejected(f"{column}: not an ISO 8601 date") from None
        if day > self.today:
            raise Rejected(f"{column}: in the future")
        if day.year < _FIRST_YEAR:
            raise Rejected(f"{column}: before {_FIRST_YEAR}")
        return day.isoformat()

    def amount(self, column: str, text: str) -> int:
        """Money in minor units of the business's currency."""
        whole, _, fraction = text.partition(".")
        if whole and fraction and len(fraction) == self.digits and len(whole) < 14:
            digits = whole + fraction
            if digits.isdecimal() and digits.isascii():
                return int(digits)  # as most are written, in a third of the time of what follows
        match = _AMOUNT.fullmatch(text.strip())
        if match is None:
            wrong = "negative" if _NEGATIVE.match(text.strip()) else "not an amount like 1234.50"
            raise Rejected(f"{column}: {wrong}")
        whole, fraction = match.groups("")
        if len(fraction) > self.digits:
            if fraction[self.digits :].strip("0"):
                raise Rejected(
                    f"{column}: more than {self.digits} decimals, which {self.currency} does not have"
                )
            fraction = fraction[: self.digits]
        return int(whole + fraction.ljust(self.digits, "0"))

    def check_currency(self, column: str, text: str) -> None:
        """Amounts are only comparable in one currency; a cell that says none means the business's."""
        if text != self.currency and text.strip().upper() not in ("", self.currency):
            raise Rejected(f"{column}: not {self.currency}, the business's currency")


def identifier(column: str, text: str) -> str:
    """An external id: any text, as it is but for surrounding spaces."""
    text = text.strip()
    if not text:
        raise Rejected(f"{column}: empty")
    if len(text) > ID_LENGTH:
        raise Rejected(f"{column}: longer than {ID_LENGTH} characters")
    return text


def words(column: str, text: str) -> str | None:
    """Free text; nothing when empty."""
    text = text.strip()
    if len(text) > TEXT_LENGTH:
        raise Rejected(f"{column}: longer than {TEXT_LENGTH} characters")
    return text or None


def count(column: str, text: str) -> int:
    """A whole number from 1."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise Rejected(f"{column}: not a whole number from 1")
    return int(text)


def language_tag(column: str, text: str) -> str | None:
    """`ar_eg`, `AR-EG`: `ar-EG`; `zh_hans_cn`: `zh-Hans-CN`."""
    text = text.strip()
    if not text:
        return None
    match = _LANGUAGE_TAG.fullmatch(text)
    if match is None:
        raise Rejected(f"{column}: not a language tag like de or ar-EG")
    language, script, region = match.groups("")
    return "-".join(part for part in (language.lower(), script.title(), region.upper()) if part)


def country_code(column: str, text: str) -> str | None:
    """An ISO 3166 code of two letters, in capitals."""
    text = text.strip()
    if text and not (len(text) == 2 and text.isascii() and text.isalpha()):
        raise Rejected(f"{column}: not a country code of two letters like DE")
    return text.upper() or None


def address(column: str, kind: str, text: str) -> str | None:
    """Where a message can be sent. Only what certainly cannot be one is refused."""
    text = text.strip()
    if not text:
        return None
    if kind == "email":
        is_valid = len(text) <= 254 and _EMAIL.fullmatch(text) is not None
    elif kind in ("sms", "whatsapp"):
        is_valid = _PHONE.fullmatch(phone_number(text)) is not None
    elif kind in _HANDLED:
        is_valid = _HANDLE.fullmatch(text) is not None
    else:
        # Folded, an address may be longer than it is written.
        size = len(address_key(kind, text).encode(errors="replace"))
        is_valid = size <= _LONGEST_ADDRESS and text.isprintable()
    if not is_valid:
        raise Rejected(f"{column}: not an address of this kind")
    return text


def consent(column: str, text: str) -> tuple[bool, bool] | None:
    """Consent, given or refused, and whether it is known to be confirmed; nothing for an empty cell."""
    text = text.strip().lower()
    if not text:
        return None
    if text == "confirmed":
        return True, True
    if text not in _YES_NO:
        raise Rejected(f"{column}: neither yes nor no")
    return _YES_NO[text], False


def scalar(column: str, text: str) -> str | int | float | bool | None:
    """The value of a custom column: a plain number, true or false, else text; nothing when empty.

    Plain means that writing it again gives the same: 007, 1e5 and +1 are text.
    """
    value = words(column, text)
    if value is None:
        return None
    if _INTEGER.fullmatch(value):
        return int(value)
    if _DECIMAL.fullmatch(value):
        return float(value)
    return {"true": True, "false": False}.get(value.lower(), value)


def to_json(values: dict[str, str | int | float | bool | None]) -> str:
    """A JSON object that reads the same from both databases."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
