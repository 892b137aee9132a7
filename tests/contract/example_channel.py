"""A whole channel: hands messages to a print shop that collects a file of JSON lines."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock

from pydantic import Field, SecretStr

from holdfast import channel as port
from holdfast.errors import ChannelUnavailable


class PrintShopSettings(port.ChannelSettings):
    """Settings of the print shop."""

    file: Path = Field(description="The file that the shop collects.")
    account: SecretStr = Field(description="The account that the shop bills.")


class PrintShopChannel:
    """A file that messages are appended to, one a line."""

    Settings = PrintShopSettings

    def __init__(self, name: str, settings: PrintShopSettings) -> None:
        self.name, self.capabilities = name, self.describe(settings)
        self._account = settings.account.get_secret_value()
        self._lock = Lock()
        self._file = settings.file.open("a", encoding="utf-8", errors="replace")

    @classmethod
    def describe(cls, settings: PrintShopSettings) -> port.Capabilities:
        return port.Capabilities(kind="letter", batch_size=50)

    def batches(self, messages: Sequence[port.Message]) -> Iterator[Sequence[port.Message]]:
        return port.by_count(messages, self.capabilities.batch_size)

    def send(self, batch: Sequence[port.Message]) -> list[port.Outcome]:
        port.require_fit(self.name, self.capabilities, batch)
        with self._lock:  # calls come from several threads
            if self._file.closed:
                raise ChannelUnavailable(f"channel {self.name!r} is closed")
            outcomes = [self._write(message) for message in batch]
            self._file.flush()
        return outcomes

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, port.Outcome]:
        return {}

    def close(self) -> None:
        self._file.close()

    def _write(self, message: port.Message) -> port.Outcome:
        if not message.to.strip():
            return port.Rejected(port.RejectReason.BAD_ADDRESS)
        letter = {"key": message.key, "to": message.to, "text": message.text}
        self._file.write(json.dumps({"account": self._account, **letter}) + "\n")
        return port.Accepted(provider_id=message.key)
