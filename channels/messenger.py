"""Messenger through Meta's Send API: messages of a page to who wrote to it within 24 hours."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field

from channels import messenger_events
from channels.graph import GraphChannel, GraphSettings, ObjectId, text
from channels.one_a_call import Answer, Call, sendable
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
    Told,
)

LONGEST_TEXT = 2000
# A customer's id, which only this page knows them by.
_PSID = re.compile(r"[0-9]{5,25}")


class MessengerSettings(GraphSettings):
    """Settings of the Messenger channel."""

    page_id: ObjectId = Field(description="The id of the page that sends.")
    messaging_type: Literal["UPDATE", "RESPONSE"] = Field(
        "UPDATE", description="What Meta is told: `UPDATE`, we begin; `RESPONSE`, an answer to the customer."
    )


class MessengerChannel(GraphChannel):
    """A page at Messenger. `provider_id` is the message's id there."""

    Settings: ClassVar[type[ChannelSettings]] = MessengerSettings
    provider = "Messenger"
    codes = messenger_events.CODES

    @classmethod
    def describe(cls, settings: MessengerSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        return Capabilities(kind="messenger", concurrency=settings.concurrency)

    def call(self, message: Message) -> Call | Rejected:
        """The call that sends the message, or why none can."""
        if not _PSID.fullmatch(message.to):
            return Rejected(RejectReason.BAD_ADDRESS)
        words = sendable(message.text)
        if not words.strip():
            return Rejected(RejectReason.CONTENT, "no text")
        if len(words) > LONGEST_TEXT:
            return Rejected(RejectReason.TOO_LARGE)
        body = {
            "recipient": {"id": message.to},
            "messaging_type": self.settings.messaging_type,
            # Comes back with the message's echo. Under 1,000 characters.
            "message": {"text": words, "metadata": message.key},
        }
        return Call(f"/{self.settings.version}/{self.settings.page_id}/messages", json=body)

    def taken(self, answer: Answer) -> Outcome:
        """Accepted, with the message's id."""
        id_ = text(answer.body, "message_id")
        return Accepted(id_) if id_ else InDoubt("no id")

    def parse(self, body: bytes) -> list[Response]:
        """The responses in a webhook's body, of this page alone."""
        return list(self.told(body).responses)

    def told(self, body: bytes) -> Told:
        """What a webhook's body says of this page."""
        return messenger_events.read(body, self.settings.page_id, self.settings.stop_words)
