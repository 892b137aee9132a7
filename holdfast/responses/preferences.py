"""What the pages for customers show and change: who a message was for, and what they permit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from holdfast.channel import ResponseKind
from holdfast.delivery import Workspace
from holdfast.store import consents, preferences, responses
from holdfast.store.responses import Given


@dataclass(frozen=True, slots=True)
class Contact:
    """The customer a message was for. `exists` False: there is no such message (any more).

    `kind` is the message's ("email"); `kinds` are those the customer has an address of, or permits;
    `granted` those of them with a consent to marketing, `pending` those with one that is to be confirmed.
    `preferred` is the kind that they chose to get before
    others, and `may_prefer` whether any campaign asks for it.
    """

    exists: bool = False
    locale: str | None = None
    kind: str = ""
    kinds: tuple[str, ...] = ()
    granted: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    preferred: str | None = None
    may_prefer: bool = False


def contact_of(ws: Workspace, message_id: int) -> Contact:
    """Whom the message was for, as pages need it: no name, no address."""
    with ws.database.read() as connection:
        found = consents.recipient(connection, message_id)
        if found is None:
            return Contact()
        words = consents.latest_words(connection, found.customer_id)
        reachable = consents.reachable_kinds(connection, found.customer_id)
        preferred = preferences.chosen_by(connection, found.customer_id)
    granted = frozenset(kind for kind, word in words.items() if word.granted)
    kinds = tuple(sorted({*reachable, *granted}))
    return Contact(
        exists=True,
        locale=found.locale,
        kind=found.kind,
        kinds=kinds,
        granted=granted,
        pending=frozenset(kind for kind, word in words.items() if word.pending),
        preferred=preferred,
        may_prefer=len(kinds) > 1 and any(map(ws.prefers_customer, ws.campaigns())),
    )


def set_consents(
    ws: Workspace, message_id: int, choices: Mapping[str, bool], evidence: str, now: datetime
) -> None:
    """Writes down what the customer of the message chose for marketing: by kind, granted or not.

    What was so before is not written again. A yes to a kind with double opt-in waits to be confirmed. A
    message that does not exist changes nothing.
    """
    with ws.database.write(exclusive=True) as connection:
        found = consents.recipient(connection, message_id)
        if found is not None:
            to_confirm = ws.project.defaults.double_opt_in
            consents.record(connection, found.customer_id, choices, evidence, now, to_confirm)


def set_preferred(ws: Workspace, message_id: int, kind: str | None) -> None:
    """Writes down which kind the customer of the message likes best; None: no matter which. A message that
    does not exist changes nothing."""
    with ws.database.write() as connection:
        found = consents.recipient(connection, message_id)
        if found is not None:
            preferences.choose(connection, found.customer_id, kind)


def unsubscribe(
    ws: Workspace, message_id: int, kinds: Collection[str] | None, evidence: str, now: datetime
) -> None:
    """The customer of the message wants no more marketing by these kinds; None: by the message's own kind.

    In force when this returns, and counted as the message's answer. Twice is once. A message that does not
    exist changes nothing.
    """
    with ws.database.write(exclusive=True) as connection:
        found = consents.recipient(connection, message_id)
        if found is None:
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
