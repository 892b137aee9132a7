"""Meta's Graph API on 127.0.0.1: sending for WhatsApp and Messenger, with its refusals and its signature."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any

from tests.servers.stand_in import Answer, Request, StandIn

TOKEN = "s3cret-Wert"
APP_SECRET = "an-app-secret"
VERIFY_TOKEN = "a-token-of-ours"
PHONE_NUMBER_ID = "106540352242922"
PAGE_ID = "103456789012345"
_PATH = re.compile(rf"/v\d+\.\d+/({PHONE_NUMBER_ID}|{PAGE_ID})/messages")


def refusal(
    code: int, subcode: int | None = None, status: int = 400, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error in the form that the Graph API has for all of them; its text quotes what was sent."""
    error = {"message": f"(#{code}) SECRET text", "type": "OAuthException", "code": code, "fbtrace_id": "A1b"}
    return Answer(
        status, {"error": error if subcode is None else error | {"error_subcode": subcode}}, headers or {}
    )


def signed(body: bytes, secret: str = APP_SECRET) -> dict[str, str]:
    """The headers of a webhook that Meta sends."""
    return {"x-hub-signature-256": f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"}


class GraphServer(StandIn):
    """`messages` are those taken, for both channels."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messages: list[dict[str, Any]] = []

    def do(self, request: Request) -> Answer:
        """Takes a message."""
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return refusal(190, status=401)
        known = _PATH.fullmatch(request.path)
        if not known:
            return refusal(100, 33)
        return (self._whatsapp if known[1] == PHONE_NUMBER_ID else self._messenger)(request.json)

    def _whatsapp(self, body: Any) -> Answer:
        if body["messaging_product"] != "whatsapp" or not re.fullmatch(r"\+?\d{5,15}", body["to"]):
            return refusal(100)
        if body["type"] == "text":
            is_sound = 0 < len(body["text"]["body"]) <= 4096
        else:
            [component] = body["template"]["components"]
            texts = [parameter["text"] for parameter in component["parameters"]]
            is_sound = all(texts) and not any(re.search(r"[\n\t]|     ", said) for said in texts)
        if not is_sound or len(body["biz_opaque_callback_data"]) > 512:
            return refusal(131008)
        number = body["to"].removeprefix("+")
        id_ = self._keep("wamid.", body)
        contacts = [{"input": body["to"], "wa_id": number}]
        return Answer(200, {"messaging_product": "whatsapp", "contacts": contacts, "messages": [{"id": id_}]})

    def _messenger(self, body: Any) -> Answer:
        if not re.fullmatch(r"\d+", body["recipient"]["id"]):
            return refusal(100, 2018001)
        if not 0 < len(body["message"]["text"]) <= 2000 or len(body["message"]["metadata"]) > 1000:
            return refusal(100, 2018048)
        return Answer(200, {"recipient_id": body["recipient"]["id"], "message_id": self._keep("m_", body)})

    def _keep(self, prefix: str, body: Any) -> str:
        self.messages.append(body)
        return f"{prefix}{len(self.messages)}"
