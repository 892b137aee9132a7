"""Telegram: messages of a bot to who started it; answers by its webhook, or by asking for them."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from pydantic import Field, SecretStr

from channels import telegram_updates as updates
from channels.one_a_call import Answer, Call, OneACall, OneACallSettings, sendable
from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    InDoubt,
    Message,
    Outcome,
    Polled,
    Rejected,
    RejectReason,
    Response,
    Retry,
    Told,
)
from holdfast.errors import AnswerRefused, ChannelUnavailable, SettingsError
from holdfast.units import OneOrMore, WebAddress

LONGEST_MESSAGE = 4096
_UPDATES_A_CALL = 100

_TOKEN = re.compile(r"\d{1,20}:[A-Za-z0-9_-]{20,100}", re.ASCII)
_WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
_CHAT_ID = re.compile(r"-?[1-9]\d{0,15}", re.ASCII)  # 52 bits; those of groups are negative
_SECRET_HEADER = "x-telegram-bot-api-secret-token"  # noqa: S105

# Refusals have no codes of their own: these are beginnings of their descriptions, in lower case.
REFUSALS = {
    "forbidden: bot was blocked by the user": RejectReason.OPTED_OUT,
    "forbidden: bot was kicked": RejectReason.OPTED_OUT,
    "forbidden: user is deactivated": RejectReason.BAD_ADDRESS,
    "forbidden: bot can't send messages to bots": RejectReason.BAD_ADDRESS,
    "bad request: chat not found": RejectReason.BAD_ADDRESS,
    "bad request: peer_id_invalid": RejectReason.BAD_ADDRESS,
    "bad request: user not found": RejectReason.BAD_ADDRESS,
    "bad request: group chat was upgraded": RejectReason.BAD_ADDRESS,  # it has another id since
    "bad request: not enough rights": RejectReason.BLOCKED,
    "bad request: have no rights": RejectReason.BLOCKED,
    "bad request: chat_write_forbidden": RejectReason.BLOCKED,
    "bad request: message is too long": RejectReason.TOO_LARGE,
    "bad request: message_too_long": RejectReason.TOO_LARGE,
    # Whoever never started the bot, and what else Telegram forbids for one chat.
    "forbidden: ": RejectReason.BLOCKED,
}


class TelegramSettings(OneACallSettings):
    """Settings of the Telegram channel."""

    base_url: WebAddress = Field(
        "https://api.telegram.org",
        description="Where the Bot API is: Telegram's, your own server, a stand-in.",
    )
    bot: str = Field(
        "",
        pattern=r"^(?:[A-Za-z][A-Za-z0-9_]{4,31})?$",
        description="The bot's name, without @: turns on `links.telegram`, which invites customers to it.",
    )
    token: SecretStr = Field(description="The bot's token, as BotFather shows it. A secret.")
    webhook_secret: OneOrMore[SecretStr] = Field(
        (),
        description="The secret_token of the bot's webhook, or a list: new and old. A secret; without it"
        " Telegram is asked.",
    )


class TelegramChannel(OneACall):
    """A bot. `provider_id` is the chat's id and the message's: Telegram numbers each chat's messages anew."""

    Settings: ClassVar[type[ChannelSettings]] = TelegramSettings
    provider = "Telegram"
    check = "take a new token from @BotFather, and set it"

    def __init__(self, name: str, settings: TelegramSettings) -> None:
        token = settings.token.get_secret_value()
        if not _TOKEN.fullmatch(token):
            raise SettingsError(
                f"channel {name!r}: token: not a bot's token; expected a number, a colon and a long word",
                hint="copy it from @BotFather whole",
            )
        self._path = f"/bot{token}/"
        self._webhook_secrets = [secret.get_secret_value() for secret in settings.webhook_secret]
        if not all(map(_WEBHOOK_SECRET.fullmatch, self._webhook_secrets)):
            raise SettingsError(
                f"channel {name!r}: webhook_secret: expected up to 256 of A-Z, a-z, 0-9, _ and -",
                hint="Telegram takes no other characters in a secret_token",
            )
        super().__init__(name, settings)

    @classmethod
    def describe(cls, settings: TelegramSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        invitation = f"https://t.me/{settings.bot}?start=" if settings.bot else ""
        return Capabilities(kind="telegram", invitation=invitation, concurrency=settings.concurrency)

    def call(self, message: Message) -> Call | Rejected:
        """sendMessage, as plain text: nothing in it is taken for markup."""
        chat_id = message.to.strip(" ")
        if not _CHAT_ID.fullmatch(chat_id):
            return Rejected(RejectReason.BAD_ADDRESS, "not a chat id")
        text = sendable(message.text).strip()  # Telegram cuts what is around it, and counts after that
        if not text:
            return Rejected(RejectReason.CONTENT, "empty")
        if len(text) > LONGEST_MESSAGE:
            return Rejected(RejectReason.TOO_LARGE)
        # To show a preview Telegram follows the first link, which would count as a click.
        quiet = {"is_disabled": True}
        return self._method("sendMessage", chat_id=int(chat_id), text=text, link_preview_options=quiet)

    def taken(self, answer: Answer) -> Outcome:
        """Accepted where the answer has the message that was sent."""
        sent = answer.body.get("result")
        name = updates.message_name(sent) if answer.body.get("ok") is True else ""
        return Accepted(name) if name else InDoubt("unreadable answer")

    def refused(self, answer: Answer) -> Outcome | None:
        """What Telegram says of one chat or message; the rest is for an operator, or the base."""
        if answer.status == 429:  # of this chat or of the bot, which Telegram does not say: of all, then
            return Retry(_asked_pause(answer) or answer.retry_after, "429")
        if answer.status == 404:
            # So it answers to a token that cannot be one, too.
            raise self.unavailable("there is no such bot at base_url", "check token and base_url", 404)
        if answer.body.get("ok") is not False or answer.status not in (400, 403):
            return None
        description = str(answer.body.get("description", "")).lower()
        known = (reason for start, reason in REFUSALS.items() if description.startswith(start))
        reason = next(known, None)
        return Rejected(reason, str(answer.status)) if reason else None

    # --- what comes back ------------------------------------------------------------------------------

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless a secret of the webhook came along; Telegram signs nothing."""
        if not self._webhook_secrets:
            raise AnswerRefused(
                f"channel {self.name!r} has no webhook_secret, so it takes no answers",
                hint="set webhook_secret, and give it to setWebhook as secret_token",
            )
        given = headers.get(_SECRET_HEADER, "").encode(errors="replace")
        if not any(hmac.compare_digest(given, secret.encode()) for secret in self._webhook_secrets):
            raise AnswerRefused(
                "Telegram's secret token is missing or wrong",
                hint="give webhook_secret to setWebhook as secret_token",
            )

    def parse(self, body: bytes) -> list[Response]:
        """The response in an update. Raises ValueError for a body that is none."""
        return list(self.told(body).responses)

    def told(self, body: bytes) -> Told:
        """What an update says."""
        try:
            update = json.loads(body)
        except (ValueError, RecursionError):
            raise ValueError("no JSON") from None  # the foreign error holds the body
        if not isinstance(update, dict) or updates.number(update) is None:
            raise ValueError("no update")
        response = updates.response(update)
        return Told(left_out={updates.type_of(update): 1}) if response is None else Told([response])

    def poll(self, cursor: str) -> Polled:
        """The next updates, a hundred at most. The first time all that wait, which are a day old at most.

        Nothing where there is a webhook. Asking with a cursor tells Telegram to forget what came before it,
        so a call takes one page: what it gave is kept before the next one is asked for.
        """
        if self._webhook_secrets:
            return Polled((), cursor)
        call = self._method(
            "getUpdates",
            offset=int(cursor or 0),
            limit=_UPDATES_A_CALL,
            timeout=0,
            allowed_updates=updates.TYPES,
        )
        answer = self.exchange(call)
        if not isinstance(answer, Answer):
            raise self.unavailable(
                f"Telegram does not answer now ({answer.detail})", "it is asked again later"
            )
        found = answer.body.get("result")
        if answer.status != 200 or not isinstance(found, list):
            raise self._no_updates(answer)
        numbered = [(number, update) for update in found if (number := updates.number(update)) is not None]
        new = [response for _, update in numbered if (response := updates.response(update)) is not None]
        return Polled(new, str(max(number for number, _ in numbered) + 1) if numbered else cursor)

    def _no_updates(self, answer: Answer) -> ChannelUnavailable:
        if answer.status == 409:  # the bot has a webhook, or somebody else asks for its updates
            hint = "set webhook_secret, or call deleteWebhook; let nothing else ask for the bot's updates"
            return self.unavailable("Telegram gives the bot's updates to somebody else", hint, 409)
        if answer.status in (401, 404):
            return self.unavailable("Telegram does not know the bot", self.check, answer.status)
        return self.unavailable("Telegram gives no updates", "it is asked again later", answer.status)

    def _method(self, method: str, **params: Any) -> Call:
        return Call(self._path + method, json=params)


def _asked_pause(answer: Answer) -> timedelta | None:
    parameters = answer.body.get("parameters")
    seconds = parameters.get("retry_after") if isinstance(parameters, dict) else None
    return timedelta(seconds=min(seconds, 10**9)) if isinstance(seconds, int) and seconds >= 0 else None
