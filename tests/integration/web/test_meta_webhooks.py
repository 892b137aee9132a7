"""Meta's webhooks, from its first question to what its answers change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select

from channels.messenger import MessengerChannel, MessengerSettings
from channels.whatsapp import WhatsAppChannel, WhatsAppSettings
from holdfast.responses import collect
from holdfast.tables import addresses, consents, messages
from tests.integration.conftest import Clock
from tests.integration.web.conftest import Web, on_sqlite
from tests.servers.graph_server import APP_SECRET, PAGE_ID, PHONE_NUMBER_ID, TOKEN, VERIFY_TOKEN, signed

WHOSE = "4915112345678"
SECRETS = {"access_token": TOKEN, "app_secret": APP_SECRET, "verify_token": VERIFY_TOKEN}
ASKED = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "1158201444"}


@pytest.fixture(params=["whatsapp", "messenger"])
def meta(request: pytest.FixtureRequest, web: Web) -> Iterator[Web]:
    """A project whose channel `sms` is one of Meta's."""
    channel = (
        WhatsAppChannel(
            "sms", WhatsAppSettings.model_validate({**SECRETS, "phone_number_id": PHONE_NUMBER_ID})
        )
        if request.param == "whatsapp"
        else MessengerChannel("sms", MessengerSettings.model_validate({**SECRETS, "page_id": PAGE_ID}))
    )
    web.bench.channels["sms"] = channel  # type: ignore[assignment]
    yield web
    channel.close()


only_whatsapp = pytest.mark.parametrize("meta", ["whatsapp"], indirect=True)


def whatsapp(clock: Clock, *statuses: dict[str, Any], **value: Any) -> bytes:
    at = str(int(clock.now.timestamp()))
    value |= {"metadata": {"phone_number_id": PHONE_NUMBER_ID}}
    value["statuses"] = [
        {"id": "wamid.1", "timestamp": at, "recipient_id": WHOSE, **told} for told in statuses
    ]
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def posted(web: Web, body: bytes, **headers: str) -> int:
    return web.client.post("/webhooks/sms", content=body, headers=headers or signed(body)).status_code


def row(web: Web, id_: int) -> Any:
    with web.database.read() as connection:
        return connection.execute(select(messages).where(messages.c.id == id_)).one()


@on_sqlite
def test_meta_is_told_that_the_address_is_ours_when_it_knows_our_token(meta: Web) -> None:
    response = meta.client.get("/webhooks/sms", params=ASKED)
    assert (response.status_code, response.text) == (200, "1158201444")
    for wrong in ({"hub.verify_token": "another"}, {"hub.mode": "unsubscribe"}):
        assert meta.client.get("/webhooks/sms", params=ASKED | wrong).status_code == 403


@on_sqlite
def test_what_meta_did_not_sign_is_refused(meta: Web) -> None:
    body = b'{"object": "page", "entry": []}'
    assert posted(meta, body, **{"x-hub-signature-256": "sha256=" + "0" * 64}) == 403
    assert posted(meta, body, **signed(body, "another secret")) == 403
    assert meta.letters() == []
    assert posted(meta, body) == 204


@on_sqlite
@only_whatsapp
def test_statuses_in_any_order_become_the_messages_and_a_repeated_one_changes_nothing(
    meta: Web, clock: Clock
) -> None:
    id_ = meta.message()
    key = meta.bench.ws.signer.sign("message", id_)
    clock.advance(minutes=5)
    for status in ("read", "delivered", "sent", "read"):
        told = {"status": status, "biz_opaque_callback_data": key}
        assert posted(meta, whatsapp(clock, told)) == 204
    collected = collect(meta.bench.ws, clock.now)
    assert (collected.letters, collected.unreadable, collected.new, collected.unknown) == (3, 0, 3, 0)
    message = row(meta, id_)
    assert message.delivered_at == message.opened_at == clock.now
    assert message.bounced_at is None


@on_sqlite
@only_whatsapp
def test_who_writes_stop_gets_no_more(meta: Web, clock: Clock) -> None:
    id_ = meta.message()
    customer_id = row(meta, id_).customer_id
    with meta.database.write() as connection:
        whose = {"customer_id": customer_id, "kind": "whatsapp", "address": f"+{WHOSE}"}
        connection.execute(insert(addresses).values(**whose, address_key=f"+{WHOSE}"))
    clock.advance(minutes=5)
    at = str(int(clock.now.timestamp()))
    wrote = {"from": WHOSE, "id": "wamid.in", "timestamp": at, "type": "text", "text": {"body": "Stop!"}}
    assert posted(meta, whatsapp(clock, messages=[wrote])) == 204
    collect(meta.bench.ws, clock.now)
    with meta.database.read() as connection:
        latest = connection.execute(
            select(consents.c.granted)
            .where(consents.c.customer_id == customer_id)
            .order_by(consents.c.recorded_at.desc(), consents.c.id.desc())
            .limit(1)
        ).scalar_one()
    assert not latest
