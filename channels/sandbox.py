"""The sandbox: writes every message, or every post, to a folder, and needs no account.

Email becomes real .eml files that any mail program opens, other kinds .txt files. A file is named for its
message's key and appears whole or not at all, so a message cannot be written twice, and whether it was
written can be looked up.

It also takes answers, so that the way back can be tried: a JSON list of events, signed as Standard Webhooks
(https://www.standardwebhooks.com) are.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from channels import standard_webhooks
from channels.mime import compose, mailbox, one_line, safe_key
from channels.standard_webhooks import WebhookSecrets
from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    Message,
    Outcome,
    PostNumbers,
    Rejected,
    Response,
    Retry,
    Told,
    by_count,
    require_fit,
)
from holdfast.errors import ChannelUnavailable, SettingsError


class SandboxSettings(ChannelSettings):
    """Settings of the sandbox."""

    kind: str = Field(
        "email",
        pattern=r"^[a-z][a-z0-9_]*$",
        description="What it stands in for: `email`, `sms`, `telegram` …",
    )
    folder: Path | None = Field(
        None, description="Where the files go. Default: `.holdfast/sandbox/` and the channel's name."
    )
    batch_size: int = Field(500, ge=1, le=10_000, description="Messages taken a call.")
    post: bool = Field(False, description="It publishes posts, and takes no messages.")
    webhook_key: WebhookSecrets = Field(
        (), description="A secret that signs answers, or a list: new and old. Absent: none are taken."
    )


class SandboxChannel:
    """A folder that takes messages."""

    Settings: ClassVar[type[ChannelSettings]] = SandboxSettings

    def __init__(self, name: str, settings: SandboxSettings) -> None:
        self.name = name
        self.capabilities = self.describe(settings)
        self.folder = settings.folder or Path(".holdfast", "sandbox", name)
        self._extension = ".eml" if settings.kind == "email" else ".txt"
        self._webhook_key = settings.webhook_key
        self._is_closed = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"channel {name!r}: the folder {self.folder} cannot be made ({_code(error)})",
                hint="give `folder` a place that can be written to",
            ) from error

    @classmethod
    def describe(cls, settings: SandboxSettings) -> Capabilities:
        """What a sandbox with these settings can do, without opening it."""
        return Capabilities(
            kind=settings.kind,
            html=settings.kind == "email",
            batch_size=settings.batch_size,
            idempotent=True,
            lookup=True,
            posts=settings.post,
            attachments=settings.kind == "email",
        )

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """The messages by `batch_size`."""
        return by_count(messages, self.capabilities.batch_size)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Writes each message that is not there yet. Raises ChannelUnavailable when the first cannot be."""
        self._require_open()
        if self.capabilities.posts:
            raise ChannelUnavailable(f"channel {self.name!r} publishes posts, it takes no messages")
        require_fit(self.name, self.capabilities, batch)
        if self.capabilities.html:
            for sender in {message.sender for message in batch}:
                mailbox(sender)  # raises before anything is written
        outcomes: list[Outcome] = []
        date = formatdate()  # when the letter was handed over: the channel's own moment, as an MTA stamps it
        for message in batch:
            try:
                outcomes.append(self._write(message, date))
            except OSError as error:
                if not any(isinstance(outcome, Accepted) for outcome in outcomes):
                    raise self._unwritable(error) from error
                outcomes.append(Retry(detail=_code(error)))
        return outcomes

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """Accepted where the message's file is there, Retry where it is not."""
        self._require_open()
        return {key: Accepted(path.name) if (path := self._path(key)).exists() else Retry() for key in keys}

    def publish(self, text: str, key: str = "") -> Outcome:
        """Writes the post, to a file that is named for what it says."""
        self._require_open()
        path = self._post_path(text)
        try:
            self._put(path, text.encode(errors="replace"))
        except OSError as error:
            raise self._unwritable(error) from error
        return Accepted(path.name)

    def find_post(self, text: str, since: datetime) -> str | None:
        """The name of the post's file, where it was written since then."""
        self._require_open()
        path = self._post_path(text)
        return path.name if path.exists() and path.stat().st_mtime >= since.timestamp() else None

    def measure(self, provider_ids: Sequence[str]) -> dict[str, PostNumbers]:
        """Nothing: nobody reads these posts."""
        return {}

    @classmethod
    def problem_with(cls, text: str, settings: SandboxSettings) -> str | None:
        """Nothing: a file takes any text."""
        return None

    def close(self) -> None:
        """Ends the channel; there is nothing to give back."""
        self._is_closed = True

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless `webhook_key` signed these bytes, within five minutes."""
        standard_webhooks.verify(self.name, self._webhook_key, headers, body, now)

    def parse(self, body: bytes) -> list[Response]:
        """The responses in a JSON list of events; see docs/channels.md for an event's fields."""
        return list(self.told(body).responses)

    def told(self, body: bytes) -> Told:
        """What such a list says, with what is left out of it."""
        return standard_webhooks.read(body)

    def _write(self, message: Message, date: str) -> Outcome:
        path = self._path(message.key)
        if path.exists():
            return Accepted(path.name)
        content = self._content(message, date)
        if isinstance(content, Rejected):
            return content
        self._put(path, content)
        return Accepted(path.name)

    def _put(self, path: Path, content: bytes) -> None:
        partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        partial.write_bytes(content)
        partial.rename(path)

    def _unwritable(self, error: OSError) -> ChannelUnavailable:
        return ChannelUnavailable(
            f"channel {self.name!r}: {self.folder} cannot be written to ({_code(error)})",
            hint="free some space there, or allow writing",
        )

    def _content(self, message: Message, date: str) -> bytes | Rejected:
        if not self.capabilities.html:
            subject = f"Subject: {one_line(message.subject)}\n" if message.subject else ""
            return f"To: {one_line(message.to)}\n{subject}\n{message.text}".encode(errors="replace")
        letter = compose(message, date)
        return letter if isinstance(letter, Rejected) else letter.content

    def _path(self, key: str) -> Path:
        return self.folder / (safe_key(key) + self._extension)

    def _post_path(self, text: str) -> Path:
        return self.folder / f"{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:32]}.txt"

    def _require_open(self) -> None:
        if self._is_closed:
            raise ChannelUnavailable(f"channel {self.name!r} is closed")


def _code(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
