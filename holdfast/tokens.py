"""Signed, self-contained tokens for links, and the opaque key that a provider carries for a message.

A token is `<message id>.<signature>`, or `<message id>-<day>.<signature>` where it ends with a day (counted
from 1970, UTC). The purpose is part of the signature, so that a token made for one use cannot be used for
another. A post's key is the token of the post's own id. An invitation says the same as a token in fewer and
plainer letters, for those who take no others. Tokens hold no personal data. A link token is
`<address, base64>.<signature>`: it is of no customer, and says that the address is one that this project's
own templates lead to.
"""

from __future__ import annotations

import base64
import hmac
import struct
from datetime import date
from typing import Literal, get_args

from holdfast.errors import HoldfastError
from holdfast.surveys import Survey

# Of a survey its name: an answer to one is none to another.
Purpose = Literal["unsubscribe", "preferences", "message", "track", "post", "erase", "referral", Survey]

_FIRST_DAY = date(1970, 1, 1).toordinal()
# What the address of a link is signed for; no token of a message has it.
_LINK = "link"
_CONFIRM = "confirm"
# An invitation: a message id, a last day, and as much of their signature as nobody can guess.
_INVITED = struct.Struct(">QH")
_SEAL_BYTES = 16


def erasure_mark(secret: bytes, external_id: str) -> str:
    """What tells a customer who was erased from others, when they come again, and nothing about them. By the
    project's secret: whoever changes that one forgets whom it was."""
    return hmac.digest(secret, b"holdfast.erased." + external_id.encode(), "sha256")[:16].hex()


class TokenForged(HoldfastError):
    """A token that this project's secret did not sign, or signed for another purpose."""


class TokenExpired(HoldfastError):
    """A token of ours whose last day is over."""


class Signer:
    """Signs tokens with a secret of the project (at least 16 bytes), and believes what that signed, or one of
    the older ones that it is changed over from."""

    def __init__(self, secret: bytes, *older: bytes) -> None:
        # The keys are derived once, here: several tokens a message make it count.
        all_ = (secret, *older)
        self._address_keys = [hmac.digest(each, b"holdfast.address", "sha256") for each in all_]
        self._invitation_keys = [hmac.digest(each, b"holdfast.invitation", "sha256") for each in all_]
        purposes = (*get_args(Purpose), _LINK, _CONFIRM)
        # Begun with the key, to be copied and finished: a third less work than from the key each time.
        self._begun = {
            purpose: [
                hmac.new(hmac.digest(each, f"holdfast.{purpose}".encode(), "sha256"), digestmod="sha256")
                for each in all_
            ]
            for purpose in purposes
        }

    def sign(self, purpose: Purpose, message_id: int, until: date | None = None) -> str:
        """The token that stands for this message, for this purpose; URL-safe ASCII. `until`: its last day."""
        end = "" if until is None else f"-{until.toordinal() - _FIRST_DAY}"
        return _signed(self._begun[purpose][0], f"{message_id}{end}")

    def verify(self, purpose: Purpose, token: str, today: date | None = None) -> int:
        """The message id inside the token.

        Raises TokenForged unless it was signed for this purpose, and TokenExpired when it was good only
        until a day before `today`.
        """
        try:
            id_, dash, end = self._unsign(purpose, token).partition("-")
            message_id, last_day = int(id_), int(end) if dash else None
        except ValueError:
            raise TokenForged("this link was not made by this project") from None
        if last_day is not None and today is not None and today.toordinal() - _FIRST_DAY > last_day:
            raise TokenExpired("this link is too old")
        return message_id

    def sign_confirmation(self, message_id: int, address_key: str, until: date) -> str:
        """The token that confirms what this message asks, up to a last day, while its customer still has the
        address it went to."""
        end, mark = until.toordinal() - _FIRST_DAY, self.mark(address_key)
        return _signed(self._begun[_CONFIRM][0], f"{message_id}-{end}-{mark}")

    def verify_confirmation(self, token: str, today: date | None = None) -> tuple[int, str]:
        """The message id, and the mark of the address it went to. Raises as `verify` does."""
        try:
            id_, end, mark = self._unsign(_CONFIRM, token).split("-")
            message_id, last_day = int(id_), int(end)
        except ValueError:
            raise TokenForged("this link was not made by this project") from None
        if today is not None and today.toordinal() - _FIRST_DAY > last_day:
            raise TokenExpired("this link is too old")
        return message_id, mark

    def mark(self, address_key: str) -> str:
        """What tells this address from others, and nothing about it."""
        return _mark(self._address_keys[0], address_key)

    def is_mark(self, mark: str, address_key: str) -> bool:
        """Whether it is a mark of ours of this address."""
        return mark in [_mark(key, address_key) for key in self._address_keys]

    def sign_invitation(self, message_id: int, until: date) -> str:
        """What stands for this message in an invitation, up to a last day: 35 of A-Z, a-z, 0-9, _ and -."""
        invited = _INVITED.pack(message_id, until.toordinal() - _FIRST_DAY)
        return _plain(invited + _seal(self._invitation_keys[0], invited))

    def verify_invitation(self, token: str, today: date) -> int:
        """The message id inside an invitation. Raises TokenForged and TokenExpired as `verify` does."""
        try:
            given = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            invited, seal = given[: _INVITED.size], given[_INVITED.size :]
            message_id, last_day = _INVITED.unpack(invited)
        except (ValueError, struct.error):
            raise TokenForged("this invitation was not made by this project") from None
        # Spelled anew: the last letter has bits to spare.
        sealed = any(hmac.compare_digest(seal, _seal(key, invited)) for key in self._invitation_keys)
        if not sealed or _plain(given) != token:
            raise TokenForged("this invitation was not made by this project")
        if today.toordinal() - _FIRST_DAY > last_day:
            raise TokenExpired("this invitation is too old")
        return int(message_id)

    def sign_link(self, url: str) -> str:
        """The token for an address that a message leads to, with the address inside; URL-safe ASCII."""
        return _signed(self._begun[_LINK][0], _plain(url.encode()))

    def verify_link(self, token: str) -> str:
        """The address inside a link's token. Raises TokenForged unless this project signed it."""
        try:
            encoded = self._unsign(_LINK, token)
            return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except ValueError:
            raise TokenForged("this link was not made by this project") from None

    def _unsign(self, purpose: str, token: str) -> str:
        """What the token says. Raises ValueError unless it is spelled as one of the keys signs it."""
        value, _, _ = token.rpartition(".")
        given = token.encode()
        for begun in self._begun[purpose]:
            # Whole tokens: the last letter of a signature has bits to spare; of its spellings one is ours.
            if hmac.compare_digest(_signed(begun, value).encode(), given):
                return value
        raise ValueError("signed by nobody here, or spelled in another way")


def _signed(begun: hmac.HMAC, value: str) -> str:
    signature = begun.copy()
    signature.update(value.encode())
    return f"{value}.{_plain(signature.digest())}"


def _plain(value: bytes) -> str:
    """In base64, of letters that an address may have."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _mark(key: bytes, address_key: str) -> str:
    return hmac.digest(key, address_key.encode(errors="replace"), "sha256")[:8].hex()


def _seal(key: bytes, invited: bytes) -> bytes:
    return hmac.digest(key, invited, "sha256")[:_SEAL_BYTES]
