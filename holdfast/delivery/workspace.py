"""A project at work: its settings, database, templates, campaigns and channels in one place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from babel.numbers import get_currency_precision
from sqlalchemy import Connection

from holdfast.audience.complaints import Complaints
from holdfast.audience.people import Needs
from holdfast.audience.rules import Rule
from holdfast.campaign.models import Campaign, Step
from holdfast.channel import Capabilities, Channel
from holdfast.content.library import Library
from holdfast.errors import RunError, SettingsError
from holdfast.mistakes import closest
from holdfast.settings import Guard, Project, SendPolicy, StopIf
from holdfast.store.contact import Fallback, Route
from holdfast.store.database import Database
from holdfast.store.history import Bestsellers, load_bestsellers
from holdfast.store.planning import EntryPlan, StepPlan
from holdfast.store.segments import RuleContext
from holdfast.tokens import Signer

if TYPE_CHECKING:
    from holdfast.delivery.pace import Pace

Rates = Callable[[str, float | None], float | None]
"""The rate in force on a channel, in messages a second, given that of the project file; None: no rate."""


def _of_the_file(channel: str, rate: float | None) -> float | None:
    return rate


class Channels(Protocol):
    """The project's channels by name. Entrances bring them: adapters stand above this floor."""

    def describe(self, name: str) -> Capabilities:
        """What the channel can do, without opening it."""

    def open(self, name: str) -> Channel:
        """The channel, opened; secrets are resolved now."""


@dataclass(frozen=True, slots=True)
class Source:
    """A campaign with the text it was read from."""

    campaign: Campaign
    text: str


@dataclass
class Workspace:
    """Everything that the use cases need, opened once by an entrance. Safe to share between threads."""

    project: Project
    database: Database
    secret: bytes
    library: Library
    channels: Channels
    sources: Mapping[str, Source]
    segments: Mapping[str, Rule]
    rates: Rates = _of_the_file
    sleep: Callable[[float], None] = time.sleep
    link_secrets: Sequence[bytes] = ()
    paces: dict[tuple[str, str], Pace] = field(default_factory=dict, init=False)
    signer: Signer = field(init=False)
    _opened: dict[str, Channel] = field(default_factory=dict, init=False)
    _bestsellers: dict[date, Bestsellers] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def __post_init__(self) -> None:
        self.signer = Signer(*self.link_secrets or (self.secret,))

    def campaign(self, name: str) -> Campaign:
        """The campaign of this name. Raises RunError when the project has none."""
        return self.source(name).campaign

    def source(self, name: str) -> Source:
        """The campaign and its text. Raises RunError when the project has none of this name."""
        try:
            return self.sources[name]
        except KeyError:
            suggestion = closest(name, self.sources)
            raise RunError(
                f"there is no campaign {name!r}" + (f"; did you mean {suggestion!r}?" if suggestion else ""),
                hint=f"known are: {', '.join(sorted(self.sources)) or 'none'}",
            ) from None

    def campaigns(self) -> list[Campaign]:
        """All of the project's campaigns."""
        return [source.campaign for source in self.sources.values()]

    def channel(self, name: str) -> Channel:
        """The channel, opened at its first use and shared from then on."""
        with self._lock:
            if name not in self._opened:
                self._opened[name] = self.channels.open(name)
            return self._opened[name]

    def close(self) -> None:
        """Closes channels and database."""
        for channel in self._opened.values():
            channel.close()
        self._opened.clear()
        self.database.close()

    # --- what a campaign means, with the project's defaults applied -----------------------------------

    def routes(self, step: Step) -> tuple[Route, ...]:
        """The step's channels that are enabled, in order, each with its kind."""
        return tuple(self.route(name) for name in step.channels if self.project.channels[name].enabled)

    def route(self, channel: str) -> Route:
        """The channel as a way to customers."""
        can = self.channels.describe(channel)
        return Route(channel, can.kind, can.opt_in)

    def rehearsed(self, campaign: Campaign) -> str:
        """In a sentence, which of the campaign's channels deliver nothing by their settings; '' for none."""
        names = sorted(
            {
                route.channel
                for step in campaign.sends
                for route in self.routes(step)
                if self.channels.describe(route.channel).rehearsal
            }
        )
        return f"a rehearsal by {', '.join(names)}: nothing is delivered there" if names else ""

    @cached_property
    def invitation(self) -> str:
        """How the address begins that invites customers to Telegram; empty where no channel has one."""
        for name, config in self.project.channels.items():
            # One that is set up wrongly is for `validate` to tell of, and for who sends by it.
            with suppress(SettingsError):
                if config.enabled and (invitation := self.channels.describe(name).invitation):
                    return invitation
        return ""

    @cached_property
    def complaints(self) -> Complaints:
        """What the project takes for a complaint."""
        return Complaints.of(self.project.cases)

    def fallbacks(self, campaign: Campaign, channel: str) -> dict[str, Fallback]:
        """By step, where a message goes that is rejected on the channel: by the step's order to the channels
        after it, by the customer's to any other."""
        by_preference = self.prefers_customer(campaign)
        found = {}
        for step in campaign.sends:
            routes = self.routes(step)
            names = [route.channel for route in routes]
            place = names.index(channel) if channel in names else len(names)
            before = routes[:place] if by_preference and channel in names else ()
            found[step.id] = Fallback((*before, *routes[place + 1 :]), by_preference)
        return found

    def prefers_customer(self, campaign: Campaign) -> bool:
        """Whether each customer's own order of channels goes before that of the campaign's steps."""
        return self.send_policy(campaign).prefer == "customer"

    def doubt_ends_after(self, campaign: Campaign) -> timedelta | None:
        """How long after sending something can be done about a message in doubt; None: it is held.

        A channel that can be asked, or takes our key, is asked or called again when the lease of the first
        call is over, so that the call is too.
        """
        routes = {route.channel for step in campaign.sends for route in self.routes(step)}
        if any(can.lookup or can.idempotent for can in map(self.channels.describe, routes)):
            return self.project.dispatch.lease
        return campaign.in_doubt_after if campaign.in_doubt == "resend" else None

    def needs(self, step: Step, kind: str) -> Needs:
        """What the step's templates for the kind read of a customer."""
        templates = {variant.template or step.template for variant in step.variants.values()}
        needs = Needs()
        for template in templates or {step.template}:
            needs |= self.library.needs(template, kind)
        return needs

    def bestsellers(self, connection: Connection, as_of: datetime) -> Bestsellers:
        """What sells best at this moment; looked up once a day, since it takes a scan of a year's lines."""
        day = as_of.date()
        with self._lock:
            if day not in self._bestsellers:
                self._bestsellers = {day: load_bestsellers(connection, as_of)}
            return self._bestsellers[day]

    def send_policy(self, campaign: Campaign) -> SendPolicy:
        """How to send: the campaign's own policy, else the project's. Only marketing has a cap."""
        own, default = campaign.send or SendPolicy(), self.project.defaults.send
        return SendPolicy(
            window=own.window or default.window,
            cap=(own.cap or default.cap) if campaign.is_marketing else None,
            rate=own.rate or default.rate,
            prefer=own.prefer or default.prefer,
        )

    def guard(self, campaign: Campaign) -> Guard:
        """What needs approval and what stops a run: each the campaign's own where it says so, else the
        project's."""
        own, default = campaign.guard or Guard.model_validate({}), self.project.defaults.guard
        said = {field: getattr(guard, field) for guard in (default, own) for field in guard.model_fields_set}
        stop = {
            field: getattr(guard.stop_if, field)
            for guard in (default, own)
            for field in guard.stop_if.model_fields_set
        }
        return Guard.model_construct(**said | {"stop_if": StopIf.model_construct(**stop)})

    def entry_plan(self, campaign: Campaign) -> EntryPlan:
        """How customers enter the campaign."""
        holdout = self.project.defaults.holdout if campaign.holdout is None else campaign.holdout
        return EntryPlan(
            campaign, self.routes(campaign.sends[0]), holdout, self.project.global_holdout, self.secret
        )

    def step_plans(self, campaign: Campaign) -> list[StepPlan]:
        """What each of the campaign's steps means, in order."""
        policy = self.send_policy(campaign)
        kinds = {route.kind for step in campaign.sends for route in self.routes(step)}
        return [
            StepPlan(
                campaign,
                step,
                self.routes(step),
                policy.cap,
                policy.window,
                self.project.business.timezone,
                self.secret,
                tuple(sorted(kinds)),
                policy.prefer == "customer",
            )
            for step in campaign.sends
        ]

    def rule_context(self, as_of: datetime) -> RuleContext:
        """What rules mean at this moment."""
        return RuleContext(
            as_of=as_of,
            lifecycle=self.project.lifecycle,
            secret=self.secret,
            segments=self.segments,
            currency_digits=get_currency_precision(self.project.business.currency),
        )
