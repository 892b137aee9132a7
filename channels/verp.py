"""Envelope senders that name their message (VERP), so that what comes back says what it is of.

A key proves itself: only this project can make one, so a notice with a made-up key is of no message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from channels.mime import safe_key

# RFC 5321, 4.5.3.1.1.
_LONGEST_LOCAL_PART = 64


class BounceAddress:
    """Where bounces go: `bounce@r.acme.example`, and `bounce+KEY@r.acme.example` for each message."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._local, _, self.domain = address.rpartition("@")
        local, domain = re.escape(self._local), re.escape(self.domain)
        self._addressed = re.compile(
            rf"(?<![\w.+-]){local}\+([\w.-]{{1,64}})@{domain}(?![\w.-])", re.I | re.A
        )
        self._named = re.compile(rf"<([\w.-]{{1,128}})@{domain}>", re.I | re.A)

    def of(self, key: str) -> str:
        """The envelope sender of the message with this key; without it where the two are too long for one."""
        local = f"{self._local}+{safe_key(key)}"
        return f"{local}@{self.domain}" if len(local) <= _LONGEST_LOCAL_PART else self.address

    def addressed(self, headers: Sequence[str]) -> Iterator[str]:
        """The keys of our envelope senders in these headers."""
        for header in headers:
            yield from self._addressed.findall(header)

    def named(self, headers: Sequence[str]) -> Iterator[str]:
        """The keys of our Message-IDs in these headers."""
        for header in headers:
            yield from self._named.findall(header)
