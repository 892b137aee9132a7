"""One conversation with a mail server, on top of smtplib's primitives.

smtplib's own `sendmail` cannot say whether a lost letter had been handed over whole. Here the line is
exact: before the final dot was written the server cannot have taken the letter, after it only its answer
tells.
"""

from __future__ import annotations

import errno
import smtplib
import socket
import ssl
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from channels.certificates import certificate_fault
from channels.mail_tls import trusting
from channels.mime import Letter
from channels.smtp_replies import ServerNotReady, Stage, blames_sender, refusal, reply_code
from holdfast.channel import Accepted, InDoubt, Outcome, Rejected, RejectReason, Retry
from holdfast.errors import ChannelUnavailable

if TYPE_CHECKING:
    from channels.smtp_settings import SmtpSettings

_FINAL_DOT = b".\r\n"
_GOODBYE_SECONDS = 2.0
_DONE = 250
_GO_AHEAD = 354
_SERVICE_CLOSES = 421

_NO_LOGIN = (
    "does not offer a login with a password",
    "leave out `username` and `password`, or correct `port`",
)
_LOST = (smtplib.SMTPException, OSError)


class Connector:
    """Opens connections to the mail server of one channel."""

    def __init__(self, name: str, settings: SmtpSettings) -> None:
        self._settings = settings
        self._host, self._port = settings.address
        self._who = f"channel {name!r}: the mail server {self._host}:{self._port}"
        self._timeout = settings.timeout.total_seconds()
        self._helo = settings.helo or _own_name()
        self._tls: ssl.SSLContext | None = None
        if settings.security != "none":
            self._tls = trusting(name, "ca_file", settings.ca_file)

    def connect(self) -> Connection:
        """A connection ready for letters, logged in where the settings say so.

        Raises ServerNotReady when it may work later, ChannelUnavailable when an operator has to act.
        """
        try:
            return Connection(self._who, self._open())
        except _LOST as error:
            raise self._explained(error) from None

    def _open(self) -> smtplib.SMTP:
        with ExitStack() as on_failure:
            smtp = self._greeted()
            on_failure.callback(smtp.close)
            # The final dot leaves in a packet of its own; Nagle's algorithm would hold it back for an answer.
            _socket(smtp).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            smtp.ehlo_or_helo_if_needed()
            if self._settings.security == "starttls":
                if not smtp.has_extn("starttls"):
                    raise self._unusable(
                        "does not offer STARTTLS", "set `security` to tls, or use another port"
                    )
                smtp.starttls(context=self._tls)
                smtp.ehlo_or_helo_if_needed()
            self._log_in(smtp)
            on_failure.pop_all()
        return smtp

    def _greeted(self) -> smtplib.SMTP:
        if self._settings.security == "tls":
            return smtplib.SMTP_SSL(
                self._host, self._port, self._helo, timeout=self._timeout, context=self._tls
            )
        return smtplib.SMTP(self._host, self._port, self._helo, timeout=self._timeout)

    def _log_in(self, smtp: smtplib.SMTP) -> None:
        username, password = self._settings.username, self._settings.password
        if username is None or password is None:
            return
        if not smtp.has_extn("auth"):
            raise self._unusable(*_NO_LOGIN)
        smtp.login(username, password.get_secret_value())

    def _explained(self, error: Exception) -> ServerNotReady | ChannelUnavailable:
        # The texts of these errors hold the server's words, which may hold anything: only codes are told.
        match error:
            case ssl.SSLCertVerificationError():
                fault = certificate_fault(error)
                return self._unusable(f"has a certificate that {fault}", "correct `host` or `ca_file`")
            case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | smtplib.SMTPServerDisconnected():
                return ServerNotReady("connection lost")
            case ssl.SSLError():
                return self._unusable("does not speak TLS on this port", "correct `security` or `port`")
            case smtplib.SMTPAuthenticationError() if error.smtp_code >= 500:
                code = reply_code(error.smtp_code, _bytes(error.smtp_error))
                return self._unusable(f"refuses the login ({code})", "correct `username` and `password`")
            case smtplib.SMTPResponseException() if error.smtp_code >= 500:
                code = reply_code(error.smtp_code, _bytes(error.smtp_error))
                return self._unusable(f"refuses to talk to us ({code})", "ask who runs the mail server")
            case smtplib.SMTPResponseException() if error.smtp_code >= 400:
                return ServerNotReady(reply_code(error.smtp_code, _bytes(error.smtp_error)))
            case smtplib.SMTPResponseException():
                return self._unusable("does not speak SMTP on this port", "correct `host` or `port`")
            case smtplib.SMTPException():
                return self._unusable(*_NO_LOGIN)
            case TimeoutError():
                return ServerNotReady("timeout")
            case socket.gaierror():
                return ServerNotReady("host not found")
            case OSError(errno=int(number)):
                return ServerNotReady(errno.errorcode.get(number, "connection failed"))
        return ServerNotReady("connection failed")

    def _unusable(self, what: str, hint: str) -> ChannelUnavailable:
        return ChannelUnavailable(f"{self._who} {what}", hint=hint)


class Connection:
    """A connection that letters go over, one after the other. Used by one thread at a time."""

    def __init__(self, who: str, smtp: smtplib.SMTP) -> None:
        self._who = who
        self._smtp = smtp
        smtp.command_encoding = "utf-8"  # for addresses that need SMTPUTF8

    @property
    def is_closed(self) -> bool:
        """Whether the connection is of no more use."""
        return self._smtp.sock is None

    def deliver(self, letter: Letter) -> Outcome:
        """Hands the letter over. Raises ChannelUnavailable when the server will have none from this sender.

        Afterwards the connection is ready for the next letter, or closed.
        """
        if letter.utf8 and not self._smtp.has_extn("smtputf8"):
            return Rejected(RejectReason.BAD_ADDRESS, "no SMTPUTF8")
        try:
            refused = self._announce(letter)
            if refused is not None:
                return refused
            _socket(self._smtp).sendall(letter.content.replace(b"\r\n.", b"\r\n.."))
        except _LOST:
            self.abort()
            return Retry(detail="connection lost")
        return self._finish(letter)

    def reset(self) -> bool:
        """Forgets an unfinished letter; tells whether the server still answers."""
        try:
            code, _ = self._smtp.docmd("RSET")
        except _LOST:
            code = -1
        if code != _DONE:
            self.abort()
        return code == _DONE

    def abort(self) -> None:
        """Closes without a word."""
        self._smtp.close()

    def quit(self) -> None:
        """Closes with a goodbye."""
        with suppress(*_LOST):
            if not self.is_closed:
                _socket(self._smtp).settimeout(_GOODBYE_SECONDS)
                self._smtp.quit()
        self.abort()

    def _announce(self, letter: Letter) -> Outcome | None:
        """The envelope, up to the server's go-ahead for the content; the outcome if there is none."""
        commands = (
            (Stage.SENDER, _DONE, f"MAIL FROM:<{letter.sender}>{self._parameters(letter)}"),
            (Stage.RECIPIENT, _DONE, f"RCPT TO:<{letter.recipient}>"),
            (Stage.CONTENT, _GO_AHEAD, "DATA"),
        )
        for stage, wanted, command in commands:
            code, text = self._smtp.docmd(command)
            if code // 100 != wanted // 100:
                return self._refused(stage, code, text)
        return None

    def _parameters(self, letter: Letter) -> str:
        size = f" SIZE={len(letter.content)}" if self._smtp.has_extn("size") else ""
        return f"{size} SMTPUTF8 BODY=8BITMIME" if letter.utf8 else size

    def _finish(self, letter: Letter) -> Outcome:
        try:
            _socket(self._smtp).sendall(_FINAL_DOT)
            code, text = self._smtp.getreply()
        except _LOST:
            self.abort()
            return InDoubt(detail="no answer to the letter")
        if code // 100 == _DONE // 100:
            return Accepted(letter.message_id)
        if code < 400:
            self.abort()
            return InDoubt(detail="an answer that is not SMTP")
        return self._refused(Stage.CONTENT, code, text)

    def _refused(self, stage: Stage, code: int, text: bytes) -> Outcome:
        if blames_sender(stage, code, text):
            told = reply_code(code, text)
            raise ChannelUnavailable(
                f"{self._who} takes nothing from this sender ({told})",
                hint="correct `from` under brand, `bounce_address` or the login, or ask who runs the server",
            )
        if code < 400:
            self.abort()
            return Retry(detail="an answer that is not SMTP")
        if code == _SERVICE_CLOSES:
            self.abort()
        else:
            self.reset()
        return refusal(stage, code, text)


def _own_name() -> str:
    # Not getfqdn(), which may ask the DNS for seconds. Without a full name, a literal that any server takes.
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


def _socket(smtp: smtplib.SMTP) -> socket.socket:
    if smtp.sock is None:
        raise smtplib.SMTPServerDisconnected("closed")
    return smtp.sock


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
