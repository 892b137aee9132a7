"""What SendGrid is told: one request for many messages of one skeleton.

What is equal for all messages of a request stands in its content once. What differs is a substitution: a tag
in the content, and each message's own value for it. A message alone differs from nobody, so its request holds
its whole bodies and no tag.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.header import Header
from functools import lru_cache
from secrets import token_hex
from typing import Any

from channels.mime import Mailbox, answers_to, mailbox, one_line, safe_key
from holdfast.channel import Attachment, Message, fill

# SendGrid takes less than 30 MB a request. Sizes are counted before JSON, which escapes quotes and the like.
REQUEST_BYTES = 20_000_000
# The name of the custom argument that carries our message key: it comes back at the top of each event.
KEY = "hf"

MOST_CATEGORIES = 10

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


@dataclass(frozen=True, slots=True)
class Account:
    """What requests carry because the channel's settings say so.

    `labels`: the messages' labels are categories, before `categories`. `group` is the unsubscribe group of
    messages that can be unsubscribed from, `groups_to_display` the ones that its page offers. Answers go to
    `reply_address`, with the message's key in it.
    """

    labels: bool = True
    categories: tuple[str, ...] = ()
    group: int | None = None
    groups_to_display: tuple[int, ...] = ()
    reply_address: str = ""
    sandbox_mode: bool = False


_PLAIN = Account()


def shared(message: Message, account: Account = _PLAIN) -> Hashable:
    """What messages have in common that share a request."""
    in_group = account.group is not None and _can_be_left(message)
    return message.skeleton, message.sender, message.reply_to, message.labels, message.attachments, in_group


def _can_be_left(message: Message) -> bool:
    """Whether it can be unsubscribed from: who left a group still gets what they ordered."""
    return "List-Unsubscribe" in message.headers


def split(messages: Sequence[Message], limits: Limits, account: Account = _PLAIN) -> Iterator[list[Message]]:
    """The messages in batches that may share a request: of one skeleton and sender, an address once, and
    within the limits. A message whose own values are over its limit is alone."""
    groups: defaultdict[Hashable, list[Message]] = defaultdict(list)
    for message in messages:
        groups[shared(message, account)].append(message)
    for group in groups.values():
        yield from _split_group(group, limits)


def _split_group(group: Sequence[Message], limits: Limits) -> Iterator[list[Message]]:
    skeleton = group[0].skeleton
    attached = sum(len(_encoded(file)) for file in group[0].attachments)
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
        yield from _fill_requests(sized, limits.messages, REQUEST_BYTES - attached)


def _fill_requests(sized: Iterable[tuple[Message, int]], most: int, room: int) -> Iterator[list[Message]]:
    batch: list[Message] = []
    total = 0
    for message, size in sized:
        if len(batch) == most or (batch and total + size > room):
            yield batch
            batch, total = [], 0
        batch.append(message)
        total += size
    if batch:
        yield batch


def body(batch: Sequence[Message], addresses: Sequence[str], account: Account = _PLAIN) -> bytes:
    """The JSON of one request for messages that share one, at least one of them; `addresses` are the
    recipients', in order. Raises ChannelUnavailable for a sender that is no mailbox."""
    first = batch[0]
    skeleton, sender = first.skeleton, mailbox(first.sender)
    domain = (account.reply_address or sender.address).rpartition("@")[2]
    tags = _Tags()
    common = {
        **_reply_to(batch, sender, account.reply_address, tags),
        **_settings(first, account),
        **_attachments(first.attachments),
    }
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
                "headers": {
                    "Message-ID": f"<{safe_key(message.key)}@{domain}>",  # answers name it
                    "Auto-Submitted": "auto-generated",  # RFC 3834: so that no absence answers it
                    **{name: _header(value) for name, value in message.headers.items()},
                },
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
        **common,
    }
    return json.dumps(mail, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _reply_to(batch: Sequence[Message], sender: Mailbox, address: str, tags: _Tags) -> dict[str, Any]:
    """Where answers go. It stands in a request once, and SendGrid substitutes in it, by its documentation, as
    in subject and content: so each message's own key comes into it."""
    given = answers_to(batch[0])
    if not address:
        return {"reply_to": _person(given.address, given.name)} if given else {}
    local, _, domain = address.rpartition("@")
    key = tags.stand_in(tuple(safe_key(message.key) for message in batch))
    return {"reply_to": _person(f"{local}+{key}@{domain}", (given or sender).name)}


def _settings(message: Message, account: Account) -> dict[str, Any]:
    """What the account's settings add to a request."""
    names = (*(message.labels if account.labels else ()), *account.categories)
    found: dict[str, Any] = {}
    if categories := list(dict.fromkeys(names))[:MOST_CATEGORIES]:
        found["categories"] = categories
    if account.group is not None and _can_be_left(message):
        found["asm"] = {"group_id": account.group}
        if account.groups_to_display:
            found["asm"]["groups_to_display"] = list(account.groups_to_display)
    if account.sandbox_mode:
        found["mail_settings"] = {"sandbox_mode": {"enable": True}}
    return found


def _attachments(files: Sequence[Attachment]) -> dict[str, Any]:
    attached = [
        {
            "content": _encoded(file),
            "type": file.media_type,
            "filename": one_line(file.name),
            "disposition": "attachment",
        }
        for file in files
    ]
    return {"attachments": attached} if attached else {}


@lru_cache(maxsize=16)
def _encoded(file: Attachment) -> str:
    return b64encode(file.content).decode("ascii")


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
        stand_ins = {hole: self.stand_in(tuple(own[hole] for own in values)) for hole in set(holes)}
        return fill(parts, holes, [stand_ins.get(hole, "") for hole in range(max(holes, default=-1) + 1)])

    def substitutions(self, count: int) -> Iterable[dict[str, str]]:
        """For each of so many messages its value for each tag."""
        if not self._by_values:
            return ({} for _ in range(count))
        return (
            dict(zip(self._by_values.values(), own, strict=True))
            for own in zip(*self._by_values, strict=True)
        )

    def stand_in(self, row: tuple[str, ...]) -> str:
        """What stands for these values, one a message: themselves where all are the same, else their tag."""
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
