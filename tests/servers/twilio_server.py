"""Twilio's Messages on 127.0.0.1, as far as the channel uses it."""

from __future__ import annotations

import base64
from typing import Any

from tests.servers.stand_in import Answer, Request, StandIn


def refusal(status: int, code: int, message: str = "Something about +4915100011") -> Answer:
    """A refusal in Twilio's form."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Answer(status, {"code": code, "message": message, "more_info": more, "status": status})


class TwilioServer(StandIn):
    """One account. `refusing` are answers by number."""

    account, token = "AC" + "0" * 32, ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messages: list[dict[str, str]] = []
        self.refusing: dict[str, Answer] = {}

    def do(self, request: Request) -> Answer:
        """Makes a message."""
        expected = base64.b64encode(f"{self.account}:{self.token}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return refusal(401, 20003, "Authenticate")
        if (request.method, request.path) != ("POST", f"/2010-04-01/Accounts/{self.account}/Messages.json"):
            return refusal(404, 20404, "The requested resource was not found")
        given = request.form
        if given["To"] in self.refusing:
            return self.refusing[given["To"]]
        if ("From" in given) == ("MessagingServiceSid" in given):
            return refusal(400, 21603, "A 'From' phone number is required.")
        if not given.get("Body"):
            return refusal(400, 21602, "Message body is required.")
        if len(given["Body"]) > 1600:
            return refusal(400, 21617, "The concatenated message body exceeds the 1600 character limit.")
        self.messages.append(given)
        made = {
            "sid": f"SM{len(self.messages):032x}",
            "account_sid": self.account,
            "status": "queued",
            "to": given["To"],
            "from": given.get("From"),
            "messaging_service_sid": given.get("MessagingServiceSid"),
            "body": given["Body"],
            "num_segments": "1",
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
        }
        return Answer(201, made)
