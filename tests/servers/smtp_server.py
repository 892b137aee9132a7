"""A real mail server (aiosmtpd) that can be told to misbehave, phase by phase."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import Enum, auto
from typing import Any, NoReturn, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Act(Enum):
    """What the server does instead of answering."""

    DROP = auto()  # resets the connection
    HANG = auto()  # never answers
    TAKE_AND_DROP = auto()  # after the dot: takes the letter and resets the connection


Script = Mapping[str, Sequence["str | Act | None"]]
"""For each phase what happens the first, second … time; None, and whatever comes after the end, is normal.

Phases: BANNER, MAIL, RCPT, DATA (the command), BODY (in the middle of the content), END (after the dot).
"""


@dataclass(frozen=True)
class Mail:
    """One letter that the server took."""

    sender: str
    recipient: str
    content: bytes

    @property
    def parsed(self) -> EmailMessage:
        """The letter as the standard library understands it."""
        return cast(EmailMessage, message_from_bytes(self.content, policy=policy.default))


class SmtpServer:
    """Serves on 127.0.0.1 from a thread until closed. `mails` in the order taken; `connections` ever made."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        refused: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        starttls: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        smtputf8: bool = True,
        port: int = 0,
    ) -> None:
        self.mails: list[Mail] = []
        self.connections = 0
        self._acts: dict[str, deque[str | Act | None]] = {}
        self._refused = dict(refused or {})
        self._login = login
        self._open: set[asyncio.BaseTransport] = set()
        self._idle = threading.Event()
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            port=port,
            ready_timeout=30,
            ssl_context=tls,
            tls_context=starttls,
            enable_SMTPUTF8=smtputf8,
            data_size_limit=None,
            authenticator=self._authenticate if login else None,
            auth_exclude_mechanism=None if login else ["LOGIN", "PLAIN"],
            auth_required=login is not None,
            auth_require_tls=starttls is not None,
        )
        self._controller.start()
        self.port: int = self._controller.port
        self.is_running = True
        # The controller's own knock does not count, nor use up a banner.
        self.connections = 0
        self._acts.update((phase, deque(acts)) for phase, acts in (script or {}).items())

    def drop_connections(self) -> None:
        """Resets every open connection, as a server does that was restarted; returns when that is done."""
        done = threading.Event()

        def drop() -> None:
            for transport in self._open:
                # Python before 3.11.4 trips over a TLS connection that has just closed by itself.
                with suppress(AttributeError):
                    cast(asyncio.Transport, transport).abort()
            done.set()

        self._controller.loop.call_soon_threadsafe(drop)
        assert done.wait(30)

    def wait_until_idle(self) -> None:
        """Returns when no connection is open; fails after 30 seconds."""
        assert self._idle.wait(30)

    def close(self) -> None:
        """Stops; its port refuses connections from now on."""
        if self.is_running:
            self.drop_connections()
            self._controller.stop()
            self.is_running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
        return AuthResult(success=given == self._login, handled=False)

    def next_act(self, phase: str) -> str | Act | None:
        """What the script says for the phase this time."""
        acts = self._acts.get(phase)
        return acts.popleft() if acts else None

    def opened(self, transport: asyncio.BaseTransport) -> None:
        """A connection began."""
        self._open.add(transport)
        self._idle.clear()

    def lost(self, transport: asyncio.BaseTransport) -> None:
        """A connection ended."""
        self._open.discard(transport)
        if not self._open:
            self._idle.set()

    # aiosmtpd's hooks

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self._refused:
            return self._refused[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: _Scripted, session: Any, envelope: Any) -> str:  # noqa: N802
        act = self.next_act("END")
        if isinstance(act, str) and not act.startswith("2"):
            return act
        if act not in (Act.DROP, Act.HANG):
            self.mails.append(Mail(envelope.mail_from, envelope.rcpt_tos[0], envelope.original_content))
        if isinstance(act, Act):
            await server.misbehave(act)
        return act or "250 2.0.0 Ok: queued"


class _Controller(Controller):  # type: ignore[misc]
    def factory(self) -> SMTP:
        self.handler.connections += 1
        return _Scripted(self.handler, **self.SMTP_kwargs)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class _Scripted(SMTP):  # type: ignore[misc]
    _has_greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # After STARTTLS it is made a second time, with the encrypted transport.
        if self.transport is None:
            self._raw_transport = transport
            self.event_handler.opened(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.event_handler.lost(self._raw_transport)
        super().connection_lost(error)

    async def push(self, status: str) -> None:
        if not self._has_greeted:
            self._has_greeted = True
            if await self._plays("BANNER"):
                return
        await super().push(status)

    async def smtp_MAIL(self, arg: str) -> None:  # noqa: N802
        if not await self._plays("MAIL"):
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str) -> None:  # noqa: N802
        if not await self._plays("RCPT"):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if await self._plays("DATA"):
            return
        act = self.event_handler.next_act("BODY")
        if isinstance(act, Act):
            await self.push("354 go on")
            await self._reader.readexactly(1000)
            await self.misbehave(act)
        await super().smtp_DATA(arg)

    async def misbehave(self, act: Act) -> NoReturn:
        if act is not Act.HANG:
            self.transport.abort()
        await asyncio.Event().wait()  # cancelled when the connection ends
        raise AssertionError

    async def _plays(self, phase: str) -> bool:
        act = self.event_handler.next_act(phase)
        if act is None:
            return False
        if isinstance(act, Act):
            await self.misbehave(act)
        await super().push(act)
        if act.startswith("421"):
            self.transport.close()
        return True
