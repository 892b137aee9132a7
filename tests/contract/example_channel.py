"""A whole channel: hands messages to a print shop that collects a file of JSON lines."""

import json
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import Field, SecretStr

from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    Message,
    Outcome,
    Rejected,
    RejectReason,
    by_count,
    require_fit,
)
from holdfast.errors import ChannelUnavailable


class PrintShopSettings(ChannelSettings):
    """Settings of the print shop."""

    file: Path = Field(description="The file that the shop collects.")
    account: SecretStr = Field(description="The account that the shop bills.")


class PrintShopChannel:
    """A file that messages are appended to, one a line."""

    Settings = PrintShopSettings

    def __init__(self, name: str, settings: PrintShopSettings) -> None:
        self.name = name
        self.capabilities = self.describe(settings)
        self._account = settings.account.get_secret_value()
        self._lock = threading.Lock()
        self._file = settings.file.open("a", encoding="utf-8", errors="replace")

    @classmethod
    def describe(cls, settings: PrintShopSettings) -> Capabilities:
        return Capabilities(kind="letter", batch_size=50)

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        return by_count(messages, self.capabilities.batch_size)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        require_fit(self.name, self.capabilities, batch)
        outcomes: list[Outcome] = []
        with self._lock:  # calls come from several threads
            if self._file.closed:
                raise ChannelUnavailable(f"channel {self.name!r} is closed")
            for message in batch:
                if not message.to.strip():
                    outcomes.append(Rejected(RejectReason.BAD_ADDRESS))
                    continue
                letter = {
                    "account": self._account,
                    "key": message.key,
                    "to": message.to,
                    "text": message.text,
                }
                self._file.write(json.dumps(letter) + "\n")
                outcomes.append(Accepted(provider_id=message.key))
            self._file.flush()
        return outcomes

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        return {}

    def close(self) -> None:
        self._file.close()
