"""Webhooks that no provider sent: mutated, swapped, stale, signed by strangers or in another way.

What is worth believing is asked of each provider's own rule (`essence`), so that another spelling of what is
genuine is not taken for a forgery.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from holdfast.channel import Receiver
from tests.forging.mutations import mutated, odd

NOW = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
Headers = dict[str, str]


@dataclass(frozen=True)
class Forgery:
    """A request that is to be refused, and what is wrong with it."""

    provider: str
    what: str
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class Provider:
    """A channel, and how its provider signs.

    `sign` takes a body, a moment, and whether a stranger signs. `otherwise` gives headers that only look like
    a signature of the body, some made with the right key. `essence` is what a request claims: two with the
    same claim are the same request. `lasts` is how long a signature is good, None for ever.
    """

    name: str
    channel: Receiver
    bodies: Sequence[bytes]
    sign: Callable[[bytes, datetime, bool], Headers]
    otherwise: Callable[[bytes], list[Headers]]
    essence: Callable[[Mapping[str, str], bytes], Hashable]
    lasts: timedelta | None = None

    def genuine(self, body: bytes, at: datetime = NOW) -> Headers:
        """The headers that the provider sends with the body."""
        return self.sign(body, at, False)

    def forgeries(self, random: Random) -> Iterator[Forgery]:
        """One after the other, without an end."""
        while True:
            body, other = random.sample(list(self.bodies), 2)
            headers = self.genuine(body)
            claims = {self.essence(headers, body), self.essence(self.genuine(other), other)}
            what, forged_headers, forged_body = random.choice(self._ways())(random, headers, body, other)
            if self.essence(forged_headers, forged_body) not in claims:
                yield Forgery(self.name, what, forged_headers, forged_body)

    def _ways(self) -> list[Callable[[Random, Headers, bytes, bytes], tuple[str, Headers, bytes]]]:
        ways = [
            lambda random, headers, body, other: ("body", headers, mutated(random, body)),
            lambda random, headers, body, other: ("another's body", headers, other),
            lambda random, headers, body, other: ("no body", headers, b""),
            lambda random, headers, body, other: ("huge", headers, body * random.randint(2, 100)),
            lambda random, headers, body, other: ("header", _with_one_mutated(random, headers), body),
            lambda random, headers, body, other: ("header", _with_one_mutated(random, headers), body),
            lambda random, headers, body, other: ("odd", _with_one(random, headers, odd(random)), body),
            lambda random, headers, body, other: ("absent", _without(random, headers), body),
            lambda random, headers, body, other: ("swapped", _turned(headers), body),
            lambda random, headers, body, other: ("stranger", self.sign(body, NOW, True), body),
            lambda random, headers, body, other: ("otherwise", random.choice(self.otherwise(body)), body),
        ]
        if (lasts := self.lasts) is not None:
            ways.append(
                lambda random, headers, body, other: (
                    "not lately",
                    self.genuine(body, NOW + random.choice((-1, 1)) * (lasts + _some_time(random))),
                    body,
                )
            )
        return ways


def _some_time(random: Random) -> timedelta:
    return timedelta(seconds=random.choice((1, 2, 3600, 86_400 * 365, 86_400 * 10_000)))


def _with_one(random: Random, headers: Headers, value: str) -> Headers:
    return headers | {random.choice(list(headers)): value}


def _with_one_mutated(random: Random, headers: Headers) -> Headers:
    name = random.choice(list(headers))
    return headers | {name: mutated(random, headers[name].encode()).decode("latin-1")}


def _without(random: Random, headers: Headers) -> Headers:
    gone = random.choice(list(headers))
    return {name: value for name, value in headers.items() if name != gone}


def _turned(headers: Headers) -> Headers:
    """Each header with the next one's value; of a single one, its value backwards."""
    values = list(headers.values())
    values = [values[0][::-1]] if len(values) == 1 else [*values[1:], values[0]]
    return dict(zip(headers, values, strict=True))
