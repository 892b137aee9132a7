"""Twilio's status callbacks and incoming messages: https://www.twilio.com/docs/messaging/api/message-resource"""

from __future__ import annotations

from urllib.parse import urlencode

from holdfast.channel import ResponseKind
from tests.unit.channels.documented.events import LEFT_OUT, Event

_SID = "SM" + "0123456789abcdef" * 2
_ACCOUNT = {"AccountSid": "AC" + "0" * 32, "ApiVersion": "2010-04-01"}


def _status(status: str, becomes: ResponseKind | str, **more: str) -> Event:
    told = {"SmsSid": _SID, "SmsStatus": status, "MessageStatus": status, "MessageSid": _SID}
    people = {"To": "+4915112345678", "From": "+493012345678"}
    # What comes of a delivery receipt, in Twilio's own example.
    receipt = {"RawDlrDoneDate": "2606031200"}
    return Event(status, urlencode({**told, **people, **_ACCOUNT, **receipt, **more}).encode(), becomes)


def _incoming(name: str, becomes: ResponseKind | str, body: str = "Hi", **more: str) -> Event:
    told = {"MessageSid": _SID, "SmsSid": _SID, "SmsMessageSid": _SID, "SmsStatus": "received", "Body": body}
    people = {"To": "+493012345678", "From": "+4915112345678", "FromCountry": "DE", "ToCountry": "DE"}
    counts = {"NumMedia": "0", "NumSegments": "1"}
    return Event(name, urlencode({**told, **people, **_ACCOUNT, **counts, **more}).encode(), becomes)


EVENTS = [
    *(
        _status(status, LEFT_OUT)
        for status in ("accepted", "scheduled", "queued", "sending", "sent", "canceled", "receiving")
    ),
    _status("delivered", ResponseKind.DELIVERED),
    _status(
        "undelivered", ResponseKind.BOUNCED, ErrorCode="30005", ErrorMessage="Unknown destination handset"
    ),
    _status("failed", ResponseKind.BOUNCED, ErrorCode="30008"),
    _status("read", ResponseKind.OPENED, ChannelPrefix="rcs", EventType="READ"),
    _status("something_new", LEFT_OUT),
    _incoming("received", ResponseKind.REPLIED),
    _incoming(
        "received",
        ResponseKind.REPLIED,
        "",
        NumMedia="1",
        MediaUrl0="https://x.example/1",
        MediaContentType0="image/png",
    ),
    _incoming("OptOutType", ResponseKind.UNSUBSCRIBED, "Arrêt", OptOutType="STOP"),
    _incoming("OptOutType", ResponseKind.RESUBSCRIBED, "Encore", OptOutType="START"),
    _incoming("OptOutType", ResponseKind.REPLIED, "HELP", OptOutType="HELP"),
    _incoming("whatsapp:", LEFT_OUT, From="whatsapp:+4915112345678", ProfileName="Ann", WaId="4915112345678"),
]
