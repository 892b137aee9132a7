"""Signed, self-contained tokens for links, and the opaque key that a provider carries for a message.

A token is `<message id>.<signature>`; the purpose is part of the signature, so that a token made for one
use cannot be used for another. Tokens hold no personal data.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from itsdangerous import BadSignature
from itsdangerous import Signer as _Signer

from holdfast.errors import HoldfastError

Purpose = Literal["unsubscribe", "preferences", "message"]


class TokenForged(HoldfastError):
    """A token that this project's secret did not sign, or signed for another purpose."""


class Signer:
    """Signs and verifies tokens with the project's secret (at least 16 bytes)."""

    def __init__(self, secret: bytes) -> None:
        self._signers = {
            # The keys are derived once, here: three tokens a message make it count.
            purpose: _Signer(
                hmac.digest(secret, f"holdfast.{purpose}".encode(), "sha256"),
                sep=".",
                key_derivation="none",
                digest_method=hashlib.sha256,
            )
            for purpose in ("unsubscribe", "preferences", "message")
        }

    def sign(self, purpose: Purpose, message_id: int) -> str:
        """The token that stands for this message, for this purpose; URL-safe ASCII."""
        return self._signers[purpose].sign(str(message_id)).decode("ascii")

    def verify(self, purpose: Purpose, token: str) -> int:
        """The message id inside the token. Raises TokenForged unless it was signed for this purpose."""
        try:
            return int(self._signers[purpose].unsign(token))
        except (BadSignature, ValueError):
            raise TokenForged("this link was not made by this project") from None
