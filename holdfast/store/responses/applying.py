"""What answers change: the messages they are of, suppressions, consents. One set of answers at a time.

What a message knows is the first of each kind of its responses, so that answers may come in any order, and
any number of times. Whoever applies them holds the project's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from sqlalchemy import Connection

from holdfast.audience.complaints import SAID, Complaints
from holdfast.channel import ResponseKind
from holdfast.store import cases, consents, erasing, invitations
from holdfast.store.invitations import Newcomer
from holdfast.store.responses.given import Given, each_once, leave_out_known, stage_given, staged
from holdfast.store.responses.machines import tell_machines
from holdfast.store.responses.matching import answers_of_kinds, match
from holdfast.store.responses.recording import keep, note_first, settle
from holdfast.store.responses.suppressing import suppress


@dataclass(frozen=True, slots=True)
class Applied:
    """What a set of answers came to.

    `new` were not there before, `repeated` were; of `unknown` ones, among the new, nobody can say what they
    are of. `settled` messages were not known to be taken by the provider, and are now. `cases` were opened,
    for the first time or again.
    """

    new: int = 0
    repeated: int = 0
    unknown: int = 0
    settled: int = 0
    cases: int = 0


def apply(connection: Connection, given: Sequence[Given], complaints: Complaints, now: datetime) -> Applied:
    """Keeps the answers that are new and does what they ask for, in this transaction.

    Needs the project's lock.
    """
    once = each_once(given)
    stage_given(connection, once)
    new = len(once) - leave_out_known(connection)
    if new == 0:
        return Applied(repeated=len(given))
    _accept_invited(connection, [answer for answer in once.values() if answer.invited_by is not None])
    match(connection, given)
    erasing.forget_said(connection, staged)
    unknown = keep(connection)
    settled = settle(connection, now)
    kinds = {answer.kind for answer in given}
    note_first(connection, kinds)
    tell_machines(connection, kinds)
    if kinds & {ResponseKind.BOUNCED, ResponseKind.COMPLAINED}:
        suppress(connection)
    if kinds & {ResponseKind.UNSUBSCRIBED, ResponseKind.COMPLAINED}:
        consents.withdraw(connection, answers_of_kinds(ResponseKind.UNSUBSCRIBED, ResponseKind.COMPLAINED))
    if ResponseKind.RESUBSCRIBED in kinds:
        consents.restore(connection, answers_of_kinds(ResponseKind.RESUBSCRIBED))
    opened = 0 if kinds.isdisjoint(SAID) else cases.follow(connection, staged, complaints, now)
    return Applied(new, len(given) - new, unknown, settled, opened)


def _accept_invited(connection: Connection, answers: Iterable[Given]) -> None:
    for answer in sorted(answers, key=attrgetter("occurred_at")):
        if answer.invited_by is not None and answer.contact_kind and answer.address_key:
            said_at = min(answer.occurred_at, answer.received_at)
            invitations.accept(
                connection,
                answer.invited_by,
                Newcomer(answer.channel, answer.contact_kind, answer.address_key, said_at),
            )
