"""DKIM (RFC 6376): letters signed for a domain, so that a receiver knows who answers for them.

The libraries for it parse the key anew for each letter and do RSA in Python: six milliseconds a letter. Here
OpenSSL signs, and what `channels.mime` wrote is known to be well-formed: it takes a quarter of one.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from channels.smtp_settings import DkimSettings
from holdfast.errors import SettingsError

# Receivers trust none below this (RFC 8301).
_FEWEST_BITS = 1024

_LINE_END = re.compile(rb"\r\n(?![ \t])")
_SPACE = re.compile(rb"[ \t\r\n]+")

# Signed once more than the letter has them: so nobody can add one that a mail program would show instead.
_NO_MORE_OF = (b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"content-type")


class DkimSigner:
    """Signs letters with one key. Shared between threads."""

    def __init__(self, name: str, settings: DkimSettings) -> None:
        """Raises SettingsError, for the channel of this name, where the key is none."""
        self._key = _private_key(name, settings.key.get_secret_value())
        self._who = f"d={settings.domain}; s={settings.selector};".encode()

    def signed(self, content: bytes) -> bytes:
        """The letter with its signature before it. Lines end with CRLF, the last one too."""
        head, _, body = content.partition(b"\r\n\r\n")
        # From the last to the first: that is the order that several headers of one name are looked for in.
        headers = [_canonical(header) for header in reversed(_LINE_END.split(head))]
        names = [header.partition(b":")[0] for header in headers]
        body_hash = b64encode(sha256(body.rstrip(b"\r\n") + b"\r\n").digest())
        signature = (
            b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple;\r\n "
            + self._who
            + b"\r\n h="
            + b":\r\n ".join((*names, *_NO_MORE_OF))
            + b";\r\n bh="
            + body_hash
            + b";\r\n b="
        )
        signed = b"\r\n".join((*headers, _canonical(signature)))
        value = b64encode(self._key.sign(signed, PKCS1v15(), SHA256()))
        lines = [value[start : start + 72] for start in range(0, len(value), 72)]
        return signature + b"\r\n ".join(lines) + b"\r\n" + content


def _canonical(header: bytes) -> bytes:
    """The header in the "relaxed" form of RFC 6376, 3.4.2."""
    name, _, value = header.partition(b":")
    return name.strip().lower() + b":" + _SPACE.sub(b" ", value).strip()


def _private_key(name: str, pem: str) -> RSAPrivateKey:
    try:
        # In an environment variable a line break is often written as \n.
        key = load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError(
            f"channel {name!r}: dkim.key: not a private RSA key in PEM, without a password",
            hint="make one with `openssl genrsa 2048`, and give it whole",
        )
    if key.key_size < _FEWEST_BITS:
        raise SettingsError(
            f"channel {name!r}: dkim.key: a key of {key.key_size} bits, which receivers do not trust",
            hint="make one of 2048 bits",
        )
    return key
