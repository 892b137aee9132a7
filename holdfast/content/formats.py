"""Dates, money, numbers and plurals in a customer's language and zone, by the rules of CLDR.

Babel parses its patterns anew at each call (30 to 60 µs); here the few distinct results are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import babel.dates
import babel.numbers
from babel import Locale, UnknownLocaleError

from holdfast.audience.people import Money

Width = Literal["short", "medium", "long", "full"]

# Babel knows which digits a locale writes, and writes Latin ones all the same.
_DIGITS = {"arab": "٠١٢٣٤٥٦٧٨٩", "arabext": "۰۱۲۳۴۵۶۷۸۹"}


@dataclass(frozen=True, slots=True)
class Formats:
    """How one customer reads dates and numbers."""

    locale: str
    zone: tzinfo = UTC

    def date(self, moment: date, width: Width = "long") -> str:
        """The day, on the customer's calendar wall: a time is first taken to their zone."""
        if isinstance(moment, datetime):
            moment = moment.astimezone(self.zone).date()
        return _date(moment, width, self.locale)

    def time(self, moment: datetime, width: Width = "short") -> str:
        """The time of day in the customer's zone."""
        local = moment.astimezone(self.zone)
        return _time(local.replace(tzinfo=None, second=0, microsecond=0), width, self.locale)

    def money(self, money: Money) -> str:
        """The amount with its currency's sign."""
        digits = _precision(money.currency)
        whole, fraction = divmod(abs(money.amount), 10**digits)
        head, tail = _money_around(whole, money.amount < 0, money.currency, self.locale)
        return head + (localised(f"{fraction:0{digits}}", self.locale) if digits else "") + tail

    def number(self, number: float) -> str:
        """The number with the locale's digits and separators."""
        return _number(number, self.locale)

    def plural(self, number: float) -> str:
        """The CLDR plural category: zero, one, two, few, many or other."""
        return str(_locale(self.locale).plural_form(number))


@lru_cache(maxsize=512)
def _locale(name: str) -> Locale:
    return Locale.parse(name)


@lru_cache(maxsize=4096)
def known_locale(name: str) -> str | None:
    """The locale as Babel names it (`ar_EG`), however it is written; None if it is not one Babel knows."""
    try:
        return str(Locale.parse(name.replace("-", "_")))
    except (UnknownLocaleError, ValueError):
        return None


def direction(locale: str) -> Literal["ltr", "rtl"]:
    """Which way the locale's script runs."""
    return "rtl" if _locale(locale).text_direction == "rtl" else "ltr"


@lru_cache(maxsize=1024)
def known_zone(name: str | None, fallback: str) -> tzinfo:
    """The zone of that name, or the fallback's."""
    for candidate in (name, fallback):
        try:
            if candidate:
                return ZoneInfo(candidate)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return UTC


def localised(text: str, locale: str) -> str:
    """The text with the locale's own digits."""
    table = _digits(locale)
    return text.translate(table) if table else text


@lru_cache(maxsize=512)
def _digits(locale: str) -> dict[int, str] | None:
    digits = _DIGITS.get(_locale(locale).default_numbering_system)
    return {ord("0") + value: digit for value, digit in enumerate(digits)} if digits else None


@lru_cache(maxsize=16_384)
def _date(day: date, width: Width, locale: str) -> str:
    return localised(babel.dates.format_date(day, width, locale=_locale(locale)), locale)


@lru_cache(maxsize=8192)
def _time(moment: datetime, width: Width, locale: str) -> str:
    return localised(babel.dates.format_time(moment, width, locale=_locale(locale)), locale)


@lru_cache(maxsize=16_384)
def _number(number: float, locale: str) -> str:
    text = babel.numbers.format_decimal(number, locale=_locale(locale), numbering_system="default")
    return localised(text, locale)


@lru_cache(maxsize=512)
def _precision(currency: str) -> int:
    return int(babel.numbers.get_currency_precision(currency))


@lru_cache(maxsize=65_536)
def _money_around(whole: int, negative: bool, currency: str, locale: str) -> tuple[str, str]:
    """What stands before and after the fraction digits: few whole amounts occur, and many fractions."""
    digits = _precision(currency)
    # 1 keeps the sign of minus nothing.
    amount = Decimal(whole) + Decimal(1).scaleb(-digits) * bool(digits)
    text = babel.numbers.format_currency(
        -amount if negative else amount, currency, locale=_locale(locale), numbering_system="default"
    )
    if not digits:
        return localised(text, locale), ""
    fraction = "1".rjust(digits, "0")
    symbol = babel.numbers.get_decimal_symbol(_locale(locale), numbering_system="default")
    head, _, tail = text.rpartition(symbol + fraction)
    return localised(head + symbol, locale), localised(tail, locale)
