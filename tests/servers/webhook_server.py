"""A receiver of webhooks on 127.0.0.1: checks signatures as Standard Webhooks says, takes each key once."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

from tests.servers.scripted_http import Answer, Request, ScriptedServer


class WebhookServer(ScriptedServer):
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
        self.messages.setdefault(id_, json.loads(request.body))
        return Answer(200, {"id": f"crm-{id_}"})
