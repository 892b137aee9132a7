"""Tokens of links and invitations that nobody made: mutated, old, of strangers, for another purpose."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Any, get_args

from holdfast.tokens import Purpose, Signer
from tests.forging.mutations import EASTERN, mutated, odd

SECRET, STRANGERS_SECRET = b"a secret of the tests, 32 bytes.", b"a secret of somebody else's, 32."
TODAY = date(2026, 6, 3)
MESSAGE = 123_456


@dataclass(frozen=True)
class Kind:
    """A kind of token: how it is signed, with a last day, and read, by the Signer's `method`."""

    name: str
    method: str
    sign: Callable[[Signer, date], str]
    verify: Callable[[Signer, str], Any]
    ends: bool = True

    @property
    def base(self) -> str:
        """What it is for, whether it ends or not."""
        return self.name.partition(",")[0]


def kinds(message_id: int = MESSAGE) -> list[Kind]:
    """All there are, of this message: every purpose that tokens have, and what is signed beside."""
    return [
        *(
            Kind(
                purpose,
                "verify",
                lambda signer, until, purpose=purpose: signer.sign(purpose, message_id, until),
                lambda signer, token, purpose=purpose: signer.verify(purpose, token, TODAY),
            )
            for purpose in get_args(Purpose)
        ),
        *(
            Kind(
                f"{purpose}, for ever",
                "verify",
                lambda signer, until, purpose=purpose: signer.sign(purpose, message_id),
                lambda signer, token, purpose=purpose: signer.verify(purpose, token),
                ends=False,
            )
            for purpose in get_args(Purpose)
        ),
        Kind(
            "confirmation",
            "verify_confirmation",
            lambda signer, until: signer.sign_confirmation(message_id, "ann@shop.example", until),
            lambda signer, token: signer.verify_confirmation(token, TODAY),
        ),
        Kind(
            "invitation",
            "verify_invitation",
            lambda signer, until: signer.sign_invitation(message_id, until),
            lambda signer, token: signer.verify_invitation(token, TODAY),
        ),
        Kind(
            "link",
            "verify_link",
            lambda signer, until: signer.sign_link("https://shop.example/back?from=mail&n=1#top"),
            lambda signer, token: signer.verify_link(token),
            ends=False,
        ),
    ]


def forged(kind: Kind, among: Sequence[Kind], random: Random) -> Iterator[tuple[str, str]]:
    """What is wrong with a token of this kind, and the token; one after the other, without an end."""
    signer, stranger = Signer(SECRET), Signer(STRANGERS_SECRET)
    good = kind.sign(signer, TODAY)
    others = [other.sign(signer, TODAY) for other in among if other.base != kind.base]
    content, _, signature = good.partition(".")
    ways: list[Callable[[], tuple[str, str]]] = [
        lambda: ("mutated", mutated(random, good.encode()).decode("latin-1")),
        lambda: ("mutated", mutated(random, mutated(random, good.encode()) + b"x").decode("latin-1")),
        lambda: ("truncated", good[: random.randrange(len(good))]),
        lambda: ("of a stranger", kind.sign(stranger, TODAY)),
        lambda: ("for another purpose", random.choice(others)),
        lambda: ("another's signature", f"{content}.{random.choice(others).rpartition('.')[2]}"),
        lambda: ("another message", f"{random.choice((0, 1, 2, 3, -1, 2**63))}.{signature}"),
        lambda: ("in another alphabet", good.translate(EASTERN)),
        lambda: (
            "spelled otherwise",
            random.choice((good + "=", f" {good}", f"{good}\n", f"{good}.", f"+{good}")),
        ),
        lambda: ("odd", odd(random)),
        lambda: ("odd signature", f"{content}.{odd(random)}"),
        lambda: ("odd content", f"{odd(random)}.{signature}"),
        lambda: (
            "without a signature",
            random.choice((content, f"{content}.", f"{content}.none", "eyJhbGciOiJub25lIn0.e30.")),
        ),
        lambda: ("by another way of signing", _signed_otherwise(random, content)),
    ]
    if kind.ends:
        ways.append(
            lambda: ("old", kind.sign(signer, TODAY - timedelta(days=random.choice((1, 2, 30, 400)))))
        )
    while True:
        what, token = random.choice(ways)()
        if token != good:
            yield what, token


def _signed_otherwise(random: Random, content: str) -> str:
    """With the very secret, in ways that we do not sign in."""
    keys = (SECRET, b"", hmac.digest(SECRET, b"holdfast", "sha256"), hashlib.sha256(SECRET).digest())
    algorithm = random.choice(("md5", "sha1", "sha256", "sha512"))
    signature = hmac.digest(random.choice(keys), content.encode(), algorithm)
    spelled = random.choice((base64.urlsafe_b64encode, base64.b64encode, base64.b32encode, base64.b16encode))
    return f"{content}.{spelled(signature).rstrip(b'=').decode()}"
