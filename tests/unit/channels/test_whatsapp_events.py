from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import whatsapp_events
from channels.whatsapp_events import CODES
from holdfast.channel import RejectReason, Response, ResponseKind
from tests.servers.graph_server import PHONE_NUMBER_ID

AT = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)
SECONDS = str(int(AT.timestamp()))
ID = "wamid.HBgLMTY0NjcwNDM1OTUVAgARGBI1RjQyNUE3NEYxMzAzMzQ5MkEA"
KEY = "7.c2lnbmF0dXJl"
WHOSE = "4915112345678"


def body(field: str = "messages", phone_number_id: str = PHONE_NUMBER_ID, **value: Any) -> bytes:
    """A webhook of the documented shape."""
    metadata = {"display_phone_number": "15550783881", "phone_number_id": phone_number_id}
    change = {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    entry = {"id": "102290129340398", "changes": [change]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def status(word: str, **more: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "status": word,
        "timestamp": SECONDS,
        "recipient_id": WHOSE,
        "biz_opaque_callback_data": KEY,
        "pricing": {"billable": True, "pricing_model": "PMP", "category": "marketing"},
        **more,
    }


def failed(code: Any) -> dict[str, Any]:
    error = {"code": code, "title": "odd", "message": "odd", "error_data": {"details": f"{WHOSE} is odd"}}
    return status("failed", errors=[error])


def inbound(type_: str = "text", **more: Any) -> dict[str, Any]:
    return {"from": WHOSE, "id": "wamid.in", "timestamp": SECONDS, "type": type_, **more}


def read(given: bytes) -> list[Response]:
    return list(whatsapp_events.read(given, PHONE_NUMBER_ID, ("stop", "unsubscribe")).responses)


# --- statuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("sent", ResponseKind.ACCEPTED),
        ("delivered", ResponseKind.DELIVERED),
        ("read", ResponseKind.OPENED),
    ],
)
def test_each_status_is_a_response_of_its_message(word: str, kind: ResponseKind) -> None:
    assert read(body(statuses=[status(word)])) == [
        Response(kind, event_id=f"{ID}:{word}", occurred_at=AT, key=KEY, provider_id=ID)
    ]


def test_statuses_come_in_any_order_and_one_that_comes_again_has_the_same_name() -> None:
    words = ["read", "sent", "delivered", "read"]
    found = read(body(statuses=[status(word) for word in words]))
    assert [response.event_id for response in found] == [f"{ID}:{word}" for word in words]


def test_a_message_of_another_system_is_known_by_its_id_alone() -> None:
    without = {field: told for field, told in status("sent").items() if field != "biz_opaque_callback_data"}
    [response] = read(body(statuses=[without]))
    assert (response.key, response.provider_id) == ("", ID)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (131026, RejectReason.BAD_ADDRESS),
        (131047, RejectReason.BLOCKED),
        (131049, RejectReason.BLOCKED),
        (131056, RejectReason.BLOCKED),
        (130472, RejectReason.BLOCKED),
        (132005, RejectReason.TOO_LARGE),
        (130429, RejectReason.UNKNOWN),
        (131042, RejectReason.UNKNOWN),
        (131000, RejectReason.UNKNOWN),
        (999999, RejectReason.UNKNOWN),
        ("131026", RejectReason.UNKNOWN),
        (None, RejectReason.UNKNOWN),
    ],
)
def test_a_message_that_failed_later_has_bounced_and_its_address_lives(
    code: Any, reason: RejectReason
) -> None:
    assert read(body(statuses=[failed(code)])) == [
        Response(
            ResponseKind.BOUNCED,
            event_id=f"{ID}:failed",
            occurred_at=AT,
            key=KEY,
            provider_id=ID,
            address=f"+{WHOSE}",
            reason=reason,
        )
    ]


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_a_failure_can_be_read(code: int | tuple[int, int]) -> None:
    assert read(body(statuses=[failed(code if isinstance(code, int) else code[0])]))


@pytest.mark.parametrize("errors", [None, [], "odd", [7], [{}]])
def test_a_failure_that_says_nothing_is_of_unknown_reason(errors: Any) -> None:
    [response] = read(body(statuses=[status("failed", errors=errors)]))
    assert response.reason is RejectReason.UNKNOWN


def test_who_has_switched_marketing_off_is_taken_at_their_word() -> None:
    bounced, left = read(body(statuses=[failed(131050)]))
    assert (bounced.kind, bounced.reason) == (ResponseKind.BOUNCED, RejectReason.OPTED_OUT)
    assert (left.kind, left.key, left.address) == (ResponseKind.UNSUBSCRIBED, KEY, f"+{WHOSE}")
    assert bounced.event_id != left.event_id


# --- what customers say ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (inbound(text={"body": "Is it still there?"}), "Is it still there?"),
        (inbound(text={"body": "مرحبا 👋"}), "مرحبا 👋"),
        (inbound("button", button={"text": "Yes, please", "payload": "p"}), "Yes, please"),
        (
            inbound("interactive", interactive={"type": "button_reply", "button_reply": {"title": "Later"}}),
            "Later",
        ),
        (
            inbound("interactive", interactive={"type": "list_reply", "list_reply": {"title": "Tea"}}),
            "Tea",
        ),
        (inbound("image", image={"id": "1", "caption": "look"}), "look"),
        (inbound("document", document={"id": "1"}), ""),
        (inbound("video", video={"caption": "moves"}), "moves"),
        (inbound("audio", audio={"id": "1", "voice": True}), ""),
        (inbound("sticker", sticker={"id": "1"}), ""),
        (inbound("location", location={"latitude": 1}), ""),
        (inbound("contacts", contacts=[]), ""),
    ],
)
def test_what_a_customer_writes_or_shows_is_a_reply(message: dict[str, Any], words: str) -> None:
    assert read(body(messages=[message])) == [
        Response(ResponseKind.REPLIED, "wamid.in", AT, address=f"+{WHOSE}", text=words)
    ]


def test_a_reply_to_a_message_names_it() -> None:
    context = {"from": "15550783881", "id": ID}
    [response] = read(body(messages=[inbound(text={"body": "yes"}, context=context)]))
    assert response.provider_id == ID


@pytest.mark.parametrize(
    "message",
    [
        inbound(text={"body": " STOP! "}),
        inbound("button", button={"text": "Unsubscribe"}),
        inbound("interactive", interactive={"button_reply": {"title": "Stop"}}),
    ],
)
def test_who_says_stop_has_unsubscribed(message: dict[str, Any]) -> None:
    [response] = read(body(messages=[message]))
    assert (response.kind, response.address) == (ResponseKind.UNSUBSCRIBED, f"+{WHOSE}")


@pytest.mark.parametrize(
    ("value", "kind"), [("stop", ResponseKind.UNSUBSCRIBED), ("resume", ResponseKind.RESUBSCRIBED)]
)
def test_a_switch_in_whatsapp_itself_holds(value: str, kind: ResponseKind) -> None:
    preference = {
        "wa_id": WHOSE,
        "detail": f"User requested to {value} marketing messages",
        "category": "marketing_messages",
        "value": value,
        "timestamp": int(SECONDS),
    }
    [response] = read(body("user_preferences", user_preferences=[preference]))
    assert (response.kind, response.address, response.occurred_at) == (kind, f"+{WHOSE}", AT)
    assert response.event_id == f"{WHOSE}:{value}:{SECONDS}"
    assert read(body(user_preferences=[preference | {"category": "odd"}])) == []


# --- what is left out -----------------------------------------------------------------------------


def test_what_is_of_another_number_of_the_app_is_left_out() -> None:
    told: dict[str, Any] = {"statuses": [status("sent")], "messages": [inbound(text={"body": "stop"})]}
    assert read(body(phone_number_id="999999999", **told)) == []
    assert len(read(body(**told))) == 2


@pytest.mark.parametrize(
    "value",
    [
        {"statuses": [status("deleted"), status("played"), {"id": ID}, 7, None]},
        {
            "statuses": [
                status("sent", id=7),
                status("sent", timestamp="soon"),
                status("sent", timestamp=None),
            ]
        },
        {"statuses": "odd", "messages": {}, "user_preferences": [[]]},
        {
            "messages": [
                inbound("reaction", reaction={"emoji": "👍"}),
                inbound("system"),
                inbound("unsupported"),
            ]
        },
        {"messages": [inbound(text={"body": "x"}) | {"from": "DE.1234"}, inbound() | {"id": ""}]},
        {"user_preferences": [{"wa_id": WHOSE, "value": "pause", "category": "marketing_messages"}]},
        {"errors": [{"code": 130429}]},
    ],
)
def test_events_that_are_unknown_or_malformed_cost_the_others_nothing(value: dict[str, Any]) -> None:
    assert read(body(**value)) == []
    sound = status("read")
    kept = value | {"statuses": [*(value.get("statuses") or []), sound]}
    if isinstance(value.get("statuses", []), list):
        assert [response.kind for response in read(body(**kept))] == [ResponseKind.OPENED]


@pytest.mark.parametrize("given", [b"", b"\xff", b"[]", b"7", b"[" * 100_000, b"not JSON"])
def test_a_body_that_is_no_object_cannot_be_read(given: bytes) -> None:
    with pytest.raises(ValueError, match=r"^no JSON"):
        read(given)


@pytest.mark.parametrize(
    "given", [{}, {"object": "page", "entry": []}, {"object": "whatsapp_business_account", "entry": 7}]
)
def test_a_body_of_something_else_says_nothing(given: Any) -> None:
    assert read(json.dumps(given).encode()) == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "status", "timestamp", "type", "text", "errors", "code", "from", "value"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_json, st.sampled_from(["statuses", "messages", "user_preferences"]))
def test_no_event_whatever_its_shape_breaks_the_others(odd: Any, field: str) -> None:
    given = body(**{field: [odd]})
    assert all(isinstance(response, Response) for response in read(given))
