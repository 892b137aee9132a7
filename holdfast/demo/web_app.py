"""The web app as the world sees it: providers that tell, customers who click and write, the shop."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from holdfast.errors import HoldfastError

_AT_ONCE = 500  # events a webhook, orders a request
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where answers go: the web app, what signs the channels' webhooks, what orders are let in with."""

    url: str
    webhook_key: str
    token: str


class WebApp:
    """One connection to the web app. Its methods raise HoldfastError where it refuses something."""

    def __init__(self, endpoints: Endpoints) -> None:
        address = urlsplit(endpoints.url)
        self._endpoints = endpoints
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def report(self, channel: str, events: Sequence[dict[str, Any]], now: datetime) -> None:
        """Signed webhooks of a channel's provider."""
        for start in range(0, len(events), _AT_ONCE):
            body = json.dumps(events[start : start + _AT_ONCE]).encode()
            id_, timestamp = f"demo-{start}", int(now.timestamp())
            digest = hmac.digest(
                self._endpoints.webhook_key.encode(), f"{id_}.{timestamp}.".encode() + body, "sha256"
            )
            signed = {
                "webhook-id": id_,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
            }
            self._request("POST", f"/webhooks/{channel}", body, signed)

    def visit(self, path: str, agent: str = _BROWSER) -> None:
        """Somebody follows a link, or a program loads a picture."""
        self._request("GET", path, agent=agent)

    def submit(self, path: str, fields: dict[str, str]) -> None:
        """Somebody sends a page's form."""
        self._request("POST", path, urlencode(fields).encode(), {"content-type": _FORM})

    def order(self, orders: list[dict[str, str]]) -> None:
        """The shop tells what was ordered."""
        access = {
            "authorization": f"Bearer {self._endpoints.token}",
            "content-type": "application/json",
        }
        for start in range(0, len(orders), _AT_ONCE):
            self._request(
                "POST", "/api/orders", json.dumps(orders[start : start + _AT_ONCE]).encode(), access
            )

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        agent: str = _BROWSER,
    ) -> None:
        self._connection.request(method, path, body, {"user-agent": agent} | (headers or {}))
        with self._connection.getresponse() as response:
            response.read()
        if response.status >= 400:
            # Not the whole path: a token in it acts for a customer.
            place = path.split("/")[1]
            raise HoldfastError(f"the web app answered {response.status} to a {method} under /{place}/")
