"""SMS through Twilio; delivery and answers by its webhooks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from channels import twilio_events as events
from channels.one_a_call import Answer, Call, OneACall, OneACallSettings, sendable
from channels.sms_text import segments
from holdfast.audience.addresses import e164
from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    InDoubt,
    Message,
    Outcome,
    Rejected,
    RejectReason,
    Response,
    Retry,
    Told,
)
from holdfast.errors import AnswerRefused, SettingsError
from holdfast.units import OneOrMore, WebAddress

LONGEST_MESSAGE = 1600

_FORMS = {
    "account_sid": (re.compile(r"AC[0-9a-f]{32}"), "AC and 32 digits or letters a to f"),
    "auth_token": (re.compile(r"[!-~]{1,128}"), "the token as the console shows it"),
    "sender": (
        re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 +_&-]{1,11}"),
        "a number like +4915112345678, a short code, or a name of up to 11 letters and digits",
    ),
    "messaging_service_sid": (re.compile(r"MG[0-9a-f]{32}"), "MG and 32 digits or letters a to f"),
}

_SENDER = ("Twilio does not let the sender send", "check sender or messaging_service_sid in Twilio's console")
NEEDS_OPERATOR = {
    21212: _SENDER,  # invalid
    21603: _SENDER,  # missing
    21606: _SENDER,  # cannot send messages
    21659: _SENDER,  # is not a Twilio number
    21660: _SENDER,  # is another account's
    21661: _SENDER,  # cannot send SMS
    21701: _SENDER,  # there is no such messaging service
    21703: _SENDER,  # a messaging service without numbers
    21705: _SENDER,  # an invalid messaging service
    21608: ("Twilio takes the account for a trial", "upgrade it, or verify every number that it writes to"),
    21609: ("Twilio cannot call webhook_url", "set it to an address that the internet reaches"),
}
# A short code writes to its own country alone, a name not to every one: it is about the number then.
_NOT_TO_EVERY_COUNTRY = frozenset({21606, 21659})
_QUEUE_IS_FULL = 21611  # the sender's own, which holds some hours of messages


class TwilioSettings(OneACallSettings):
    """Settings of the Twilio channel."""

    base_url: WebAddress = Field(
        "https://api.twilio.com", description="Where Twilio's API is, or a stand-in."
    )
    account_sid: str = Field(description="The account's SID: AC…")
    auth_token: OneOrMore[SecretStr] = Field(
        min_length=1,
        description="The account's auth token, or a list: new and old. A secret; it also signs webhooks.",
    )
    sender: str | None = Field(None, description="A number, a short code or a name to send from.")
    messaging_service_sid: str | None = Field(
        None, description="The messaging service to send from (MG…), instead of a sender."
    )
    webhook_url: WebAddress | None = Field(
        None, description="The public address of the channel's webhook, exactly as Twilio calls it."
    )
    max_segments: int = Field(10, ge=1, le=24, description="The most short messages a text may become.")

    @model_validator(mode="after")
    def _one_sender(self) -> Self:
        if (self.sender is None) == (self.messaging_service_sid is None):
            raise PydanticCustomError("sender", "expected sender or messaging_service_sid, one of them")
        return self


class TwilioChannel(OneACall):
    """A sender at Twilio. `provider_id` is a message's SID."""

    Settings: ClassVar[type[ChannelSettings]] = TwilioSettings
    provider = "Twilio"
    check = "check account_sid and auth_token in Twilio's console"

    def __init__(self, name: str, settings: TwilioSettings) -> None:
        self._tokens = [token.get_secret_value() for token in settings.auth_token]
        for setting, (form, expected) in _FORMS.items():
            values = self._tokens if setting == "auth_token" else [getattr(settings, setting)]
            if not all(value is None or form.fullmatch(value) for value in values):
                raise SettingsError(f"channel {name!r}: {setting}: expected {expected}")
        self._path = f"/2010-04-01/Accounts/{settings.account_sid}/Messages.json"
        self._always = {
            "From": settings.sender,
            "MessagingServiceSid": settings.messaging_service_sid,
            "StatusCallback": settings.webhook_url,
        }
        super().__init__(name, settings)

    @classmethod
    def describe(cls, settings: TwilioSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        return Capabilities(kind="sms", concurrency=settings.concurrency)

    def auth(self) -> tuple[str, str]:
        """The account and its token, the new one."""
        return self.settings.account_sid, self._tokens[0]

    def call(self, message: Message) -> Call | Rejected:
        """The form that makes a message."""
        number = e164(message.to)
        if not number:
            return Rejected(RejectReason.BAD_ADDRESS, "not an E.164 number")
        text = sendable(message.text).strip()
        if not text:
            return Rejected(RejectReason.CONTENT, "empty")
        if len(text) > LONGEST_MESSAGE:
            return Rejected(RejectReason.TOO_LARGE, "over 1600 characters")
        if (count := segments(text)) > self.settings.max_segments:
            return Rejected(RejectReason.TOO_LARGE, f"{count} segments")
        given = {"To": number, "Body": text, **self._always}
        return Call(self._path, form={key: value for key, value in given.items() if value is not None})

    def taken(self, answer: Answer) -> Outcome:
        """Accepted where the answer has the message's SID."""
        sid = answer.body.get("sid")
        return Accepted(sid) if isinstance(sid, str) and sid else InDoubt("unreadable answer")

    def refused(self, answer: Answer) -> Outcome | None:
        """What a refusal means by Twilio's code; the rest is for an operator, or the base."""
        code = answer.body.get("code")
        if not isinstance(code, int) or answer.status >= 500:
            code = 0
        if code in _NOT_TO_EVERY_COUNTRY and not (self.settings.sender or "+").startswith("+"):
            return Rejected(RejectReason.BLOCKED, str(code))
        if code in NEEDS_OPERATOR:
            raise self.unavailable(*NEEDS_OPERATOR[code], status=code)
        if code == _QUEUE_IS_FULL:
            return Retry(answer.retry_after, str(code))
        if reason := events.REASONS.get(code):
            return Rejected(reason, str(code))
        if answer.status == 404:
            raise self.unavailable("there is no such account", "check account_sid and base_url", 404)
        return None

    # --- what comes back ------------------------------------------------------------------------------

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless Twilio signed this form for `webhook_url`. It signs no time."""
        if self.settings.webhook_url is None:
            raise AnswerRefused(
                f"channel {self.name!r} has no webhook_url to check Twilio's signature with",
                hint="set webhook_url to the public address of the channel's webhook",
            )
        events.verify(headers, body, self.settings.webhook_url, self._tokens)

    def parse(self, body: bytes) -> list[Response]:
        """The response in a form that was verified. Raises ValueError for a body that is none."""
        return list(self.told(body).responses)

    def told(self, body: bytes) -> Told:
        """What such a form says."""
        return events.read(body)
