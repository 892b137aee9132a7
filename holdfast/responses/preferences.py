"""What the pages for customers show and change: who a message was for, what they permit and ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from holdfast.audience.policy import zone_of
from holdfast.channel import ResponseKind
from holdfast.delivery import Workspace
from holdfast.store import consents, erasing, preferences, responses, wishes
from holdfast.store.responses import Given

PAUSE = timedelta(days=30)
"""How long a rest is that a customer asks for."""


@dataclass(frozen=True, slots=True)
class Contact:
    """The customer a message was for. `exists` False: there is no such message (any more); `erased`: there
    is, and nobody whom it was for.

    `kind` is the message's ("email"); `kinds` are those the customer has an address of, or permits;
    `granted` those of them with a consent to marketing, `pending` those with one that is to be confirmed.
    `preferred` is the kind that they chose to get before others, and `may_prefer` whether any campaign asks
    for it. `refused` are topics that they want nothing of; `paused_until` is a moment that was to come when
    they asked. `asked_at` is when they asked to be erased.
    """

    exists: bool = False
    erased: bool = False
    locale: str | None = None
    zone: tzinfo = UTC
    kind: str = ""
    kinds: tuple[str, ...] = ()
    granted: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    preferred: str | None = None
    may_prefer: bool = False
    refused: frozenset[str] = frozenset()
    paused_until: datetime | None = None
    asked_at: datetime | None = None


def contact_of(ws: Workspace, message_id: int) -> Contact:
    """Whom the message was for, as pages need it: no name, no address."""
    with ws.database.read() as connection:
        found = consents.recipient(connection, message_id)
        if found is None or found.erased:
            return Contact(erased=found is not None)
        words = consents.latest_words(connection, found.customer_id)
        reachable = consents.reachable_kinds(connection, found.customer_id)
        preferred = preferences.chosen_by(connection, found.customer_id)
        asked_for = wishes.wishes_of(connection, found.customer_id)
        asked_at = erasing.asked_at(connection, found.customer_id)
    granted = frozenset(kind for kind, word in words.items() if word.granted)
    kinds = tuple(sorted({*reachable, *granted}))
    return Contact(
        exists=True,
        locale=found.locale,
        zone=zone_of(found.timezone, found.country, ws.project.business.timezone),
        kind=found.kind,
        kinds=kinds,
        granted=granted,
        pending=frozenset(kind for kind, word in words.items() if word.pending),
        preferred=preferred,
        may_prefer=len(kinds) > 1 and any(map(ws.prefers_customer, ws.campaigns())),
        refused=asked_for.refused,
        paused_until=asked_for.paused_until,
        asked_at=asked_at,
    )


@dataclass(frozen=True, slots=True)
class Choices:
    """What a customer chose; what it says nothing of stays as it is.

    `kinds` and `topics` have those that are wanted or not; `preferred` is a kind, or empty for no matter
    which. `pause` starts a rest, unless there is one, or ends it.
    """

    kinds: Mapping[str, bool] = field(default_factory=dict)
    topics: Mapping[str, bool] = field(default_factory=dict)
    preferred: str | None = None
    locale: str | None = None
    pause: Literal["start", "end"] | None = None


def save(ws: Workspace, message_id: int, choices: Choices, evidence: str, now: datetime) -> None:
    """Writes down what the customer of the message chose, all of it or nothing; in force when this returns.

    Consents to marketing that were so before are not written again. A yes to a kind with double opt-in waits
    to be confirmed. A message that does not exist changes nothing.
    """
    with ws.database.write(exclusive=True) as connection:
        found = consents.recipient(connection, message_id)
        if found is None or found.erased:
            return
        id_, to_confirm = found.customer_id, ws.project.defaults.double_opt_in
        consents.record(connection, id_, choices.kinds, evidence, now, to_confirm)
        wanted = {topic for topic, is_wanted in choices.topics.items() if is_wanted}
        wishes.choose_topics(connection, id_, wanted, choices.topics.keys() - wanted, now)
        if choices.preferred is not None:
            preferences.choose(connection, id_, choices.preferred or None)
        if choices.locale is not None:
            wishes.choose_locale(connection, id_, choices.locale)
        if choices.pause == "end":
            wishes.pause(connection, id_, None)
        elif choices.pause == "start":
            until = wishes.wishes_of(connection, id_).paused_until
            wishes.pause(connection, id_, until if until is not None and until > now else now + PAUSE)


def ask_to_be_erased(ws: Workspace, message_id: int, now: datetime) -> None:
    """The customer of the message wants to be erased: noted for the operator, and all consents to marketing
    are withdrawn at once. Twice is once. A message that does not exist changes nothing."""
    with ws.database.write(exclusive=True) as connection:
        found = consents.recipient(connection, message_id)
        if found is None or found.erased:
            return
        kinds = {
            *consents.reachable_kinds(connection, found.customer_id),
            *consents.latest_words(connection, found.customer_id),
        }
        asked_by = f"preferences page, message {message_id}"
        unwanted = dict.fromkeys(sorted(kinds), False)
        consents.record(connection, found.customer_id, unwanted, "asked to be erased", now)
        erasing.ask(connection, found.customer_id, ws.secret, asked_by, now)


def keep_after_all(ws: Workspace, message_id: int) -> None:
    """The customer of the message takes back that they want to be erased. Consents stay withdrawn."""
    with ws.database.write(exclusive=True) as connection:
        found = consents.recipient(connection, message_id)
        if found is not None:
            erasing.take_back(connection, found.customer_id)


def unsubscribe(
    ws: Workspace, message_id: int, kinds: Collection[str] | None, evidence: str, now: datetime
) -> None:
    """The customer of the message wants no more marketing by these kinds; None: by the message's own kind.

    In force when this returns, and counted as the message's answer. Twice is once. A message that does not
    exist changes nothing.
    """
    with ws.database.write(exclusive=True) as connection:
        found = consents.recipient(connection, message_id)
        if found is None or found.erased:
            return
        unwanted = dict.fromkeys([found.kind] if kinds is None else kinds, False)
        consents.record(connection, found.customer_id, unwanted, evidence, now)
        answer = Given(
            channel=found.channel,
            event_id=f"link:{message_id}",
            kind=ResponseKind.UNSUBSCRIBED,
            message_id=message_id,
            occurred_at=now,
            received_at=now,
        )
        if found.kind in unwanted:
            responses.apply(connection, [answer], ws.complaints, now)
