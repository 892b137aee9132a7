"""What SendGrid is told: one request for many messages of one skeleton.

What is equal for all messages of a request stands in its content once. What differs is a substitution: a tag
in the content, and each message's own value for it. A message alone differs from nobody, so its request holds
its whole bodies and no tag.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.header import Header
from secrets import token_hex

from channels.mime import mailbox, one_line
from holdfast.channel import Message, Skeleton, fill

# SendGrid takes less than 30 MB a request. Sizes are counted before JSON, which escapes quotes and the like.
REQUEST_BYTES = 20_000_000
# The name of the custom argument that carries our message key: it comes back at the top of each event.
KEY = "hf"

# A personalization beside its substitutions: addresses, name, subject, headers, key.
_ENVELOPE_BYTES = 2_000
_TAG_BYTES = len("-0123456789abcdef.123-")
# By its documentation SendGrid takes neither in the name of a recipient.
_NOT_IN_NAMES = re.compile(r"[,;]")
# Ours are in the links; SendGrid's would rewrite them.
_NO_TRACKING = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The most messages a request holds, and the most bytes of substitutions a message."""

    messages: int
    substitution_bytes: int


def split(messages: Sequence[Message], limits: Limits) -> Iterator[list[Message]]:
    """The messages in batches that may share a request: of one skeleton and sender, an address once, and
    within the limits. A message whose own values are over its limit is alone."""
    groups: defaultdict[tuple[Skeleton, str], list[Message]] = defaultdict(list)
    for message in messages:
        groups[message.skeleton, message.sender].append(message)
    for (skeleton, _), group in groups.items():
        yield from _split_group(skeleton, group, limits)


def _split_group(skeleton: Skeleton, group: Sequence[Message], limits: Limits) -> Iterator[list[Message]]:
    html, text = set(skeleton.html_holes), set(skeleton.text_holes)
    seen: Counter[str] = Counter()
    # The first messages of all addresses, the second ones …: an address is in each once.
    rounds: defaultdict[int, list[tuple[Message, int]]] = defaultdict(list)
    for message in group:
        values = [*(message.escaped[hole] for hole in html), *(message.plain[hole] for hole in text)]
        size = len("".join(values).encode(errors="replace")) + _TAG_BYTES * len(values)
        if size > limits.substitution_bytes:
            yield [message]
        else:
            address = message.to.lower()
            rounds[seen[address]].append((message, size + _ENVELOPE_BYTES))
            seen[address] += 1
    for sized in rounds.values():
        yield from _fill_requests(sized, limits.messages)


def _fill_requests(sized: Iterable[tuple[Message, int]], most: int) -> Iterator[list[Message]]:
    batch: list[Message] = []
    total = 0
    for message, size in sized:
        if len(batch) == most or (batch and total + size > REQUEST_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(message)
        total += size
    if batch:
        yield batch


def body(batch: Sequence[Message], addresses: Sequence[str]) -> bytes:
    """The JSON of one request for messages of one skeleton and sender, at least one; `addresses` are the
    recipients', in order. Raises ChannelUnavailable for a sender that is no mailbox."""
    skeleton, sender = batch[0].skeleton, mailbox(batch[0].sender)
    tags = _Tags()
    bodies = {
        "text/plain": tags.merge(skeleton.text, skeleton.text_holes, [message.plain for message in batch]),
        "text/html": tags.merge(skeleton.html, skeleton.html_holes, [message.escaped for message in batch]),
    }
    mail = {
        "personalizations": [
            {
                "to": [_person(address, _NOT_IN_NAMES.sub(" ", message.to_name))],
                # SendGrid takes no empty subject.
                "subject": one_line(message.subject) or " ",
                "headers": {name: _header(value) for name, value in message.headers.items()},
                "custom_args": {KEY: message.key},
                "substitutions": substitutions,
            }
            for message, address, substitutions in zip(
                batch, addresses, tags.substitutions(len(batch)), strict=True
            )
        ],
        "from": _person(sender.address, sender.name),
        # SendGrid's description of its API demands one; every message's own takes its place.
        "subject": sender.name or sender.address,
        "content": [{"type": kind, "value": value} for kind, value in bodies.items() if value],
        "tracking_settings": _NO_TRACKING,
    }
    return json.dumps(mail, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


class _Tags:
    """The tags of one request: one for each row of values that differ from message to message.

    HTML and text share a tag where all their values are the same. Tags are new in each request and random, so
    that nobody can have one in their name, and without the signs that HTML escapes.
    """

    def __init__(self) -> None:
        self._nonce = token_hex(8)
        self._by_values: dict[tuple[str, ...], str] = {}

    def merge(self, parts: tuple[str, ...], holes: tuple[int, ...], values: Sequence[tuple[str, ...]]) -> str:
        """The text with its holes filled: by the value that all messages have there, else by a tag."""
        # Of the values that are printed: of others one message may have more than the next.
        stand_ins = {hole: self._stand_in(tuple(own[hole] for own in values)) for hole in set(holes)}
        return fill(parts, holes, [stand_ins.get(hole, "") for hole in range(max(holes, default=-1) + 1)])

    def substitutions(self, count: int) -> Iterable[dict[str, str]]:
        """For each of so many messages its value for each tag."""
        if not self._by_values:
            return ({} for _ in range(count))
        return (
            dict(zip(self._by_values.values(), own, strict=True))
            for own in zip(*self._by_values, strict=True)
        )

    def _stand_in(self, row: tuple[str, ...]) -> str:
        if row.count(row[0]) == len(row):
            return row[0]
        return self._by_values.setdefault(row, f"-{self._nonce}.{len(self._by_values)}-")


def _person(address: str, name: str) -> dict[str, str]:
    name = one_line(name)
    return {"email": address, "name": name} if name else {"email": address}


def _header(value: str) -> str:
    """A header's value as SendGrid wants it: encoded by us where it is not ASCII, on one line."""
    line = one_line(value).encode(errors="replace").decode()
    return line if line.isascii() else Header(line, "utf-8").encode(linesep="")
