"""Email through a mail server: a pool of SMTP connections, each used by one call at a time; and the mailbox
that answers come to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, ClassVar

from channels.mime import Letter, compose
from channels.returned_mail import response
from channels.smtp_replies import ServerNotReady
from channels.smtp_settings import SmtpSettings
from channels.verp import BounceAddress
from holdfast.channel import (
    Accepted,
    Capabilities,
    ChannelSettings,
    InDoubt,
    Message,
    Outcome,
    Polled,
    Rejected,
    Response,
    Retry,
    by_count,
    require_fit,
)
from holdfast.errors import ChannelUnavailable

if TYPE_CHECKING:
    from channels.imap_mailbox import Arrived
    from channels.smtp_connection import Connection

# A call survives the loss of one connection; after two the server had better be left alone for a while.
_CONNECTIONS_A_CALL = 2


class SmtpChannel:
    """A mail server that relays for us."""

    Settings: ClassVar[type[ChannelSettings]] = SmtpSettings

    def __init__(self, name: str, settings: SmtpSettings) -> None:
        from channels.dkim_signature import DkimSigner
        from channels.imap_mailbox import Mailbox
        from channels.smtp_connection import Connector  # smtplib and ssl only for who sends

        self.name = name
        self.capabilities = self.describe(settings)
        self._connector = Connector(name, settings)
        self._signer = DkimSigner(name, settings.dkim) if settings.dkim else None
        self._bounces = BounceAddress(settings.bounce_address) if settings.bounce_address else None
        self._mailbox = Mailbox(name, settings.mailbox) if settings.mailbox else None
        self._slots = threading.BoundedSemaphore(settings.concurrency)
        self._lock = threading.Lock()  # guards the two below
        self._idle: list[Connection] = []
        self._is_closed = False

    @classmethod
    def describe(cls, settings: SmtpSettings) -> Capabilities:
        """What the channel can do with these settings, without connecting."""
        return Capabilities(
            kind="email",
            html=True,
            batch_size=settings.batch_size,
            concurrency=settings.concurrency,
            attachments=True,
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
        letters = [self._letter(message, date) for message in batch]
        with self._slots:
            return self._deliver(letters)

    def lookup(self, keys: Sequence[str], since: datetime) -> dict[str, Outcome]:
        """Nothing: a mail server cannot be asked what became of a letter."""
        return {}

    def poll(self, cursor: str) -> Polled:
        """What the letters in the mailbox tell, from its first on; nothing without a mailbox."""
        bounces = self._bounces
        if self._mailbox is None or bounces is None:
            return Polled((), cursor)

        def understood(letter: Arrived) -> Response | None:
            try:
                return response(letter.content, letter.at, bounces)
            except Exception:  # a letter that the library stumbles over must not keep back those after it
                return None

        return self._mailbox.read(cursor, understood)

    def close(self) -> None:
        """Says goodbye on idle connections; a call still under way closes its own when it ends."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.quit()

    def _letter(self, message: Message, date: str) -> Letter | Rejected:
        letter = compose(message, date, self._bounces.of(message.key) if self._bounces else "")
        if self._signer is None or isinstance(letter, Rejected):
            return letter
        return replace(letter, content=self._signer.signed(letter.content))

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
