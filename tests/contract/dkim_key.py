"""A key that signs letters in tests, and what the DNS says of it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

KEY = rsa.generate_private_key(65537, 2048)
RECORD = b"v=DKIM1; k=rsa; p=" + b64encode(
    KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)


def pem(key: Any = KEY, form: PrivateFormat = PrivateFormat.PKCS8, encryption: Any = None) -> str:
    """The private key as tools write it."""
    return str(key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode())
