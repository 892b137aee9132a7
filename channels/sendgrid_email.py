"""Email through SendGrid: up to a thousand messages a request, and its event webhook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from channels import sendgrid_events as events
from channels import sendgrid_payload as payload
from channels.mime import address
from holdfast.channel import (
    Capabilities,
    ChannelSettings,
    Message,
    Outcome,
    Rejected,
    RejectReason,
    Response,
    require_fit,
)
from holdfast.errors import AnswerRefused, BatchRefused, SettingsError
from holdfast.units import Timeout


class SendgridSettings(ChannelSettings):
    """Settings of the SendGrid channel."""

    api_key: SecretStr = Field(description="A secret, with the permission Mail Send.")
    webhook_key: str | None = Field(
        None, description="The public key of the signed event webhook. Without it no answer is believed."
    )
    base_url: str = Field(
        "https://api.sendgrid.com",
        pattern=r"^https?://[^\s/@?#]+(/[^\s?#@]*)?$",
        description="`https://api.eu.sendgrid.com` for accounts in the EU, or a stand-in.",
    )
    substitution_bytes: int = Field(
        10_000,
        ge=0,
        le=1_000_000,
        description="The most bytes of values a message; one with more goes in a request of its own.",
    )
    batch_size: int = Field(1000, ge=1, le=1000, description="The most messages a request.")
    concurrency: int = Field(4, ge=1, le=64, description="The most requests at once.")
    timeout: Timeout = Field(
        timedelta(seconds=60), description="How long to wait for SendGrid's answer, like `60s`."
    )

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not (text and text.isascii() and text.isprintable() and " " not in text):
            raise PydanticCustomError("api_key", "not an API key; expected ASCII without spaces")
        return value


class SendgridChannel:
    """An account at SendGrid."""

    Settings: ClassVar[type[ChannelSettings]] = SendgridSettings

    def __init__(self, name: str, settings: SendgridSettings) -> None:
        from channels.sendgrid_transport import Transport  # httpx only for who sends

        self.name = name
        self.capabilities = self.describe(settings)
        self._limits = payload.Limits(settings.batch_size, settings.substitution_bytes)
        try:
            self._key = events.EventKey(settings.webhook_key) if settings.webhook_key else None
        except ValueError as error:
            raise SettingsError(
                f"channel {name!r}: webhook_key: {error}",
                hint="copy the verification key from SendGrid: Settings, Mail Settings, Event Webhooks",
            ) from None
        self._transport = Transport(name, settings)

    @classmethod
    def describe(cls, settings: SendgridSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        return Capabilities(
            kind="email", html=True, batch_size=settings.batch_size, concurrency=settings.concurrency
        )

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """The messages by skeleton, within SendGrid's limits of count and bytes, an address once."""
        return payload.split(messages, self._limits)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Sends the batch in one request: SendGrid takes all of it or nothing, and says so once."""
        require_fit(self.name, self.capabilities, batch)
        if len({(message.skeleton, message.sender) for message in batch}) > 1:
            raise BatchRefused(f"channel {self.name!r}: messages of one request share skeleton and sender")
        addresses = [address(message.to) for message in batch]
        going = [(message, to) for message, to in zip(batch, addresses, strict=True) if to is not None]
        rejected: Outcome = Rejected(RejectReason.BAD_ADDRESS, "not an email address")
        if not going:
            return [rejected] * len(batch)
        messages, recipients = zip(*going, strict=True)
        outcome = self._transport.post(payload.body(messages, recipients), len(going))
        return [rejected if to is None else outcome for to in addresses]

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """Nothing: SendGrid answers by its webhook."""
        return {}

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless SendGrid signed these very bytes, and lately."""
        if self._key is None:
            raise AnswerRefused(
                f"channel {self.name!r} has no webhook_key to check SendGrid's signature with",
                hint="turn on the signed event webhook at SendGrid and set webhook_key",
            )
        self._key.verify(headers, body, now)

    def parse(self, body: bytes) -> list[Response]:
        """The responses in a webhook's body. Raises ValueError for one that is no list of events."""
        return events.parse(body)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()
