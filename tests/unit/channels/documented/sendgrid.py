"""SendGrid's Event Webhook: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event"""

from __future__ import annotations

import json
from typing import Any

from holdfast.channel import ResponseKind
from tests.unit.channels.documented.events import LEFT_OUT, OPERATOR, Event

_COMMON = {
    "email": "example@test.com",
    "timestamp": 1780488000,
    "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
    "category": ["winback", "winback/hello"],
    "sg_event_id": "rWVYmVk90MjZJ9iohOBa3w==",
    "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
    "hf": "17.signature",
}
_BY_PERSON = {"ip": "255.255.255.255", "useragent": "Mozilla/4.0 (compatible; MSIE 6.1; Windows XP)"}


def _event(name: str, becomes: ResponseKind | str, **more: Any) -> Event:
    return Event(name, json.dumps([{**_COMMON, "event": name, **more}]).encode(), becomes)


def _bounce(type_: str, classification: str, status: str = "5.0.0") -> Event:
    reason = "500 unknown recipient"
    return _event(
        "bounce",
        ResponseKind.BOUNCED,
        type=type_,
        bounce_classification=classification,
        status=status,
        reason=reason,
        tls=1,
    )


EVENTS = [
    _event("processed", ResponseKind.ACCEPTED, pool={"name": "new_MY_test", "id": 210}, send_at=1780488000),
    _event("deferred", ResponseKind.DEFERRED, response="400 try again later", attempt="5", domain="test.com"),
    _event("delivered", ResponseKind.DELIVERED, response="250 OK", ip="127.0.0.1", tls=1),
    *(
        _bounce("bounce", classification)
        for classification in ("Invalid Address", "Mailbox Unavailable", "Technical", "Unclassified")
    ),
    *(
        _bounce("blocked", classification, "4.0.0")
        for classification in ("Content", "Reputation", "Frequency or Volume Too High", "Technical")
    ),
    _bounce("expired", "Unclassified"),
    *(
        _event("dropped", ResponseKind.BOUNCED, reason=reason, status="5.0.0")
        for reason in (
            *("Invalid SMTPAPI header", "Spam Content", "Unsubscribed Address", "Bounced Address"),
            *("Spam Reporting Address", "Invalid", "Recipient List over Package Quota"),
        )
    ),
    _event("open", ResponseKind.OPENED, **_BY_PERSON, sg_machine_open=False, sg_content_type="html"),
    _event("open", ResponseKind.OPENED, **_BY_PERSON, sg_machine_open=True, sg_content_type="amp"),
    _event(
        "click",
        ResponseKind.CLICKED,
        **_BY_PERSON,
        url="https://shop.example/",
        url_offset={"index": 0, "type": "html"},
    ),
    _event("spamreport", ResponseKind.COMPLAINED),
    _event("unsubscribe", ResponseKind.UNSUBSCRIBED),
    _event(
        "group_unsubscribe", ResponseKind.UNSUBSCRIBED, **_BY_PERSON, url="https://x.example", asm_group_id=10
    ),
    _event(
        "group_resubscribe", ResponseKind.RESUBSCRIBED, **_BY_PERSON, url="https://x.example", asm_group_id=10
    ),
    *(
        Event(
            "account_status_change",
            json.dumps(
                [
                    {
                        "event": "account_status_change",
                        "sg_event_id": "MjEzNTg5OQ==",
                        "timestamp": 1780488000,
                        "type": type_,
                    }
                ]
            ).encode(),
            OPERATOR,
        )
        for type_ in ("warning", "compliance_suspend", "compliance_deactivate", "reactivate")
    ),
    # What a later version may bring.
    _event("something_new", LEFT_OUT),
]
