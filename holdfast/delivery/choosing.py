"""One message of a campaign, chosen by hand to be looked at: its step, variant and channel, and for whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from holdfast.audience.people import Person
from holdfast.campaign.models import Campaign, Step
from holdfast.content.message import Content, content_of
from holdfast.delivery.workspace import Workspace
from holdfast.errors import RunError
from holdfast.store.contact import Route
from holdfast.store.counting import find_customer
from holdfast.store.history import load_people

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choice:
    """A step in one variant (None: it has none), on one of its channels."""

    campaign: Campaign
    step: Step
    variant: str | None
    route: Route

    @property
    def content(self) -> Content:
        """What it sends."""
        return content_of(self.campaign, self.step, self.variant)


def choose(ws: Workspace, name: str, *, step: str | None, variant: str | None, channel: str | None) -> Choice:
    """The message of these names; where one is None, the first there is.

    Raises RunError for a campaign, step, variant or channel that is not there.
    """
    campaign = ws.campaign(name)
    chosen = pick("step", step, {item.id: item for item in campaign.sends})
    variants = {key: key for key in chosen.variants}
    named = pick("variant", variant, variants) if variants or variant is not None else None
    route = pick("channel", channel, {route.channel: route for route in ws.routes(chosen)})
    return Choice(campaign, chosen, named, route)


def person_of(ws: Workspace, choice: Choice, external_id: str, as_of: datetime) -> Person:
    """The customer as the chosen message reads them at a moment. Raises RunError for an unknown one."""
    with ws.database.read() as connection:
        customer_id = customer_id_of(connection, external_id)
        needs = ws.needs(choice.step, choice.route.kind)
        bestsellers = ws.bestsellers(connection, as_of) if needs.favourites else None
        return load_people(connection, [customer_id], as_of, needs, ws.project, bestsellers)[customer_id]


def customer_id_of(connection: Connection, external_id: str) -> int:
    """The customer's id in the database, by the shop's. Raises RunError."""
    customer_id = find_customer(connection, external_id)
    if customer_id is None:
        raise RunError("there is no customer with this id", hint="ids are those of the imported files")
    return customer_id


def pick(what: str, name: str | None, choices: Mapping[str, T]) -> T:
    """The choice of this name; the first one where no name is given. Raises RunError."""
    if name is None and choices:
        return next(iter(choices.values()))
    if name is None or name not in choices:
        which = "" if name is None else f" {name!r}"
        raise RunError(f"there is no {what}{which} here", hint=f"there are: {', '.join(choices) or 'none'}")
    return choices[name]
