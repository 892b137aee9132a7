"""Email through SendGrid: up to a thousand messages a request, and its event webhook."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Self

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from channels import sendgrid_events as events
from channels import sendgrid_inbound as inbound
from channels import sendgrid_payload as payload
from channels.mime import address
from channels.sendgrid_signature import PublicKeys
from channels.verp import BounceAddress
from holdfast.channel import (
    Capabilities,
    ChannelSettings,
    Message,
    Outcome,
    Rejected,
    RejectReason,
    Response,
    Told,
    require_fit,
)
from holdfast.errors import AnswerRefused, BatchRefused, SettingsError
from holdfast.units import OneOrMore, Timeout

# SendGrid takes ASCII, and keeps them where nothing personal may be: they are texts of the file, never data.
Category = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]{0,253}[!-~])?$")]
# RFC 5321 gives what stands before the @ 64 characters: a key takes up to 55 of them, and a + one.
_LONGEST_MAILBOX = 8
_PASSWORD = re.compile(r"[A-Za-z0-9._~-]{16,128}")


class SendgridSettings(ChannelSettings):
    """Settings of the SendGrid channel."""

    api_key: SecretStr = Field(description="A secret, with the permission Mail Send.")
    webhook_key: OneOrMore[str] = Field(
        (),
        description="The public key of the signed event webhook, or a list: new and old."
        " Without it no answer is believed.",
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
    campaign_categories: bool = Field(
        True, description="The names of campaign and step are categories of SendGrid's statistics."
    )
    categories: list[Category] = Field(
        default_factory=list,
        max_length=payload.MOST_CATEGORIES - 2,
        description="More categories of every message: 8 at most, of ASCII.",
    )
    unsubscribe_group: int | None = Field(
        None, ge=1, description="The id of the unsubscribe group of messages that can be unsubscribed from."
    )
    groups_to_display: list[Annotated[int, Field(ge=1)]] = Field(
        default_factory=list,
        max_length=25,
        description="The groups that its page offers, 25 at most. Needs `unsubscribe_group`.",
    )
    sandbox_mode: bool = Field(
        False, description="SendGrid checks every request and delivers nothing: for trying out."
    )
    reply_address: str | None = Field(
        None,
        description="An address of the domain that Inbound Parse takes mail for. Absent: `brand: reply_to`.",
    )
    inbound_key: OneOrMore[str] = Field(
        (), description="The public key of the security policy that signs inbound mail, or a list."
    )
    inbound_password: OneOrMore[SecretStr] = Field(
        (), description="A secret: the password in the address that Inbound Parse posts to, or a list."
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

    @field_validator("reply_address")
    @classmethod
    def _has_room_for_a_key(cls, value: str | None) -> str | None:
        at = None if value is None else address(value)
        if value is not None and (at is None or "+" in at):
            raise PydanticCustomError(
                "reply_address", "not an address; expected one like reply@in.acme.example"
            )
        if at is not None and len(at.partition("@")[0]) > _LONGEST_MAILBOX:
            raise PydanticCustomError(
                "reply_address", "too long for a key beside it; expected 8 characters at most before the @"
            )
        return at

    @model_validator(mode="after")
    def _displays_groups_of_one(self) -> Self:
        if self.groups_to_display and self.unsubscribe_group is None:
            raise PydanticCustomError(
                "groups", "groups_to_display belong to a group; expected `unsubscribe_group` beside it"
            )
        return self

    @model_validator(mode="after")
    def _knows_what_is_answered(self) -> Self:
        if self.reply_address is None and (self.inbound_key or self.inbound_password):
            raise PydanticCustomError(
                "inbound", "inbound mail is known by the address it answers to; expected `reply_address`"
            )
        return self

    @property
    def account(self) -> payload.Account:
        """What requests carry."""
        return payload.Account(
            labels=self.campaign_categories,
            categories=tuple(self.categories),
            group=self.unsubscribe_group,
            groups_to_display=tuple(self.groups_to_display),
            reply_address=self.reply_address or "",
            sandbox_mode=self.sandbox_mode,
        )


class SendgridChannel:
    """An account at SendGrid."""

    Settings: ClassVar[type[ChannelSettings]] = SendgridSettings

    def __init__(self, name: str, settings: SendgridSettings) -> None:
        from channels.sendgrid_transport import Transport  # httpx only for who sends

        self.name = name
        self.capabilities = self.describe(settings)
        self._limits = payload.Limits(settings.batch_size, settings.substitution_bytes)
        self._account = settings.account
        self._key = _public_keys(
            name, "webhook_key", settings.webhook_key, "Settings, Mail Settings, Event Webhooks"
        )
        self._inbound_key = _public_keys(
            name, "inbound_key", settings.inbound_key, "the public_key of Inbound Parse's security policy"
        )
        self._inbound_passwords = _passwords(name, settings.inbound_password)
        self._replies = BounceAddress(settings.reply_address) if settings.reply_address else None
        self._transport = Transport(name, settings)

    @classmethod
    def describe(cls, settings: SendgridSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        return Capabilities(
            kind="email",
            html=True,
            batch_size=settings.batch_size,
            concurrency=settings.concurrency,
            attachments=True,
            rehearsal=settings.sandbox_mode,
        )

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """The messages by skeleton, within SendGrid's limits of count and bytes, an address once."""
        return payload.split(messages, self._limits, self._account)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Sends the batch in one request: SendGrid takes all of it or nothing, and says so once."""
        require_fit(self.name, self.capabilities, batch)
        if len({payload.shared(message, self._account) for message in batch}) > 1:
            raise BatchRefused(f"channel {self.name!r}: messages of one request share skeleton and sender")
        addresses = [address(message.to) for message in batch]
        going = [(message, to) for message, to in zip(batch, addresses, strict=True) if to is not None]
        rejected: Outcome = Rejected(RejectReason.BAD_ADDRESS, "not an email address")
        if not going:
            return [rejected] * len(batch)
        messages, recipients = zip(*going, strict=True)
        outcome = self._transport.post(payload.body(messages, recipients, self._account), len(going))
        return [rejected if to is None else outcome for to in addresses]

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """Nothing: SendGrid answers by its webhook."""
        return {}

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless SendGrid signed these very bytes, and lately; inbound mail may have a
        password instead."""
        if inbound.is_form(body):
            inbound.verify(self.name, self._inbound_key, self._inbound_passwords, headers, body, now)
            return
        if self._key is None:
            raise AnswerRefused(
                f"channel {self.name!r} has no webhook_key to check SendGrid's signature with",
                hint="turn on the signed event webhook at SendGrid and set webhook_key",
            )
        self._key.verify(headers, body, now)

    def parse(self, body: bytes) -> list[Response]:
        """The responses in a webhook's body. Raises ValueError for what is neither events nor mail."""
        return list(self.told(body).responses)

    def told(self, body: bytes) -> Told:
        """What a body says, the account's standing with SendGrid too."""
        if inbound.is_form(body) or inbound.is_condensed(body):
            return Told(inbound.parse(body, self._replies) if self._replies else ())
        return events.read(body)

    def room_for(self, headers: Mapping[str, str]) -> int | None:
        """That of mail for who knows its password, or where there is none brings a signature."""
        is_mail = inbound.may_be_mail(self._inbound_key, self._inbound_passwords, headers)
        return inbound.LARGEST_FORM if is_mail else None

    def condensed(self, body: bytes) -> bytes:
        """Events as they are; of mail what is read of it."""
        return inbound.condensed(body) if inbound.is_form(body) else body

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()


def _public_keys(name: str, setting: str, texts: Sequence[str], where: str) -> PublicKeys | None:
    given = [text for text in texts if text]
    try:
        return PublicKeys(*given) if given else None
    except ValueError as error:
        raise SettingsError(
            f"channel {name!r}: {setting}: {error}", hint=f"copy the verification key from SendGrid: {where}"
        ) from None


def _passwords(name: str, given: Sequence[SecretStr]) -> list[str]:
    """Checked when they are known: until then the settings hold any word in their place."""
    passwords = [password.get_secret_value() for password in given]
    if not all(map(_PASSWORD.fullmatch, passwords)):
        raise SettingsError(
            f"channel {name!r}: inbound_password: not usable in an address,"
            " expected 16 to 128 letters, digits, . _ ~ and -",
            hint="make one with: openssl rand -hex 24",
        )
    return passwords
