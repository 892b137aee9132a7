"""TLS to mail servers: which authorities are trusted, and what is wrong with a certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

from holdfast.errors import SettingsError

# OpenSSL's verify codes, in words; anything else is an authority that nobody here knows.
_CERTIFICATE_FAULTS = {
    9: "is not valid yet",
    10: "has expired",
    62: "is for another host",
    64: "is for another host",
}


def trusting(name: str, setting: str, ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts the authorities in the file, else the system's. Raises SettingsError."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SettingsError(
            f"channel {name!r}: `{setting}` cannot be read, or holds no certificate",
            hint="name a PEM file, or leave it out to trust the system's authorities",
        ) from error


def certificate_fault(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the certificate: "has expired"."""
    return _CERTIFICATE_FAULTS.get(error.verify_code, "is signed by nobody who is trusted here")
