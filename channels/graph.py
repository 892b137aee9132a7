"""Meta's Graph API and its webhooks, as WhatsApp and Messenger share them."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from channels.one_a_call import Answer, OneACall, OneACallSettings
from channels.opt_out_words import meant_by
from holdfast.channel import InDoubt, Outcome, Rejected, RejectReason, ResponseKind, Retry
from holdfast.errors import AnswerRefused
from holdfast.units import OneOrMore, WebAddress

# --- settings ---------------------------------------------------------------------------------------


_Written = str | SecretStr | tuple[SecretStr, ...]


def written(form: str, problem: str) -> AfterValidator:
    """Refuses texts and secrets of another form, one or several, with the problem, showing none."""

    def check(value: _Written) -> _Written:
        for one in value if isinstance(value, tuple) else (value,):
            text = one.get_secret_value() if isinstance(one, SecretStr) else one
            if not re.fullmatch(form, text):
                raise PydanticCustomError("form", problem)
        return value

    return AfterValidator(check)


# It stands in a header, where a space or a line break would end it.
_as_shown = written(r"[!-~]+", "not as Meta shows it; expected letters and digits, no spaces")
Secret = Annotated[SecretStr, _as_shown]
Secrets = Annotated[OneOrMore[SecretStr], _as_shown]
# YAML reads digits as a number.
ObjectId = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    written(r"[0-9]{5,25}", "not an id of Meta's; expected digits alone, without a +"),
]
Version = Annotated[
    str,
    written(r"v[0-9]{1,3}\.[0-9]{1,2}", "not a version of the Graph API; expected one like v24.0"),
]


class GraphSettings(OneACallSettings):
    """Settings that both channels have."""

    base_url: WebAddress = Field(
        "https://graph.facebook.com", description="Where the Graph API is, or a stand-in."
    )
    version: Version = Field("v24.0", description="The version of the Graph API, like `v24.0`.")
    access_token: Secret = Field(description="A token of a system user that does not expire. A secret.")
    app_secret: Secrets = Field(
        (),
        description="The app's secret, which signs webhooks, or a list: new and old; without it answers are"
        " refused. A secret.",
    )
    verify_token: Secret | None = Field(
        None, description="A text of your own that Meta repeats when the webhook is set up. A secret."
    )
    stop_words: tuple[str, ...] = Field(
        ("stopp", "stop all", "stop promotions"),
        description="More messages that end it for who sends them, beside `stop` and its like.",
    )


# --- what its refusals mean ---------------------------------------------------------------------------


class Turn(Enum):
    """What a code means that is no refusal for good."""

    EVERYBODY_WAITS = auto()  # not taken: the account goes too fast, or Meta is down
    RECIPIENT_WAITS = auto()  # not taken: this recipient was written to too often
    NOBODY_KNOWS = auto()


@dataclass(frozen=True, slots=True)
class Operator:
    """A code that is of the account, not of a message: what is wrong, and what to do about it."""

    what: str
    hint: str


Meaning = RejectReason | Turn | Operator
# By code, or by code and subcode.
Codes = Mapping[int | tuple[int, int], Meaning]

TOKEN = Operator("Meta does not take the access token", "make a new access_token, and set it")
PERMISSION = Operator(
    "Meta forbids this to the app", "give the app and its token the permission to send messages"
)
UNKNOWN_ID = Operator(
    "Meta does not know the id that messages are sent from, or does not show it to the token",
    "check the id in the settings, and what the token's user may use",
)
RESTRICTED = Operator("Meta has restricted the account", "look at its quality and policies in Meta Business")

GRAPH_CODES: Codes = {
    0: TOKEN,
    1: Turn.NOBODY_KNOWS,  # "invalid request or possible server error"; messages have arrived all the same
    3: PERMISSION,
    4: Turn.EVERYBODY_WAITS,
    10: PERMISSION,
    17: Turn.EVERYBODY_WAITS,
    32: Turn.EVERYBODY_WAITS,
    (100, 33): UNKNOWN_ID,
    190: TOKEN,
    **dict.fromkeys(range(200, 300), PERMISSION),
    368: RESTRICTED,
    613: Turn.EVERYBODY_WAITS,
    80006: Turn.EVERYBODY_WAITS,
    80007: Turn.EVERYBODY_WAITS,
}


# --- the channel ------------------------------------------------------------------------------------


class GraphChannel(OneACall):
    """What both channels do alike. `codes` says what the codes of refusals mean."""

    check = "check access_token, and what its user may do"
    codes: ClassVar[Codes] = GRAPH_CODES
    settings: Any

    def headers(self) -> Mapping[str, str]:
        """The token. It could stand in the address as well, but addresses are logged."""
        return {"Authorization": f"Bearer {self.settings.access_token.get_secret_value()}"}

    def pause(self, headers: Mapping[str, str]) -> timedelta | None:
        """The longest of the pauses that Meta announces, which it counts in minutes."""
        try:
            usage: Any = json.loads(headers["X-Business-Use-Case-Usage"])
            minutes = max(entry["estimated_time_to_regain_access"] for of in usage.values() for entry in of)
            return timedelta(minutes=min(minutes, 10**6)) if minutes > 0 else super().pause(headers)
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return super().pause(headers)

    def refused(self, answer: Answer) -> Outcome | None:
        """What the refusal's code means; Meta advises to go by it rather than by the status."""
        error = answer.body.get("error")
        code, subcode = number(error, "code"), number(error, "error_subcode")
        detail = f"{code}/{subcode}" if subcode else str(code)
        match self.codes.get((code, subcode), self.codes.get(code)):
            case RejectReason() as reason:
                return Rejected(reason, detail)
            case Turn.EVERYBODY_WAITS:
                return Retry(answer.retry_after, detail)
            case Turn.RECIPIENT_WAITS:
                return Retry(answer.retry_after, detail, of_recipient=True)
            case Turn.NOBODY_KNOWS:
                return InDoubt(detail)
            case Operator(what, hint) if isinstance(error, dict) and "code" in error:
                raise self.unavailable(what, hint, code)
        return Rejected(RejectReason.UNKNOWN, detail) if code and answer.status == 400 else None

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises AnswerRefused unless an app secret signed the body. Meta signs no time."""
        if not self.settings.app_secret:
            raise AnswerRefused(
                f"channel {self.name!r} has no app_secret, so it takes no answers",
                hint="set app_secret to the app's secret, which signs webhooks",
            )
        given = headers.get("x-hub-signature-256", "").encode(errors="replace")
        keys = (secret.get_secret_value().encode() for secret in self.settings.app_secret)
        expected = [f"sha256={hmac.digest(key, body, 'sha256').hex()}".encode() for key in keys]
        if not any(hmac.compare_digest(signature, given) for signature in expected):
            raise AnswerRefused(
                f"channel {self.name!r}: Meta's signature is missing or wrong",
                hint="check app_secret: it is of the app whose webhook this is",
            )

    def challenge(self, query: Mapping[str, str]) -> str | None:
        """What Meta wants to hear when the webhook is set up; None unless it knows our token."""
        token = self.settings.verify_token
        given = query.get("hub.verify_token", "").encode(errors="replace")
        if token is None or query.get("hub.mode") != "subscribe":
            return None
        if not hmac.compare_digest(token.get_secret_value().encode(), given):
            return None
        return query.get("hub.challenge")


# --- webhooks -----------------------------------------------------------------------------------------


def entries(body: bytes, object_: str) -> Iterator[dict[str, Any]]:
    """The entries of a webhook's body that is of such an object. Raises ValueError for no JSON object."""
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None  # the foreign error holds the body
    if not isinstance(told, dict):
        raise ValueError("no JSON object")
    return items(told, "entry") if told.get("object") == object_ else iter(())


def items(told: Any, field: str) -> Iterator[dict[str, Any]]:
    """The objects in a field's list; none where it is no list."""
    found = told.get(field) if isinstance(told, dict) else None
    return (item for item in found if isinstance(item, dict)) if isinstance(found, list) else iter(())


def text(told: Any, *path: str) -> str:
    """The text at the end of the path; '' where there is none."""
    for field in path:
        told = told.get(field) if isinstance(told, dict) else None
    return told if isinstance(told, str) else ""


def number(told: Any, field: str) -> int:
    """The field's number; 0 where there is none."""
    found = told.get(field) if isinstance(told, dict) else None
    return found if type(found) is int else 0


def moment(seconds: Any, unit: timedelta = timedelta(seconds=1)) -> datetime | None:
    """The time so many units after 1970, a number or its digits; None where it is no such thing."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + int(seconds) * unit
    except (TypeError, ValueError, OverflowError):
        return None


def said(words: str, stop_words: Iterable[str]) -> ResponseKind:
    """What who wrote these words asks for: by the words that all channels know, or by these."""
    plain = " ".join(words.split()).strip(" .!\"'").casefold()
    return ResponseKind.UNSUBSCRIBED if plain in map(str.casefold, stop_words) else meant_by(words)


def reason_of(meaning: Meaning | None) -> RejectReason:
    """Why a message that had been taken was not delivered after all."""
    if isinstance(meaning, RejectReason):
        return meaning
    return RejectReason.BLOCKED if meaning is Turn.RECIPIENT_WAITS else RejectReason.UNKNOWN
