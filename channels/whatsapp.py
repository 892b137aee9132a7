"""WhatsApp through Meta's Cloud API: approved templates, or free text to who wrote within 24 hours."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from channels import whatsapp_events
from channels.graph import GraphChannel, GraphSettings, ObjectId, text, written
from channels.one_a_call import Answer, Call, sendable
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
    Told,
)

LONGEST_TEXT = 4096
Template = Annotated[
    str, written(r"[a-z0-9_]{1,512}", "not a template's name; expected small letters, digits and _")
]
Language = Annotated[
    str,
    written(r"[a-z]{2,3}(_[A-Za-z]{2,4})?", "not a language of WhatsApp; expected one like en_US or de"),
]


class WhatsAppSettings(GraphSettings):
    """Settings of the WhatsApp channel."""

    phone_number_id: ObjectId = Field(description="The id of the number that sends; not the number itself.")
    template: Template | None = Field(None, description="The name of an approved template; none: free text.")
    language: Language | None = Field(None, description="The template's language, like `en_US`.")
    parameters: tuple[str, ...] = Field(
        (), description="The names of its body's parameters, a line of the text for each."
    )
    parameter_characters: int = Field(1024, ge=1, le=32768, description="The most characters of all of them.")

    @model_validator(mode="after")
    def _a_whole_template(self) -> Self:
        if (self.template is None) != (self.language is None):
            raise PydanticCustomError("template", "half a template; expected template and language, or none")
        if self.parameters and self.template is None:
            raise PydanticCustomError("template", "parameters of no template; expected template and language")
        return self


class WhatsAppChannel(GraphChannel):
    """A number at WhatsApp. `provider_id` is the message's id there."""

    Settings: ClassVar[type[ChannelSettings]] = WhatsAppSettings
    provider = "WhatsApp"
    codes = whatsapp_events.CODES

    @classmethod
    def describe(cls, settings: WhatsAppSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        # WhatsApp's policy: businesses write to those alone who asked for it.
        return Capabilities(kind="whatsapp", opt_in=True, concurrency=settings.concurrency)

    def call(self, message: Message) -> Call | Rejected:
        """The call that sends the message, or why none can."""
        number = e164(message.to)
        if not number:
            return Rejected(RejectReason.BAD_ADDRESS, "not an E.164 number")
        content = self._content(sendable(message.text))
        if isinstance(content, Rejected):
            return content
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": number,
            # Comes back with each of the message's statuses. Up to 512 characters.
            "biz_opaque_callback_data": message.key,
            **content,
        }
        return Call(f"/{self.settings.version}/{self.settings.phone_number_id}/messages", json=body)

    def taken(self, answer: Answer) -> Outcome:
        """Accepted, with the message's id."""
        messages = answer.body.get("messages")
        id_ = text(messages[0], "id") if isinstance(messages, list) and messages else ""
        return Accepted(id_) if id_ else InDoubt("no id")

    def parse(self, body: bytes) -> list[Response]:
        """The responses in a webhook's body, of this number alone."""
        return list(self.told(body).responses)

    def told(self, body: bytes) -> Told:
        """What a webhook's body says of this number, its template and the account."""
        settings = self.settings
        return whatsapp_events.read(body, settings.phone_number_id, settings.stop_words, settings.template)

    def _content(self, words: str) -> dict[str, Any] | Rejected:
        settings = self.settings
        if not words.strip():
            return Rejected(RejectReason.CONTENT, "no text")
        if settings.template is None:
            if len(words) > LONGEST_TEXT:
                return Rejected(RejectReason.TOO_LARGE)
            return {"type": "text", "text": {"body": words}}
        # WhatsApp refuses parameters with line breaks, tabs or more than four spaces.
        lines = [" ".join(line.split()) for line in (words.splitlines() if settings.parameters else [words])]
        lines = [line for line in lines if line]
        if len(lines) != (len(settings.parameters) or 1):
            return Rejected(RejectReason.CONTENT, "not a line for each parameter")
        if sum(map(len, lines)) > settings.parameter_characters:
            return Rejected(RejectReason.TOO_LARGE)
        filled = [{"type": "text", "text": line} for line in lines]
        for parameter, name in zip(filled, settings.parameters, strict=False):
            if not name.isdecimal():  # {{1}}, {{2}} go by their order
                parameter["parameter_name"] = name
        return {
            "type": "template",
            "template": {
                "name": settings.template,
                "language": {"code": settings.language},
                "components": [{"type": "body", "parameters": filled}],
            },
        }
