"""SendGrid over HTTP: a pool of connections, and what its answers mean."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any

import httpx

from holdfast.channel import Accepted, InDoubt, Outcome, Rejected, RejectReason, Retry
from holdfast.errors import BatchRefused, ChannelUnavailable

if TYPE_CHECKING:
    from channels.sendgrid_email import SendgridSettings

# What goes wrong before a request has left.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_RECIPIENT = re.compile(r"personalizations(\.\d+)?\.to\b")

_FOR_AN_OPERATOR = {
    401: ("SendGrid does not take the API key", "check api_key, and that the account has credits left"),
    403: (
        "SendGrid forbids to send",
        "verify the sender's domain with SendGrid, and give the API key the permission Mail Send",
    ),
}


class Transport:
    """The connections to SendGrid, kept alive; `concurrency` of them at most. Shared between threads."""

    def __init__(self, name: str, settings: SendgridSettings) -> None:
        self._name = name
        self._is_closed = False
        # Each client has one connection and serves one call at a time. One client for all threads would be
        # less code, but httpcore 1.0.9 then takes an answer's first bytes on a connection that another thread
        # has just begun to use for its end, and closes it: one call in 150 was in doubt for nothing.
        self._idle: LifoQueue[httpx.Client] = LifoQueue()
        context = httpx.create_ssl_context()
        for _ in range(settings.concurrency):
            self._idle.put(
                httpx.Client(
                    base_url=settings.base_url,
                    headers={
                        "Authorization": f"Bearer {settings.api_key.get_secret_value()}",
                        "Content-Type": "application/json",
                    },
                    timeout=settings.timeout.total_seconds(),
                    verify=context,
                )
            )

    def post(self, body: bytes, count: int) -> Outcome:
        """Posts a request for `count` messages, once: the outcome of them all.

        Raises BatchRefused when something among several is to blame, and ChannelUnavailable when an operator
        has to act; nothing was taken then.
        """
        with self._connection() as client:
            try:
                response = client.post("/v3/mail/send", content=body)
            except _NOT_SENT as error:
                if _is_untrusted(error):
                    raise ChannelUnavailable(
                        f"channel {self._name!r}: the certificate of SendGrid's address is not trusted",
                        hint="check base_url, and the machine's certificate authorities",
                    ) from None
                return Retry(detail=type(error).__name__)
            except httpx.RequestError as error:
                return InDoubt(type(error).__name__)
        return self._outcome(response, count)

    def close(self) -> None:
        """Closes the connections; a call still under way closes its own when it ends."""
        self._is_closed = True
        idle = []
        with suppress(Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for client in idle:
            client.close()
            self._idle.put(client)

    @contextmanager
    def _connection(self) -> Iterator[httpx.Client]:
        """One that nobody else uses; waits for it, however long. Raises ChannelUnavailable when closed."""
        client = self._idle.get()
        try:
            if self._is_closed:
                raise ChannelUnavailable(f"channel {self._name!r} is closed")
            yield client
        finally:
            if self._is_closed:
                client.close()
            self._idle.put(client)

    def _outcome(self, response: httpx.Response, count: int) -> Outcome:
        status = response.status_code
        if response.is_success:
            return Accepted(response.headers.get("X-Message-Id", ""))
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
    """How long SendGrid asks us to wait, by its own clock."""
    try:
        if "Retry-After" in headers:
            return timedelta(seconds=int(headers["Retry-After"]))
        ends_at = datetime.fromtimestamp(int(headers["X-RateLimit-Reset"]), UTC)
        return max(ends_at - parsedate_to_datetime(headers["Date"]), timedelta())
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        return None


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
