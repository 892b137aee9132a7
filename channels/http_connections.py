"""HTTP as providers' interfaces are spoken to: connections kept alive, each used by one call at a time."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from queue import Empty, LifoQueue
from time import monotonic
from typing import Any

import httpx

from channels.certificates import certificate_fault
from holdfast.channel import InDoubt, Retry
from holdfast.errors import ChannelUnavailable

# What goes wrong before a request has left.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)

# Of a few connections the least used wait longer than httpx's 5 seconds for their next call. One that the
# provider has closed in the meantime is noticed before it is used.
KEPT = httpx.Limits(keepalive_expiry=30)


# Of an answer's body, in bytes.
LONGEST_ANSWER = 16_000_000
_OF_TRANSFER = frozenset(("content-encoding", "content-length", "transfer-encoding"))


class Connections:
    """The connections to one provider; `concurrency` of them at most. Shared between threads."""

    def __init__(
        self,
        name: str,
        provider: str,
        base_url: str,
        *,
        concurrency: int,
        timeout: timedelta,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        transport: Callable[[ssl.SSLContext], httpx.BaseTransport | None] = lambda context: None,
    ) -> None:
        """`name` is the channel's, for errors; `provider` is what people call the other side; `transport`
        makes another way out than httpx's own."""
        self._name, self._provider = name, provider
        self._is_closed = False
        self._timeout = timeout.total_seconds()
        for logger in ("httpx", "httpcore"):  # they log addresses, and some providers want a token in these
            logging.getLogger(logger).setLevel(logging.WARNING)
        # Each client has one connection and serves one call at a time. One client for all threads would be
        # less code, but httpcore 1.0.9 then takes an answer's first bytes on a connection that another thread
        # has just begun to use for its end, and closes it: one call in 150 was in doubt for nothing.
        self._idle: LifoQueue[httpx.Client] = LifoQueue()
        context = httpx.create_ssl_context()
        for _ in range(concurrency):
            self._idle.put(
                httpx.Client(
                    base_url=base_url,
                    headers=headers,
                    auth=auth,
                    timeout=timeout.total_seconds(),
                    verify=context,
                    limits=KEPT,
                    transport=transport(context),
                )
            )

    def exchange(self, method: str, path: str, **request: Any) -> httpx.Response | Retry | InDoubt:
        """Sends a request, once, and follows no redirect: the answer, or what became of a call without one.

        Raises ChannelUnavailable where the provider's certificate is not trusted, and when closed: nothing
        was taken then.
        """
        with self._connection() as client:
            try:
                with client.stream(method, path, **request) as response:
                    return self._whole(response)
            except _NOT_SENT as error:
                if fault := certificate_fault(error):
                    raise untrusted(self._name, self._provider, fault) from None
                return Retry(detail=type(error).__name__)
            except httpx.RequestError as error:
                return InDoubt(type(error).__name__)

    def _whole(self, response: httpx.Response) -> httpx.Response:
        """The answer with its body. Raises httpx.RequestError where that is too long, or takes too long: of
        itself httpx limits neither, but the wait for the next bytes."""
        body, give_up = bytearray(), monotonic() + self._timeout
        for some in response.iter_bytes():
            body += some
            if len(body) > LONGEST_ANSWER:
                raise httpx.ReadError("the answer is too long")
            if monotonic() > give_up:
                raise httpx.ReadTimeout("the answer takes too long")
        # As it reads now: neither compressed nor in pieces.
        plain = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_TRANSFER]
        return httpx.Response(response.status_code, headers=plain, content=bytes(body))

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


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """How long a provider asks us to wait (RFC 9110, 10.2.3: seconds, or a date by its own clock)."""
    asked = headers.get("Retry-After", "")
    if asked.isascii() and asked.isdigit():
        return timedelta(seconds=min(int(asked), 10**9))
    try:
        return until(parsedate_to_datetime(asked), headers)
    except ValueError:
        return None


def until(moment: datetime, headers: Mapping[str, str]) -> timedelta | None:
    """How long it is until then by the provider's own clock; None where it does not say its time."""
    try:
        now = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None
    return max(
        moment.replace(tzinfo=moment.tzinfo or UTC) - now.replace(tzinfo=now.tzinfo or UTC), timedelta()
    )


def untrusted(name: str, provider: str, fault: str) -> ChannelUnavailable:
    """The error of a channel whose provider shows a certificate with a fault."""
    return ChannelUnavailable(
        f"channel {name!r}: the certificate of {provider}'s address {fault}",
        hint="check base_url, this machine's clock and its certificate authorities",
    )
