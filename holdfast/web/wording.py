"""What the pages say, one TOML file a language: the ones beside this module, and a project's own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Literal

from babel import Locale

from holdfast.content.formats import Formats, direction, known_locale, localised
from holdfast.content.library import locale_chain
from holdfast.errors import SettingsError
from holdfast.settings import Labels

Texts = Mapping[str, Mapping[str, str]]
"""Sections of texts, by name."""

SHIPPED = Path(__file__).parent / "templates"
_LAST_RESORT = "en"


@dataclass(frozen=True, slots=True)
class Wording:
    """The texts in one language, with the direction that it is written in."""

    locale: str
    texts: Texts

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        return direction(self.locale.replace("-", "_"))

    def number(self, number: int) -> str:
        """The number in the language's own digits."""
        return localised(str(number), self.locale.replace("-", "_"))

    def formats(self, zone: tzinfo) -> Formats:
        """How dates are written in a page of this language."""
        return Formats(known_locale(self.locale) or _LAST_RESORT, zone)

    def kind(self, kind: str) -> str:
        """What messages of a channel's kind are called."""
        return self.texts["kinds"].get(kind, kind.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Tongue:
    """A language that pages or messages are written in, called as its speakers call it."""

    tag: str
    name: str
    direction: Literal["ltr", "rtl"]


class Languages:
    """The languages that a project's pages are written in."""

    def __init__(self, own: Path, business_locale: str) -> None:
        """`own`: the project's folder of texts, which go before the shipped ones; need not exist.

        Raises SettingsError for a file that cannot be read.
        """
        self._business_locale = business_locale
        files = [path for folder in (SHIPPED, own) for path in sorted(folder.glob("*.toml"))]
        self._texts: dict[str, Texts] = {}
        for path in files:
            self._texts[path.stem] = _over(self._texts.get(path.stem, {}), _read(path))
        # A text that a language lacks is better in English than not at all.
        english = self._texts[_LAST_RESORT]
        self._texts = {tag: _over(english, texts) for tag, texts in self._texts.items()}

    def best(self, wanted: Iterable[str | None]) -> Wording:
        """The wording for the first of the wanted locales that there is one for, else the business's."""
        for locale in (*wanted, self._business_locale):
            for tag in locale_chain(locale):
                if tag in self._texts:
                    return Wording(tag, self._texts[tag])
        return Wording(_LAST_RESORT, self._texts[_LAST_RESORT])

    def tongues(self, of_templates: Iterable[str]) -> dict[str, Tongue]:
        """By tag, the languages of pages and of these, in the order of their tags."""
        found = {}
        for tag in sorted({*self._texts, *of_templates}):
            if known := known_locale(tag):
                name = str(Locale.parse(known).get_display_name(known) or tag)
                found[tag] = Tongue(tag, name[:1].upper() + name[1:], direction(known))
        return found

    def label(self, labels: Labels, locales: Iterable[str | None]) -> str:
        """What customers read in the first of the locales that there is, else in the
        business's, else in any."""
        by_tag = {next(locale_chain(tag)): text for tag, text in labels.items()}
        wanted = (tag for locale in (*locales, self._business_locale) for tag in locale_chain(locale))
        return next((by_tag[tag] for tag in wanted if tag and tag in by_tag), next(iter(labels.values())))


def _read(path: Path) -> Texts:
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the texts of the pages in {path.name} cannot be read: {error}", hint="see docs/web.md"
        ) from None
    if not all(
        isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values())
        for texts in sections.values()
    ):
        raise SettingsError(f"{path.name} has more than texts in sections", hint="see docs/web.md")
    return sections


def _over(below: Texts, above: Texts) -> Texts:
    return {name: {**below.get(name, {}), **above.get(name, {})} for name in {**below, **above}}
