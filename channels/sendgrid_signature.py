"""How SendGrid signs what it posts to us: events, and inbound mail where a security policy asks for it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.errors import AnswerRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

# SendGrid repeats what got no 2xx for a day, and nowhere says that it signs anew: an answer must not be lost
# to an outage of ours. The same body is kept once: repeating one changes nothing. The future is for clocks.
OLDEST = timedelta(hours=25)
NEWEST = timedelta(minutes=5)

_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"


def has_signature(headers: Mapping[str, str]) -> bool:
    """Whether there is a signature at all, of whomever."""
    return _SIGNATURE in headers and _TIMESTAMP in headers


class PublicKeys:
    """The public keys that SendGrid shows for a webhook it signs, DER in base64: one, or several while it
    is changed over."""

    def __init__(self, *texts: str) -> None:
        """Raises ValueError, without the text, when one is no such key."""
        self._keys = [_public_key(text) for text in texts]

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless these bytes were signed with the private key of one, and lately."""
        timestamp = headers.get(_TIMESTAMP, "")
        try:
            is_signed = self._has_signed(timestamp.encode() + body, headers.get(_SIGNATURE, ""))
            signed_at = datetime.fromtimestamp(int(timestamp), UTC)
        except (ValueError, OverflowError, OSError):  # no base64, no text, no number, no date
            is_signed = False
        if not is_signed:
            raise AnswerRefused(
                "SendGrid's signature is missing or wrong",
                hint="turn signatures on at SendGrid, and set the verification key that it shows there",
            )
        if not now - OLDEST <= signed_at <= now + NEWEST:
            raise AnswerRefused(
                "SendGrid's signature is too old, or of the future", hint="check this machine's clock"
            )

    def _has_signed(self, content: bytes, signature: str) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        given = b64decode(signature, validate=True)
        if b64encode(given).decode() != signature:
            return False  # the last letter has bits to spare: of its spellings one is SendGrid's
        for key in self._keys:
            with suppress(InvalidSignature):
                key.verify(given, content, ECDSA(SHA256()))
                return True
        return False


def _public_key(text: str) -> EllipticCurvePublicKey:
    # Slow to import, and only for who has a key. Its own check takes text alone, and mail is bytes.
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from sendgrid.helpers.eventwebhook import EventWebhook

    try:
        key = EventWebhook("".join(text.split())).public_key
    except Exception:  # whatever the library below raises
        raise ValueError("not a public key as SendGrid shows it") from None
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("not a public key as SendGrid shows it")
    return key
