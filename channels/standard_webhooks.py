"""Standard Webhooks (https://www.standardwebhooks.com): what is signed so, and the answers that are."""

from __future__ import annotations

import base64
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, SecretStr, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from holdfast.channel import RejectReason, Response, ResponseKind, Told, event_type
from holdfast.errors import AnswerRefused
from holdfast.units import OneOrMore

_FRESH = timedelta(minutes=5)  # the standard's own tolerance
_BASE64 = "whsec_"


def _key(secret: SecretStr) -> bytes:
    """The bytes that sign: those whose base64 stands after `whsec_`, else the text's own."""
    text = secret.get_secret_value()
    if text.startswith(_BASE64):
        return base64.b64decode(text.removeprefix(_BASE64), validate=True)
    return text.encode()


def _check(secret: SecretStr) -> SecretStr:
    try:
        is_usable = bool(_key(secret))
    except ValueError:  # no base64, or no Unicode
        is_usable = False
    if not is_usable:
        raise PydanticCustomError(
            "webhook_secret", "not a secret; expected some text, or whsec_ and the base64 of a key"
        )
    return secret


def _check_each(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    return tuple(map(_check, secrets))


WebhookSecret = Annotated[SecretStr, AfterValidator(_check)]
WebhookSecrets = Annotated[OneOrMore[SecretStr], AfterValidator(_check_each)]


def sign(secret: SecretStr, id_: str, body: bytes, at: int) -> dict[str, str]:
    """The headers that go with the body; `at` in seconds since 1970."""
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(at),
        "webhook-signature": _signature(secret, id_, str(at), body).decode(),
    }


def verify(
    name: str, secrets: Sequence[SecretStr], headers: Mapping[str, str], body: bytes, now: datetime
) -> None:
    """Raises AnswerRefused unless one of the secrets signed `id.timestamp.body`, within five minutes.

    `name` is the channel's, for errors; `secrets` its setting `webhook_key`.
    """
    if not secrets:
        raise AnswerRefused(
            f"channel {name!r} has no webhook_key, so it takes no answers",
            hint="set webhook_key, and sign answers with it",
        )
    id_, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    # Several while keys are changed over, at either end.
    given = headers.get("webhook-signature", "").encode(errors="replace").split()
    expected = [_signature(secret, id_, timestamp, body) for secret in secrets]
    if not any(hmac.compare_digest(one, signature) for one in expected for signature in given):
        raise AnswerRefused(
            f"channel {name!r}: the signature is missing or wrong", hint="sign answers with webhook_key"
        )
    if (
        not (timestamp.isdecimal() and len(timestamp) < 15)
        or abs(now.timestamp() - int(timestamp)) > _FRESH.total_seconds()
    ):
        raise AnswerRefused(
            f"channel {name!r}: the signature is not of the last five minutes",
            hint="check the clocks of both machines",
        )


def read(body: bytes) -> Told:
    """What a JSON list of events says; see docs/channels.md for an event's fields."""
    try:
        events = _EVENTS.validate_json(body)
    except ValidationError:
        raise ValueError("not a JSON list of events with id, event and at") from None
    left_out = Counter(event_type(event.event) for event in events if event.event not in _KINDS)
    return Told([_response(event) for event in events if event.event in _KINDS], left_out)


class _Event(BaseModel):
    """An answer as it comes: `key` is the message's or post's, or else `provider_id` what the channel called
    it; `at` is ISO with a zone, or seconds since 1970."""

    id: str = Field(min_length=1)
    key: str = ""
    provider_id: str = ""
    event: str
    at: AwareDatetime
    url: str = ""
    reason: str = ""
    permanent: bool = False
    text: str = ""


_EVENTS = TypeAdapter(list[_Event])
# What is said on our own pages comes from there alone.
_KINDS = frozenset(ResponseKind) - {ResponseKind.ANSWERED, ResponseKind.REFERRED}
_REASONS = frozenset(RejectReason)


def _response(event: _Event) -> Response:
    known = event.reason if event.reason in _REASONS else RejectReason.UNKNOWN
    return Response(
        kind=ResponseKind(event.event),
        event_id=event.id,
        occurred_at=event.at,
        key=event.key,
        provider_id=event.provider_id,
        reason=RejectReason(known) if event.reason else None,
        permanent=event.permanent,
        url=event.url,
        text=event.text,
    )


def _signature(secret: SecretStr, id_: str, timestamp: str, body: bytes) -> bytes:
    digest = hmac.digest(_key(secret), f"{id_}.{timestamp}.".encode(errors="replace") + body, "sha256")
    return b"v1," + base64.b64encode(digest)
