"""From a channel's responses to answers of our messages: whose key is genuine, which address is meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from holdfast.audience.addresses import address_key
from holdfast.channel import Response
from holdfast.delivery import Workspace
from holdfast.store import responses
from holdfast.store.responses import Applied, Given
from holdfast.tokens import TokenExpired, TokenForged

# Of any kind. What is longer is nobody's, and would not fit an index.
_LONGEST_ADDRESS = 320


def apply(ws: Workspace, channel: str, given: Sequence[Response], now: datetime) -> Applied:
    """Does what these responses of the channel ask for, in one transaction; once more changes nothing."""
    answers = list(answers_of(ws, channel, given, now))
    with ws.database.write(exclusive=True) as connection:
        return responses.apply(connection, answers, ws.complaints, now)


def answers_of(
    ws: Workspace,
    channel: str,
    given: Sequence[Response],
    received_at: datetime,
    inbox_id: int | None = None,
) -> Iterator[Given]:
    """The channel's responses with what they say of whom they come from.

    A key that we did not sign is of another system that shares the account: such a response is kept, and
    neither its address nor the provider's name for it says anything about our messages.
    """
    contact_kind = ws.channels.describe(channel).kind
    message_ids: dict[str, int | None] = {}
    for response in given:
        key = response.key
        if key and key not in message_ids:
            message_ids[key] = _message_id(ws, key)
        message_id = message_ids[key] if key else None
        is_foreign = bool(key) and message_id is None
        has_address = 0 < len(response.address) <= _LONGEST_ADDRESS and not is_foreign
        yield Given(
            channel=channel,
            event_id=response.event_id,
            kind=response.kind,
            occurred_at=response.occurred_at or received_at,
            received_at=received_at,
            message_id=message_id,
            provider_id=None if key else response.provider_id,
            contact_kind=contact_kind,
            address_key=address_key(contact_kind, response.address) if has_address else None,
            machine=response.machine,
            reason=response.reason,
            permanent=response.permanent,
            url=response.url,
            text=response.text,
            inbox_id=inbox_id,
            invited_by=_invited_by(ws, response, received_at) if has_address else None,
        )


def _invited_by(ws: Workspace, response: Response, received_at: datetime) -> int | None:
    """The message with the invitation that somebody came by; None where there is none, or it is not, or no
    longer, good."""
    if not response.invitation:
        return None
    came_at = min(response.occurred_at or received_at, received_at)
    try:
        return ws.signer.verify_invitation(response.invitation, came_at.date())
    except (TokenForged, TokenExpired):
        return None


def _message_id(ws: Workspace, key: str) -> int | None:
    try:
        return ws.signer.verify("message", key)
    except TokenForged:
        return None
