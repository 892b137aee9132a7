"""Everything a template can name, as types: what is not here is a mistake that `validate` finds.

`customer` and `history` are in `holdfast.audience.people`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Literal, TypedDict, get_type_hints

from markupsafe import Markup

from holdfast.audience.people import Attributes, Customer, History, Line, Money, Order, Product
from holdfast.content.colours import Scheme, on_dark, on_light
from holdfast.settings import Brand
from holdfast.surveys import Survey


@dataclass(frozen=True, slots=True)
class CampaignScope:
    """The campaign's `name` and `purpose` (marketing, transactional or confirmation)."""

    name: str
    purpose: str


@dataclass(frozen=True, slots=True)
class StepScope:
    """The step's `id`."""

    id: str


@dataclass(frozen=True, slots=True)
class BrandScope:
    """Who writes: from holdfast.yaml. `light` and `dark` are the brand's colours on such paper."""

    name: str
    postal_address: str
    public_url: str
    light: Scheme
    dark: Scheme

    @classmethod
    def of(cls, brand: Brand) -> BrandScope:
        """What templates and pages are told of the brand."""
        return cls(
            brand.name, brand.postal_address, brand.public_url, on_light(brand.color), on_dark(brand.color)
        )


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses of the customer's own pages, signed for one message.

    `telegram` begins a chat with the project's bot, as this customer; None where no channel names its bot.
    `confirm` asks for the consent that waits; empty but in letters whose purpose is confirmation. `survey` is
    the page of the step's survey, and with `?answer=9` behind it that answer is chosen there; empty where the
    step asks nothing. `referral` is for friends, to whom it recommends the shop; None where holdfast.yaml
    does not say where to.
    """

    unsubscribe: str
    preferences: str
    telegram: str | None = None
    confirm: str = ""
    survey: str = ""
    referral: str | None = None


@dataclass(frozen=True, slots=True)
class MessageScope:
    """The chosen template file: its `locale` and `language` (BCP 47), the `direction` of its
    script (ltr or rtl), and the sides where lines start (`align`) and end (`opposite`).

    They are the file's, equal for all its messages: as Markup they become part of the skeleton.
    """

    locale: Markup
    language: Markup
    direction: Markup
    align: Markup
    opposite: Markup

    @classmethod
    def of(cls, locale: str, direction: Literal["ltr", "rtl"]) -> MessageScope:
        """For the file of this locale."""
        start, end = ("left", "right") if direction == "ltr" else ("right", "left")
        tag = locale.replace("_", "-")
        language = tag.split("-")[0]
        return cls(Markup(tag), Markup(language), Markup(direction), Markup(start), Markup(end))  # noqa: S704


class PostScope(TypedDict):
    """The names at the top level of a post's template: all that there is without a customer."""

    campaign: CampaignScope
    step: StepScope
    coupon: str | None
    brand: BrandScope
    message: MessageScope


class Scope(PostScope):
    """The names at the top level of a message's template."""

    customer: Customer
    history: History
    variant: str | None
    links: Links


# Names the design has and this version does not: lint says so, instead of "unknown".
LATER = frozenset({"loyalty", "tone", "links.view_online"})

# Plain attribute access is safe on these: they hold data and have no methods that do anything.
VISIBLE_TYPES: frozenset[type] = frozenset(
    {
        Attributes,
        BrandScope,
        CampaignScope,
        Customer,
        History,
        Line,
        Links,
        MessageScope,
        Money,
        Order,
        Product,
        Scheme,
        StepScope,
    }
)

PRINTABLE_TYPES = (str, int, float)

# Which filter prints what cannot be printed as it is.
FORMATTED_BY: dict[type, str] = {Money: "money", datetime: "date", date: "date"}


@dataclass(frozen=True, slots=True)
class Occasion:
    """What the messages of one step and variant have in common."""

    campaign: CampaignScope
    step: StepScope
    variant: str | None = None
    coupon: str | None = None
    survey: Survey | None = None


@lru_cache(maxsize=64)
def members(kind: type) -> dict[str, Any]:
    """The names a template may read on a scope type, with their types: fields and properties."""
    getters = {name: value.fget for name, value in vars(kind).items() if isinstance(value, property)}
    properties = {name: get_type_hints(getter)["return"] for name, getter in getters.items() if getter}
    return get_type_hints(kind) | properties
