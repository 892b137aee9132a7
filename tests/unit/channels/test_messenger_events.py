from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import messenger_events
from holdfast.channel import Response, ResponseKind
from tests.servers.graph_server import PAGE_ID

AT = datetime(2026, 6, 3, 12, 0, 0, 463000, tzinfo=UTC)
MILLISECONDS = 1780488000463
PSID = "25441234567890123"
KEY = "7.c2lnbmF0dXJl"


def event(sender: str = PSID, recipient: str = PAGE_ID, **told: Any) -> dict[str, Any]:
    """An event of the documented shape."""
    whose = {"sender": {"id": sender}, "recipient": {"id": recipient}}
    return {**whose, "timestamp": MILLISECONDS, **told}


def body(*events: Any, page_id: str = PAGE_ID) -> bytes:
    entry = {"id": page_id, "time": MILLISECONDS, "messaging": list(events)}
    return json.dumps({"object": "page", "entry": [entry]}).encode()


def read(given: bytes) -> list[Response]:
    return list(messenger_events.read(given, PAGE_ID, ("stop", "unsubscribe")).responses)


def test_a_delivery_is_of_each_message_that_it_names() -> None:
    delivery = {"mids": ["m_1", "m_2"], "watermark": MILLISECONDS}
    assert read(body(event(delivery=delivery))) == [
        Response(ResponseKind.DELIVERED, "m_1:delivered", AT, provider_id="m_1"),
        Response(ResponseKind.DELIVERED, "m_2:delivered", AT, provider_id="m_2"),
    ]


@pytest.mark.parametrize("mids", [{}, {"mids": []}, {"mids": None}, {"mids": [7, ""]}])
def test_a_delivery_that_names_none_is_of_who_it_went_to(mids: dict[str, Any]) -> None:
    told = event(delivery={"watermark": MILLISECONDS, **mids})
    assert read(body(told, told)) == 2 * [
        Response(ResponseKind.DELIVERED, f"{PSID}:delivered:{AT.isoformat()}", AT, address=PSID)
    ]


def test_a_delivery_without_a_time_has_that_of_its_last_message() -> None:
    told = event(delivery={"mids": ["m_1"], "watermark": MILLISECONDS})
    del told["timestamp"]
    [response] = read(body(told))
    assert response.occurred_at == AT


def test_who_has_read_has_opened_what_was_there_by_then() -> None:
    assert read(body(event(read={"watermark": MILLISECONDS - 500}))) == [
        Response(ResponseKind.OPENED, f"{PSID}:opened:{AT.isoformat()}", AT, address=PSID)
    ]


def test_the_echo_of_our_message_proves_that_it_was_taken() -> None:
    echo = {"is_echo": True, "app_id": 1517776481860111, "metadata": KEY, "mid": "m_1", "text": "Hello"}
    assert read(body(event(PAGE_ID, PSID, message=echo))) == [
        Response(ResponseKind.ACCEPTED, "m_1:echo", AT, key=KEY, provider_id="m_1")
    ]


def test_the_echo_of_what_somebody_else_wrote_for_the_page_says_nothing() -> None:
    assert read(body(event(PAGE_ID, PSID, message={"is_echo": True, "mid": "m_1", "text": "stop"}))) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"message": {"mid": "m_in", "text": "Is it still there?"}}, "Is it still there?"),
        ({"message": {"mid": "m_in", "text": "مرحبا", "quick_reply": {"payload": "p"}}}, "مرحبا"),
        ({"message": {"mid": "m_in", "attachments": [{"type": "image"}]}}, ""),
        ({"postback": {"mid": "m_in", "title": "Get started", "payload": "p"}}, "Get started"),
    ],
)
def test_what_a_customer_writes_shows_or_presses_is_a_reply(told: dict[str, Any], words: str) -> None:
    assert read(body(event(**told))) == [Response(ResponseKind.REPLIED, "m_in", AT, address=PSID, text=words)]


def test_a_button_without_an_id_is_named_by_who_pressed_it_and_when() -> None:
    [response] = read(body(event(postback={"title": "Hello"})))
    assert response.event_id == f"{PSID}:postback:{AT.isoformat()}"


def test_a_reply_to_a_message_names_it() -> None:
    [response] = read(body(event(message={"mid": "m_in", "text": "yes", "reply_to": {"mid": "m_1"}})))
    assert (response.provider_id, response.address) == ("m_1", PSID)


@pytest.mark.parametrize(
    "told", [{"message": {"mid": "m", "text": "STOP."}}, {"postback": {"title": "Stop"}}]
)
def test_who_says_stop_has_unsubscribed(told: dict[str, Any]) -> None:
    [response] = read(body(event(**told)))
    assert (response.kind, response.address) == (ResponseKind.UNSUBSCRIBED, PSID)


def test_what_is_of_another_page_of_the_app_is_left_out() -> None:
    assert read(body(event(message={"mid": "m_in", "text": "stop"}), page_id="999999999")) == []


@pytest.mark.parametrize(
    "odd",
    [
        7,
        {},
        event(sender=""),
        event(message={"text": "no id"}),
        event(message={"mid": "m", "text": "x"}, timestamp="soon"),
        event(postback={"title": "x"}, timestamp=None),
        event(delivery={}, timestamp=None),
        event(read="odd"),
        event(reaction={"reaction": "love", "mid": "m_1"}),
        event(optin={"type": "notification_messages"}),
        event(referral={"ref": "x"}),
    ],
)
def test_events_that_are_unknown_or_malformed_cost_the_others_nothing(odd: Any) -> None:
    sound = event(read={"watermark": MILLISECONDS})
    assert [response.kind for response in read(body(odd, sound))] == [ResponseKind.OPENED]


@pytest.mark.parametrize("given", [b"", b"\xff", b"[]", b"7", b"not JSON"])
def test_a_body_that_is_no_object_cannot_be_read(given: bytes) -> None:
    with pytest.raises(ValueError, match=r"^no JSON"):
        read(given)


@pytest.mark.parametrize("given", [{}, {"object": "instagram", "entry": []}, {"object": "page", "entry": 7}])
def test_a_body_of_something_else_says_nothing(given: Any) -> None:
    assert read(json.dumps(given).encode()) == []


_fields = st.sampled_from(["mid", "text", "mids", "watermark", "is_echo", "metadata", "title", "reply_to"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_fields, inner, max_size=4),
    max_leaves=12,
)


@given(_json, st.sampled_from(["message", "postback", "delivery", "read"]))
def test_no_event_whatever_its_shape_breaks_the_others(odd: Any, field: str) -> None:
    assert all(isinstance(response, Response) for response in read(body(event(**{field: odd}))))
