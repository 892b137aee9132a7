"""A receiver of webhooks on 127.0.0.1: checks signatures as Standard Webhooks says, takes each key once."""

from __future__ import annotations

import base64
import hmac
from typing import Any

from tests.servers.stand_in import Answer, Request, StandIn


class WebhookServer(StandIn):
    """`key` is the bytes that sign; `messages` are the documents taken, by their ids."""

    def __init__(self, *args: Any, key: bytes, **more: Any) -> None:
        super().__init__(*args, **more)
        self.key = key
        self.messages: dict[str, Any] = {}

    def do(self, request: Request) -> Answer:
        """Takes a signed document."""
        id_ = request.headers.get("webhook-id", "")
        signed = f"{id_}.{request.headers.get('webhook-timestamp')}.".encode() + request.body
        expected = "v1," + base64.b64encode(hmac.digest(self.key, signed, "sha256")).decode()
        if request.headers.get("webhook-signature") != expected:
            return Answer(401, {"error": "signature"})
        self.messages.setdefault(id_, request.json)
        return Answer(200, {"id": f"crm-{id_}"})
