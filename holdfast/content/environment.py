"""The Jinja that templates are written in: sandboxed, strict about what is undefined, with our filters."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

from jinja2 import FunctionLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from holdfast.audience.people import Attributes, Money
from holdfast.content.files import TemplateFiles
from holdfast.content.formats import Formats, Width
from holdfast.content.scope import FORMATTED_BY, PRINTABLE_TYPES, VISIBLE_TYPES, members
from holdfast.content.tracking import link_target
from holdfast.errors import RenderError

# Where one rendering keeps what is not for templates. With a space in it no template can name it.
VALUES = "values of this message"
FORMATS = "formats of this message"
TRACKED = "links of this message"

# Letters and digits only, so that neither escaping nor MJML nor text derivation changes it, and random, so
# that no customer can have it in their name. One nonce a process: skeletons never leave it unfilled.
_NONCE = f"hf{secrets.token_hex(8)}x"
PLACEHOLDER = rf"{_NONCE}(\d+)z"
_PLACEHOLDERS = [f"{_NONCE}{number}z" for number in range(1000)]
# The first value of every message is its track token; templates' own come after it.
TOKEN_PLACEHOLDER = _PLACEHOLDERS[0]

# Those of Jinja that keep values plain: none that marks a text as safe, escapes it, or makes markup.
_JINJA_FILTERS = """
    abs batch capitalize count default first float format groupby int join last length list lower map max min
    reject rejectattr replace reverse round select selectattr slice sort string sum title trim truncate unique
    upper wordcount
""".split()  # noqa: SIM905

_VISIBLE = {kind: frozenset(members(kind)) for kind in VISIBLE_TYPES}

LINK_FILTER = "track"


@pass_context
def record(context: Context, value: Any) -> Any:
    """Jinja's `finalize`: notes an expression's value and leaves a placeholder in its place.

    A context function, so that Jinja does not fold constants at compile time. Markup is the template's own
    (a block that `super()` gave, the file's direction): it stays where it is, part of the skeleton.
    """
    kind = value.__class__
    if kind is Markup:
        return str(value)
    if kind is not str:
        value = _printed(value)
    values: list[str] | None = context.parent[VALUES]
    if values is None:  # a part that is rendered whole: the subject
        return value
    number = len(values)
    values.append(value)
    return _PLACEHOLDERS[number] if number < 1000 else f"{_NONCE}{number}z"


def _printed(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (*PRINTABLE_TYPES, StrictUndefined)):
        return str(value)  # an undefined one raises here
    for kind, name in FORMATTED_BY.items():
        if isinstance(value, kind):
            raise RenderError(f"a {kind.__name__} is printed without a filter; write `| {name}`")
    raise RenderError(f"a value of type {type(value).__name__} cannot be printed")


def or_(value: Any, otherwise: Any) -> Any:
    """The value, or `otherwise` where the customer has none: `{{ customer.first_name | or_("there") }}`."""
    return otherwise if value is None or value == "" else value


@pass_context
def format_date(context: Context, moment: date | None, width: Width = "long") -> str | None:
    """The day in the customer's zone and language; width is short, medium, long or full."""
    formats: Formats = context.parent[FORMATS]
    return None if moment is None else formats.date(moment, width)


@pass_context
def format_time(context: Context, moment: datetime | None, width: Width = "short") -> str | None:
    """The time of day in the customer's zone and language."""
    formats: Formats = context.parent[FORMATS]
    return None if moment is None else formats.time(moment, width)


@pass_context
def format_money(context: Context, money: Money | None) -> str | None:
    """The amount with its currency, as the customer's language writes it."""
    formats: Formats = context.parent[FORMATS]
    return None if money is None else formats.money(money)


@pass_context
def format_number(context: Context, number: float | None) -> str | None:
    """The number with the digits and separators of the customer's language."""
    formats: Formats = context.parent[FORMATS]
    return None if number is None else formats.number(number)


@pass_context
def plural(context: Context, number: float, *, other: str, **forms: str) -> str:
    """The form of a word that goes with the number: `{{ n | plural(one="order", other="orders") }}`.

    The forms are named by CLDR's categories: zero, one, two, few, many, other.
    """
    formats: Formats = context.parent[FORMATS]
    return forms.get(formats.plural(number), other)


@pass_context
def track(context: Context, url: str | None) -> str:
    """A computed address for a link, tracked where it may be, or `#` where no link may lead to it."""
    target = link_target(url)
    tracked: Callable[[str], str] | None = context.parent[TRACKED]
    if target is None or tracked is None:
        return target or "#"
    return tracked(target)


FILTERS: dict[str, Callable[..., Any]] = {
    "or_": or_,
    "date": format_date,
    "time": format_time,
    "money": format_money,
    "number": format_number,
    "plural": plural,
    LINK_FILTER: track,
}


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Templates under `root` read a scope of frozen data and call nothing of ours but filters."""

    def __init__(self, root: Path) -> None:
        self.files = TemplateFiles(root)
        super().__init__(
            loader=FunctionLoader(self.files.load),
            undefined=StrictUndefined,
            autoescape=False,  # every value is escaped where its placeholder is filled; see `record`
            finalize=record,
            auto_reload=False,  # a run renders one state of the files
            cache_size=-1,
            keep_trailing_newline=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.globals = {"range": self.globals["range"]}
        self.filters = {name: self.filters[name] for name in _JINJA_FILTERS} | FILTERS

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Joins what `super()` and `self.name()` print: the template's own, hence Markup to `record`."""
        return Markup("".join(pieces))  # noqa: S704 - skeleton and placeholders, no data

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Attributes of scope types straight: the sandbox's own checks cost more than the lookup."""
        visible = _VISIBLE.get(obj.__class__)
        if visible is not None:
            if attribute in visible or (obj.__class__ is Attributes and attribute[0] != "_"):
                return getattr(obj, attribute)
            return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Items of lists and of `customer.attributes`."""
        if obj.__class__ in _VISIBLE and isinstance(argument, str):
            return obj[argument] if isinstance(obj, Attributes) else self.getattr(obj, argument)
        return super().getitem(obj, argument)
