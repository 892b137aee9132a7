"""SendGrid over HTTP: what its answers mean."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from channels.http_connections import Connections, retry_after, until
from holdfast.channel import Accepted, InDoubt, Outcome, Rejected, RejectReason, Retry
from holdfast.errors import BatchRefused, ChannelUnavailable

if TYPE_CHECKING:
    from channels.sendgrid_email import SendgridSettings

# What SendGrid answers in sandbox mode, and what such messages are known by at the provider.
_CHECKED = 200
SANDBOX = "sandbox mode"
_TAKEN = 202

_RECIPIENT = re.compile(r"personalizations(\.\d+)?\.to\b")

_FOR_AN_OPERATOR = {
    401: ("SendGrid does not take the API key", "check api_key, and that the account has credits left"),
    403: (
        "SendGrid forbids to send",
        "verify the sender's domain with SendGrid, and give the API key the permission Mail Send",
    ),
}


class Transport:
    """An account at SendGrid. Shared between threads."""

    def __init__(self, name: str, settings: SendgridSettings) -> None:
        self._name = name
        self._is_sandbox = settings.sandbox_mode
        self._connections = Connections(
            name,
            "SendGrid",
            settings.base_url,
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            headers={
                "Authorization": f"Bearer {settings.api_key.get_secret_value()}",
                "Content-Type": "application/json",
            },
        )

    def post(self, body: bytes, count: int) -> Outcome:
        """Posts a request for `count` messages, once: the outcome of them all.

        Raises BatchRefused when something among several is to blame, and ChannelUnavailable when an operator
        has to act; nothing was taken then.
        """
        answer = self._connections.exchange("POST", "/v3/mail/send", content=body)
        return self._outcome(answer, count) if isinstance(answer, httpx.Response) else answer

    def close(self) -> None:
        """Closes the connections."""
        self._connections.close()

    def _outcome(self, response: httpx.Response, count: int) -> Outcome:
        status = response.status_code
        if status == _TAKEN:
            return Accepted(response.headers.get("X-Message-Id", ""))
        if self._is_sandbox and status == _CHECKED:
            return Accepted(SANDBOX)
        if response.is_success:
            return InDoubt(str(status))  # not SendGrid's way to say that it took a request, nor to refuse one
        if status in (429, 503):
            return Retry(_pause(response.headers), str(status))
        if status >= 500:
            return InDoubt(str(status))  # it broke at SendGrid, nobody can tell how far the messages had come
        if status in (400, 413):
            return self._refused(response, count)
        problem, hint = _FOR_AN_OPERATOR.get(
            status, ("there is no SendGrid API at base_url", "check base_url")
        )
        raise ChannelUnavailable(f"channel {self._name!r}: {problem} ({status})", hint=hint)

    def _refused(self, response: httpx.Response, count: int) -> Outcome:
        fields = _fields(response)
        if any(field.startswith("from") for field in fields):
            raise ChannelUnavailable(
                f"channel {self._name!r}: SendGrid refuses the sender (400)", hint="check brand: from"
            )
        if count > 1:
            raise BatchRefused(
                f"channel {self._name!r}: SendGrid refuses one of {count} messages ({response.status_code})"
            )
        if response.status_code == 413:
            return Rejected(RejectReason.TOO_LARGE, "413")
        blames_recipient = any(map(_RECIPIENT.match, fields))
        return Rejected(RejectReason.BAD_ADDRESS if blames_recipient else RejectReason.CONTENT, "400")


def _fields(response: httpx.Response) -> list[str]:
    """The fields of the request that SendGrid blames. Its texts are left alone: they quote addresses."""
    try:
        errors: Any = response.json()["errors"]
        return [str(error["field"]) for error in errors if error.get("field")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _pause(headers: httpx.Headers) -> timedelta | None:
    """How long SendGrid asks us to wait."""
    if (asked := retry_after(headers)) is not None:
        return asked
    try:
        return until(datetime.fromtimestamp(int(headers["X-RateLimit-Reset"]), UTC), headers)
    except (KeyError, ValueError, OverflowError, OSError):
        return None
