"""The sandbox: writes every message to a folder, and needs no account.

Email becomes real .eml files that any mail program opens, other kinds .txt files. A file is named for its
message's key and appears whole or not at all, so a message cannot be written twice, and whether it was
written can be looked up.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from channels.mime import compose, mailbox, one_line, safe_key
from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    Message,
    Outcome,
    Rejected,
    Retry,
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


class SandboxChannel:
    """A folder that takes messages."""

    Settings: ClassVar[type[ChannelSettings]] = SandboxSettings

    def __init__(self, name: str, settings: SandboxSettings) -> None:
        self.name = name
        self.capabilities = self.describe(settings)
        self.folder = settings.folder or Path(".holdfast", "sandbox", name)
        self._extension = ".eml" if settings.kind == "email" else ".txt"
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
        )

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Writes each message that is not there yet. Raises ChannelUnavailable when the first cannot be."""
        self._require_open()
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
                    raise ChannelUnavailable(
                        f"channel {self.name!r}: {self.folder} cannot be written to ({_code(error)})",
                        hint="free some space there, or allow writing",
                    ) from error
                outcomes.append(Retry(detail=_code(error)))
        return outcomes

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """Accepted where the message's file is there, Retry where it is not."""
        self._require_open()
        return {key: Accepted(path.name) if (path := self._path(key)).exists() else Retry() for key in keys}

    def close(self) -> None:
        """Ends the channel; there is nothing to give back."""
        self._is_closed = True

    def _write(self, message: Message, date: str) -> Outcome:
        path = self._path(message.key)
        if path.exists():
            return Accepted(path.name)
        content = self._content(message, date)
        if isinstance(content, Rejected):
            return content
        partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        partial.write_bytes(content)
        partial.rename(path)
        return Accepted(path.name)

    def _content(self, message: Message, date: str) -> bytes | Rejected:
        if not self.capabilities.html:
            subject = f"Subject: {one_line(message.subject)}\n" if message.subject else ""
            return f"To: {one_line(message.to)}\n{subject}\n{message.text}".encode(errors="replace")
        letter = compose(message, date)
        return letter if isinstance(letter, Rejected) else letter.content

    def _path(self, key: str) -> Path:
        return self.folder / (safe_key(key) + self._extension)

    def _require_open(self) -> None:
        if self._is_closed:
            raise ChannelUnavailable(f"channel {self.name!r} is closed")


def _code(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
