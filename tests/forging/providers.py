"""Every channel that its provider calls, with how that signs and what may be taken for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from channels.messenger import MessengerChannel, MessengerSettings
from channels.sandbox import SandboxChannel, SandboxSettings
from channels.sendgrid_email import SendgridChannel, SendgridSettings
from channels.telegram import TelegramChannel, TelegramSettings
from channels.twilio import TwilioChannel, TwilioSettings
from channels.webhook import WebhookChannel, WebhookSettings
from channels.whatsapp import WhatsAppChannel, WhatsAppSettings
from tests.forging.mutations import EASTERN
from tests.forging.webhooks import NOW, Headers, Provider
from tests.servers.graph_server import APP_SECRET, PAGE_ID, PHONE_NUMBER_ID
from tests.servers.graph_server import signed as signed_by_meta
from tests.servers.inbound_parse import raw
from tests.servers.sendgrid_server import API_KEY

STRANGERS = "a key of somebody else's"


def providers(folder: Path) -> list[Provider]:
    """Every channel that is called by its provider, with the keys of these tests."""
    return [
        _sendgrid(),
        *_sendgrid_inbound(),
        _twilio(),
        _telegram(),
        *_meta(),
        _standard("webhook", _webhook()),
        _standard("sandbox", _sandbox(folder)),
    ]


def close(made: Sequence[Provider]) -> None:
    """Closes their channels."""
    for provider in made:
        provider.channel.close()  # type: ignore[attr-defined]


_EVENT = b'[{"event":"delivered","email":"ann@shop.example","timestamp":1780488000,"hf":"7.x"}]\r\n'
_OTHER_EVENT = b'[{"event":"bounce","email":"bob@shop.example","timestamp":1780488000,"hf":"8.x"}]\r\n'
_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"


class _Curve:
    """A key pair as SendGrid has one for a webhook."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.shown = base64.b64encode(der).decode()

    def sign(self, body: bytes, at: datetime) -> Headers:
        return self.signed(str(int(at.timestamp())), hashes.SHA256(), body)

    def signed(self, timestamp: str, algorithm: hashes.HashAlgorithm, body: bytes) -> Headers:
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(algorithm))
        return {_SIGNATURE: base64.b64encode(signature).decode(), _TIMESTAMP: timestamp}


def _exact(headers: Mapping[str, str], body: bytes) -> Hashable:
    # Each ECDSA signature is another one.
    return headers.get(_SIGNATURE), headers.get(_TIMESTAMP), body


def _by_curve(name: str, channel: SendgridChannel, own: _Curve, bodies: Sequence[bytes]) -> Provider:
    other, at = _Curve(), str(int(NOW.timestamp()))

    def otherwise(body: bytes) -> list[Headers]:
        good = own.sign(body, NOW)
        signature = base64.b64decode(good[_SIGNATURE])
        return [
            own.signed(at, hashes.SHA384(), body),
            own.signed(at, hashes.SHA1(), body),  # noqa: S303
            own.signed("", hashes.SHA256(), body) | {_TIMESTAMP: at},
            own.signed(at, hashes.SHA256(), b"") | {_TIMESTAMP: at},
            good | {_SIGNATURE: base64.b64encode(hashlib.sha256(at.encode() + body).digest()).decode()},
            good | {_SIGNATURE: base64.b64encode(signature + b"\0").decode()},
            good | {_SIGNATURE: signature.hex()},
            good | {_SIGNATURE: good[_SIGNATURE][:20] + "!" + good[_SIGNATURE][20:]},
            good | {_TIMESTAMP: at + ".0"},
            good | {_TIMESTAMP: " " + at},
            good | {_TIMESTAMP: "0" + at},
        ]

    return Provider(
        name,
        channel,
        bodies,
        lambda body, at, is_stranger: (other if is_stranger else own).sign(body, at),
        otherwise,
        _exact,
        timedelta(hours=25),
    )


def _sendgrid() -> Provider:
    own = _Curve()
    channel = SendgridChannel(
        "sendgrid", SendgridSettings.model_validate({"api_key": API_KEY, "webhook_key": own.shown})
    )
    return _by_curve("sendgrid", channel, own, (_EVENT, _OTHER_EVENT))


_PASSWORD = "a-password-of-the-tests"
_MAIL = b"From: Ann <ann@shop.example>\r\nTo: reply@in.acme.example\r\nSubject: Hi\r\n\r\nIs it there?\r\n"


def _sendgrid_inbound() -> list[Provider]:
    own = _Curve()
    forms = [raw(_MAIL + more, "ann@shop.example", "reply@in.acme.example")[0] for more in (b"", b"STOP\r\n")]
    common = {"api_key": API_KEY, "reply_address": "reply@in.acme.example"}
    by_key = SendgridChannel(
        "inbound_key", SendgridSettings.model_validate({**common, "inbound_key": own.shown})
    )
    by_password = SendgridChannel(
        "inbound_password", SendgridSettings.model_validate({**common, "inbound_password": _PASSWORD})
    )

    def login(password: str, scheme: str = "Basic") -> Headers:
        return {"authorization": f"{scheme} {base64.b64encode(f'sendgrid:{password}'.encode()).decode()}"}

    def password_in(headers: Mapping[str, str], body: bytes) -> Hashable:
        """The password is all the right there is; a body that is no form is not believed for it."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        try:
            told = base64.b64decode(given, validate=True).partition(b":")[2]
        except ValueError:
            told = b""
        return scheme.lower() == "basic" and told == _PASSWORD.encode() and body.startswith(b"--")

    def otherwise(body: bytes) -> list[Headers]:
        return [
            login(_PASSWORD, "Bearer"),
            login(_PASSWORD.upper()),
            login(""),
            {"authorization": f"Basic {_PASSWORD}"},
            {"authorization": f"Basic sendgrid:{_PASSWORD}"},
            {"authorization": "Basic " + base64.b64encode(_PASSWORD.encode()).decode()},
            {"proxy-authorization": login(_PASSWORD)["authorization"]},
        ]

    return [
        _by_curve("inbound_key", by_key, own, forms),
        Provider(
            "inbound_password",
            by_password,
            forms,
            lambda body, at, is_stranger: login(STRANGERS if is_stranger else _PASSWORD),
            otherwise,
            password_in,
        ),
    ]


_TOKEN = "9f86d081884c7d659a2feaa0c55ad015"
_ADDRESS = "https://r.acme.example/webhooks/twilio"


def _twilio() -> Provider:
    settings = {
        "account_sid": "AC" + "0" * 32,
        "auth_token": _TOKEN,
        "sender": "Acme",
        "webhook_url": _ADDRESS,
    }
    forms = [
        {"MessageSid": "SM" + "1" * 32, "MessageStatus": "delivered", "To": "+4915112345678"},
        {
            "MessageSid": "SM" + "2" * 32,
            "SmsStatus": "received",
            "From": "+4915112345678",
            "Body": "Grüße 😀",
        },
    ]

    def sign(body: bytes, token: str = _TOKEN, algorithm: str = "sha1", address: str = _ADDRESS) -> Headers:
        said = "".join(name + value for name, value in sorted(set(fields(body))))
        digest = hmac.digest(token.encode(), (address + said).encode(), algorithm)
        return {"x-twilio-signature": base64.b64encode(digest).decode()}

    def fields(body: bytes) -> list[tuple[str, str]]:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")

    def essence(headers: Mapping[str, str], body: bytes) -> Hashable:
        """What the fields say, however they are spelled and ordered."""
        try:
            said: Hashable = frozenset(fields(body))
        except ValueError:
            said = body
        return headers.get("x-twilio-signature"), said

    def otherwise(body: bytes) -> list[Headers]:
        raw_digest = hmac.digest(_TOKEN.encode(), _ADDRESS.encode() + body, "sha1")
        return [
            sign(body, algorithm="sha256"),
            sign(body, algorithm="md5"),
            sign(body, address=_ADDRESS + "/"),
            sign(body, address=_ADDRESS.replace("https", "http")),
            sign(body, address=""),
            sign(body, token=""),
            {"x-twilio-signature": base64.b64encode(raw_digest).decode()},
            {"x-twilio-signature": hashlib.sha1(body).hexdigest()},  # noqa: S324
        ]

    return Provider(
        "twilio",
        TwilioChannel("twilio", TwilioSettings.model_validate(settings)),
        [urlencode(form).encode() for form in forms],
        lambda body, at, is_stranger: sign(body, STRANGERS if is_stranger else _TOKEN),
        otherwise,
        essence,
    )


_SECRET = "a-Secret_of-the-tests"
_SECRET_HEADER = "x-telegram-bot-api-secret-token"


def _telegram() -> Provider:
    settings = {"token": "4711:AAE-a_bots-token-of-35-characters_", "webhook_secret": _SECRET}

    def otherwise(body: bytes) -> list[Headers]:
        return [
            {_SECRET_HEADER: base64.b64encode(_SECRET.encode()).decode()},
            {_SECRET_HEADER: hashlib.sha256(_SECRET.encode()).hexdigest()},
            {_SECRET_HEADER: _SECRET.lower()},
            {_SECRET_HEADER: "4711:AAE-a_bots-token-of-35-characters_"},
            {"authorization": f"Bearer {_SECRET}"},
        ]

    return Provider(
        "telegram",
        TelegramChannel("telegram", TelegramSettings.model_validate(settings)),
        [b'{"update_id": 900}', b'{"update_id": 901}'],
        lambda body, at, is_stranger: {_SECRET_HEADER: "a-Secret-of-others" if is_stranger else _SECRET},
        otherwise,
        # Telegram signs nothing: the secret is all the right there is.
        lambda headers, body: headers.get(_SECRET_HEADER),
    )


def _meta() -> list[Provider]:
    common = {"access_token": "t", "app_secret": APP_SECRET, "verify_token": "v"}
    whatsapp = WhatsAppSettings.model_validate({**common, "phone_number_id": PHONE_NUMBER_ID})
    messenger = MessengerSettings.model_validate({**common, "page_id": PAGE_ID})
    bodies = {
        "whatsapp": (b'{"object": "whatsapp_business_account", "entry": []}', b'{"object": "page"}'),
        "messenger": (b'{"object": "page", "entry": []}', b'{"object": "instagram", "entry": []}'),
    }

    def hexed(body: bytes, algorithm: str) -> str:
        return hmac.digest(APP_SECRET.encode(), body, algorithm).hex()

    def otherwise(body: bytes) -> list[Headers]:
        name, good = "x-hub-signature-256", hexed(body, "sha256")
        return [
            {"x-hub-signature": f"sha1={hexed(body, 'sha1')}"},
            {name: f"sha1={hexed(body, 'sha1')}"},
            {name: f"sha512={hexed(body, 'sha512')}"},
            {name: good},
            {name: f"sha256={good.upper()}"},
            {name: f"SHA256={good}"},
            {name: f"sha256={good} "},
            {name: f"sha256={hashlib.sha256(APP_SECRET.encode() + body).hexdigest()}"},
            {name: f"sha256={hexed(b'', 'sha256')}"},
            {name: f"sha256={hmac.digest(b'v', body, 'sha256').hex()}"},
        ]

    channels: list[tuple[str, Any]] = [
        ("whatsapp", WhatsAppChannel("whatsapp", whatsapp)),
        ("messenger", MessengerChannel("messenger", messenger)),
    ]
    return [
        Provider(
            name,
            channel,
            bodies[name],
            lambda body, at, is_stranger: signed_by_meta(body, STRANGERS if is_stranger else APP_SECRET),
            otherwise,
            lambda headers, body: (headers.get("x-hub-signature-256"), body),
        )
        for name, channel in channels
    ]


_STANDARD_KEY = "a key of the tests"


def _webhook() -> WebhookChannel:
    settings = {
        "kind": "letter",
        "base_url": "https://hooks.example/in",
        "secret": "whsec_c2VjcmV0",
        "webhook_key": _STANDARD_KEY,
    }
    return WebhookChannel("webhook", WebhookSettings.model_validate(settings))


def _sandbox(folder: Path) -> SandboxChannel:
    settings = {"folder": folder, "webhook_key": _STANDARD_KEY}
    return SandboxChannel("sandbox", SandboxSettings.model_validate(settings))


def _standard(name: str, channel: WebhookChannel | SandboxChannel) -> Provider:
    def sign(
        body: bytes, at: datetime, is_stranger: bool = False, algorithm: str = "sha256", dots: str = "."
    ) -> Headers:
        timestamp, key = str(int(at.timestamp())), STRANGERS if is_stranger else _STANDARD_KEY
        digest = hmac.digest(key.encode(), dots.join(("evt", timestamp, "")).encode() + body, algorithm)
        signature = "v1," + base64.b64encode(digest).decode()
        return {"webhook-id": "evt", "webhook-timestamp": timestamp, "webhook-signature": signature}

    def essence(headers: Mapping[str, str], body: bytes) -> Hashable:
        """Of several signatures one is enough, and more space between them is none."""
        signatures = frozenset(headers.get("webhook-signature", "").split())
        good = sign(body, NOW)["webhook-signature"] in signatures
        return headers.get("webhook-id"), headers.get("webhook-timestamp"), good or signatures, body

    def otherwise(body: bytes) -> list[Headers]:
        good = sign(body, NOW)
        signature = good["webhook-signature"]
        plain = hmac.digest(_STANDARD_KEY.encode(), body, "sha256")
        return [
            sign(body, NOW, algorithm="sha1"),
            sign(body, NOW, algorithm="sha512"),
            sign(body, NOW, dots=""),
            good | {"webhook-signature": signature.replace("v1,", "v1a,")},
            good | {"webhook-signature": signature.replace("v1,", "v2,")},
            good | {"webhook-signature": signature.removeprefix("v1,")},
            good | {"webhook-signature": signature.rstrip("=")},
            good | {"webhook-signature": "v1," + base64.b64encode(plain).decode()},
            good | {"webhook-id": "evt.1780488000"},
            good | {"webhook-id": "evt2"},
            good | {"webhook-timestamp": good["webhook-timestamp"] + ".0"},
            good | {"webhook-timestamp": good["webhook-timestamp"].translate(EASTERN)},
        ]

    bodies = (
        b'[{"id": "e1", "key": "7.x", "event": "delivered", "at": "2026-06-03T12:00:00Z"}]',
        b'[{"id": "e2", "key": "7.x", "event": "unsubscribed", "at": "2026-06-03T12:00:00Z"}]',
    )
    return Provider(name, channel, bodies, sign, otherwise, essence, timedelta(minutes=5))
