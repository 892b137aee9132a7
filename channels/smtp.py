"""Email through a mail server: a pool of SMTP connections, each used by one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from channels.mime import Letter, compose
from channels.smtp_replies import ServerNotReady
from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    InDoubt,
    Message,
    Outcome,
    Rejected,
    Retry,
    by_count,
    require_fit,
)
from holdfast.errors import ChannelUnavailable
from holdfast.units import Timeout

if TYPE_CHECKING:
    from channels.smtp_connection import Connection

_DEFAULT_PORTS = {"none": 25, "starttls": 587, "tls": 465}

# A call survives the loss of one connection; after two the server had better be left alone for a while.
_CONNECTIONS_A_CALL = 2


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

    @field_validator("username", "password")
    @classmethod
    def _is_ascii(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and not (text and text.isascii() and text.isprintable()):
            raise PydanticCustomError("login", "not usable with SMTP, which takes ASCII characters only")
        return value

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise PydanticCustomError("login", "`username` and `password` go together")
        if self.username is not None and self.security == "none":
            raise PydanticCustomError(
                "login", "a password is sent over TLS only; set `security` to starttls or tls"
            )
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        return self.host, self.port or _DEFAULT_PORTS[self.security]


class SmtpChannel:
    """A mail server that relays for us."""

    Settings: ClassVar[type[ChannelSettings]] = SmtpSettings

    def __init__(self, name: str, settings: SmtpSettings) -> None:
        from channels.smtp_connection import Connector  # smtplib and ssl only for who sends

        self.name = name
        self.capabilities = self.describe(settings)
        self._connector = Connector(name, settings)
        self._slots = threading.BoundedSemaphore(settings.concurrency)
        self._lock = threading.Lock()  # guards the two below
        self._idle: list[Connection] = []
        self._is_closed = False

    @classmethod
    def describe(cls, settings: SmtpSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        return Capabilities(
            kind="email", html=True, batch_size=settings.batch_size, concurrency=settings.concurrency
        )

    def batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """The messages by `batch_size`."""
        return by_count(messages, self.capabilities.batch_size)

    def send(self, batch: Sequence[Message]) -> list[Outcome]:
        """Sends the batch over one connection, letter by letter.

        A letter is in doubt only when the connection broke between its last byte and the server's answer.
        Raises ChannelUnavailable when nothing was taken and an operator has to act: wrong password,
        untrusted certificate, refused sender.
        """
        require_fit(self.name, self.capabilities, batch)
        date = formatdate()  # when the letter was handed over: the channel's own moment, as an MTA stamps it
        letters = [compose(message, date) for message in batch]
        with self._slots:
            return self._deliver(letters)

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """Nothing: a mail server cannot be asked what became of a letter."""
        return {}

    def close(self) -> None:
        """Says goodbye on idle connections; a call still under way closes its own when it ends."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.quit()

    def _deliver(self, letters: list[Letter | Rejected]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        postponed = Retry(detail="connection lost")
        try:
            for _ in range(_CONNECTIONS_A_CALL):
                if len(outcomes) < len(letters):
                    self._deliver_over_one_connection(letters, outcomes)
        except ServerNotReady as error:
            postponed = Retry(detail=error.detail)
        except ChannelUnavailable:
            if not any(isinstance(outcome, Accepted | InDoubt) for outcome in outcomes):
                raise
            postponed = Retry(detail="channel unavailable")
        rest = letters[len(outcomes) :]
        return outcomes + [letter if isinstance(letter, Rejected) else postponed for letter in rest]

    def _deliver_over_one_connection(self, letters: list[Letter | Rejected], outcomes: list[Outcome]) -> None:
        """Goes on after the last outcome, up to the last letter or the end of the connection."""
        with self._connection() as connection:
            for letter in letters[len(outcomes) :]:
                outcomes.append(letter if isinstance(letter, Rejected) else connection.deliver(letter))
                if connection.is_closed:
                    return

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection = self._borrow()
        try:
            yield connection
        except BaseException:
            connection.abort()  # nobody knows where in the conversation it is
            raise
        with self._lock:
            is_kept = not (self._is_closed or connection.is_closed)
            if is_kept:
                self._idle.append(connection)
        if not is_kept:
            connection.quit()

    def _borrow(self) -> Connection:
        """An idle connection that the server still answers on, else a new one."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise ChannelUnavailable(f"channel {self.name!r} is closed")
                idle = self._idle.pop() if self._idle else None
            if idle is None:
                return self._connector.connect()
            if idle.reset():
                return idle
