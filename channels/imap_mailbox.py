"""A mailbox that is read over IMAP and never changed: what is new in it since the last time."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from channels.certificates import certificate_fault
from channels.mail_tls import trusting
from channels.smtp_settings import MailboxSettings
from holdfast.channel import Polled, Response
from holdfast.errors import ChannelError, ChannelUnavailable

_LETTERS_A_POLL = 2000
_LETTERS_AT_ONCE = 50
_SEARCHED_AT_ONCE = 90_000
# What matters stands at the beginning; what follows is the letter that came back, or an attachment.
_BYTES_OF_A_LETTER = 131_072
_CONTENT = f"BODY.PEEK[]<0.{_BYTES_OF_A_LETTER}>"

_CURSOR = re.compile(r"(\d{1,10}):(\d{1,10})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Arrived:
    """The beginning of a letter in the mailbox, and when the mail server took it."""

    content: bytes
    at: datetime


class Mailbox:
    """The mailbox of one channel. A cursor is the folder's UIDVALIDITY and the last UID that was read."""

    def __init__(self, name: str, settings: MailboxSettings) -> None:
        self._settings = settings
        self._host, self._port = settings.address
        self._who = f"channel {name!r}: the mailbox at {self._host}:{self._port}"
        self._tls = trusting(name, "mailbox.ca_file", settings.ca_file)
        logging.getLogger("imapclient").setLevel(logging.WARNING)  # it logs what goes over the wire

    def read(self, cursor: str, understand: Callable[[Arrived], Response | None]) -> Polled:
        """What the letters after the cursor come to; at the first time, all. Raises ChannelUnavailable.

        At most 2,000 a call. What was read before the connection broke counts.
        """
        responses: list[Response] = []
        with self._opened() as client:
            folder = client.select_folder(self._settings.folder, readonly=True)
            validity, next_ = _number(folder, b"UIDVALIDITY"), _number(folder, b"UIDNEXT")
            last = _last_uid(cursor, validity)
            place = f"{validity}:{last}"
            try:
                for page in _pages(client, last, next_):
                    letters = _fetched(client, page)
                    responses += [found for letter in letters if (found := understand(letter)) is not None]
                    place = f"{validity}:{page[-1]}"
            except (IMAPClientError, OSError):
                if place == f"{validity}:{last}":
                    raise
        return Polled(responses, place)

    @contextmanager
    def _opened(self) -> Iterator[IMAPClient]:
        # The texts of these errors hold the server's words, which may hold anything: they are not told.
        try:
            with self._connected() as client:
                self._log_in(client)
                yield client
        except ChannelError:
            raise
        except ssl.SSLCertVerificationError as error:
            what = f"has a certificate that {certificate_fault(error)}"
            raise self._unusable(what, "correct mailbox.host or mailbox.ca_file") from None
        except ssl.SSLError:
            what = "does not speak TLS on this port"
            raise self._unusable(what, "correct mailbox.security or mailbox.port") from None
        except (IMAPClientAbortError, OSError):
            raise self._unusable("does not answer now", "it is asked again later") from None
        except LoginError:
            what = "refuses the login"
            raise self._unusable(what, "correct mailbox.username and mailbox.password") from None
        except IMAPClientError:
            what = f"cannot be read, or has no folder {self._settings.folder!r}"
            raise self._unusable(what, "correct mailbox.folder, or ask who runs the server") from None

    def _connected(self) -> IMAPClient:
        is_tls = self._settings.security == "tls"
        return IMAPClient(
            self._host,
            self._port,
            ssl=is_tls,
            ssl_context=self._tls if is_tls else None,
            timeout=self._settings.timeout.total_seconds(),
        )

    def _log_in(self, client: IMAPClient) -> None:
        client.normalise_times = False
        if self._settings.security == "starttls":
            if not client.has_capability("STARTTLS"):
                raise self._unusable("does not offer STARTTLS", "set mailbox.security to tls")
            client.starttls(self._tls)
        client.login(self._settings.username, self._settings.password.get_secret_value())

    def _unusable(self, what: str, hint: str) -> ChannelUnavailable:
        return ChannelUnavailable(f"{self._who} {what}", hint=hint)


def _last_uid(cursor: str, validity: int) -> int:
    """0 where nothing was read yet, or the server has numbered the folder anew: then all is read again."""
    found = _CURSOR.fullmatch(cursor)
    return int(found[2]) if found and int(found[1]) == validity else 0


def _pages(client: IMAPClient, last: int, next_: int) -> Iterator[Sequence[int]]:
    uids = _new(client, last, next_)
    for start in range(0, len(uids), _LETTERS_AT_ONCE):
        yield uids[start : start + _LETTERS_AT_ONCE]


def _new(client: IMAPClient, last: int, next_: int) -> list[int]:
    """The UIDs between these two that there are, the first ones, as many as a poll reads."""
    found: list[int] = []
    # Piece by piece: the library below takes no answer with a line of more than a megabyte.
    for start in range(last + 1, next_, _SEARCHED_AT_ONCE):
        found += sorted(client.search(["UID", f"{start}:{min(start + _SEARCHED_AT_ONCE, next_) - 1}"]))
        if len(found) >= _LETTERS_A_POLL:
            break
    return found[:_LETTERS_A_POLL]


def _fetched(client: IMAPClient, uids: Sequence[int]) -> Iterator[Arrived]:
    """The letters that are still there."""
    found = _given(client, uids)
    for uid in uids:
        answer = found.get(uid, {})
        content, at = answer.get(b"BODY[]<0>"), answer.get(b"INTERNALDATE")
        if isinstance(content, bytes) and isinstance(at, datetime):
            yield Arrived(content, at.astimezone(UTC))


def _given(client: IMAPClient, uids: Sequence[int]) -> dict[int, dict[bytes, Any]]:
    """What the server says of these letters. For one that it cannot give it refuses the whole call, now and
    ever again: then it is asked for each by itself."""
    what = ["INTERNALDATE", _CONTENT]
    try:
        return client.fetch(uids, what)  # type: ignore[no-any-return]
    except IMAPClientAbortError:
        raise
    except IMAPClientError:
        found: dict[int, dict[bytes, Any]] = {}
        for uid in uids:
            try:
                found |= client.fetch([uid], what)
            except IMAPClientAbortError:
                raise
            except IMAPClientError:
                continue
        if not found:
            raise  # it gives nothing at all: that may pass
        return found


def _number(answer: dict[bytes, Any], field: bytes) -> int:
    value = answer.get(field)
    if not isinstance(value, int):
        raise IMAPClientError
    return value
