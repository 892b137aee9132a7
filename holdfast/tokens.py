"""Signed, self-contained tokens for links, and the opaque key that a provider carries for a message.

A token is `<message id>.<signature>`, or `<message id>-<day>.<signature>` where it ends with a day (counted
from 1970, UTC). The purpose is part of the signature, so that a token made for one use cannot be used for
another. A post's key is the token of the post's own id. Tokens hold no personal data. A link token is
`<address, base64>.<signature>`: it is of no customer, and says that the address is one that this project's
own templates lead to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import date
from typing import Literal, get_args

from itsdangerous import BadSignature
from itsdangerous import Signer as _Signer

from holdfast.errors import HoldfastError

Purpose = Literal["unsubscribe", "preferences", "message", "track", "post"]

_FIRST_DAY = date(1970, 1, 1).toordinal()
# What the address of a link is signed for; no token of a message has it.
_LINK = "link"


class TokenForged(HoldfastError):
    """A token that this project's secret did not sign, or signed for another purpose."""


class TokenExpired(HoldfastError):
    """A token of ours whose last day is over."""


class Signer:
    """Signs and verifies tokens with the project's secret (at least 16 bytes)."""

    def __init__(self, secret: bytes) -> None:
        self._signers = {
            # The keys are derived once, here: several tokens a message make it count.
            purpose: _Signer(
                hmac.digest(secret, f"holdfast.{purpose}".encode(), "sha256"),
                sep=".",
                key_derivation="none",
                digest_method=hashlib.sha256,
            )
            for purpose in (*get_args(Purpose), _LINK)
        }

    def sign(self, purpose: Purpose, message_id: int, until: date | None = None) -> str:
        """The token that stands for this message, for this purpose; URL-safe ASCII. `until`: its last day."""
        end = "" if until is None else f"-{until.toordinal() - _FIRST_DAY}"
        return self._signers[purpose].sign(f"{message_id}{end}").decode("ascii")

    def verify(self, purpose: Purpose, token: str, today: date | None = None) -> int:
        """The message id inside the token.

        Raises TokenForged unless it was signed for this purpose, and TokenExpired when it was good only
        until a day before `today`.
        """
        try:
            id_, dash, end = self._unsign(purpose, token).decode("ascii").partition("-")
            message_id, last_day = int(id_), int(end) if dash else None
        except (BadSignature, ValueError):
            raise TokenForged("this link was not made by this project") from None
        if last_day is not None and today is not None and today.toordinal() - _FIRST_DAY > last_day:
            raise TokenExpired("this link is too old")
        return message_id

    def sign_link(self, url: str) -> str:
        """The token for an address that a message leads to, with the address inside; URL-safe ASCII."""
        return self._signers[_LINK].sign(base64.urlsafe_b64encode(url.encode()).rstrip(b"=")).decode("ascii")

    def verify_link(self, token: str) -> str:
        """The address inside a link's token. Raises TokenForged unless this project signed it."""
        try:
            encoded = self._unsign(_LINK, token)
            return base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)).decode()
        except (BadSignature, ValueError, binascii.Error):
            raise TokenForged("this link was not made by this project") from None

    def _unsign(self, purpose: str, token: str) -> bytes:
        signer = self._signers[purpose]
        value = signer.unsign(token)
        # The last letter of a signature has bits to spare: of its spellings one is ours.
        if signer.sign(value) != token.encode():
            raise BadSignature("spelled in another way")
        return value
