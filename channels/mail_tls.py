"""TLS to mail servers: which authorities are trusted."""

from __future__ import annotations

import ssl
from pathlib import Path

from holdfast.errors import SettingsError


def trusting(name: str, setting: str, ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts the authorities in the file, else the system's. Raises SettingsError."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SettingsError(
            f"channel {name!r}: `{setting}` cannot be read, or holds no certificate",
            hint="name a PEM file, or leave it out to trust the system's authorities",
        ) from error
