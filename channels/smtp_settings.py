"""The settings of the SMTP channel: the server, the signature, the mailbox that answers come to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from holdfast.channel import ChannelSettings
from holdfast.units import Timeout

_SMTP_PORTS = {"none": 25, "starttls": 587, "tls": 465}
_IMAP_PORTS = {"tls": 993, "starttls": 143}

_Login = TypeVar("_Login", str, SecretStr, None)


def _require_ascii(value: _Login) -> _Login:
    """A username or password that mail servers can be told; a validator of settings."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text is not None and not (text and text.isascii() and text.isprintable()):
        raise PydanticCustomError("login", "not usable with a mail server, which takes ASCII characters only")
    return value


class DkimSettings(ChannelSettings):
    """Who signs, and with what."""

    domain: str = Field(
        pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9-]+)+$",
        description="The domain that signs: `from`'s own, or above.",
    )
    selector: str = Field(
        pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$",
        description="The key's name: its record is `SELECTOR._domainkey.DOMAIN`.",
    )
    key: SecretStr = Field(description="The private RSA key, as PEM. A secret.")


class MailboxSettings(ChannelSettings):
    """The mailbox that answers come to."""

    host: str = Field(pattern=r"^[^\s/@]+$", description="The IMAP server's name or address.")
    port: int | None = Field(None, ge=1, le=65535, description="Default: 993, or with starttls 143.")
    security: Literal["tls", "starttls"] = Field(
        "tls", description="`tls` from the first byte, or `starttls`. Certificates are always verified."
    )
    username: str = Field(min_length=1, description="Whose mailbox it is.")
    password: SecretStr = Field(description="A secret: `{env: NAME}` or `{block: NAME}`.")
    folder: str = Field("INBOX", min_length=1, description="The folder that is read.")
    ca_file: Path | None = Field(
        None, description="PEM file of the authorities to trust. Default: the system's."
    )
    timeout: Timeout = Field(timedelta(seconds=60), description="How long to wait for each answer.")

    _is_ascii = field_validator("username", "password")(_require_ascii)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        return self.host, self.port or _IMAP_PORTS[self.security]


class SmtpSettings(ChannelSettings):
    """Settings of the SMTP channel."""

    host: str = Field(pattern=r"^[^\s/@]+$", description="The mail server's name or address.")
    port: int | None = Field(
        None, ge=1, le=65535, description="Default: 587, or by `security` 465 (tls) or 25 (none)."
    )
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="`starttls`, `tls` from the first byte, or `none`. Certificates are always verified.",
    )
    username: str | None = Field(None, description="Needs `password`, and `security` other than `none`.")
    password: SecretStr | None = Field(None, description="A secret: `{env: NAME}` or `{block: NAME}`.")
    ca_file: Path | None = Field(
        None, description="PEM file of the authorities to trust. Default: the system's."
    )
    timeout: Timeout = Field(
        timedelta(seconds=60), description="How long to wait for each answer, like `60s`."
    )
    batch_size: int = Field(20, ge=1, le=1000, description="Messages sent over one connection a call.")
    concurrency: int = Field(4, ge=1, le=64, description="The most connections at once.")
    helo: str | None = Field(
        None, pattern=r"^[!-~]+$", description="The name to greet with. Default: the machine's full name."
    )
    dkim: DkimSettings | None = Field(None, description="Signs letters. Default: the relay signs, or nobody.")
    bounce_address: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,10}@[A-Za-z0-9_-]+(\.[A-Za-z0-9-]+)*$",
        description="Where bounces go: `bounce@DOMAIN` takes `bounce+KEY@DOMAIN`. Default: to the sender.",
    )
    mailbox: MailboxSettings | None = Field(
        None, description="The mailbox of `bounce_address`, read over IMAP. Default: nothing is read."
    )

    _is_ascii = field_validator("username", "password")(_require_ascii)

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise PydanticCustomError("login", "`username` and `password` go together")
        if self.username is not None and self.security == "none":
            raise PydanticCustomError(
                "login", "a password is sent over TLS only; set `security` to starttls or tls"
            )
        if self.mailbox is not None and self.bounce_address is None:
            raise PydanticCustomError(
                "mailbox", "a mailbox needs `bounce_address`, by which its letters are known"
            )
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        return self.host, self.port or _SMTP_PORTS[self.security]
