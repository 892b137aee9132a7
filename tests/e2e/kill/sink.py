"""A provider in a process of its own: `python -m tests.e2e.kill.sink batch|sendgrid|smtp JOURNAL`.

What it takes is in the journal before it is answered, so that the journal is what the recipients saw,
whatever becomes of the sender. Nobody at a domain with an underscore is known to it.

Prints where it listens, and the key of its webhook. Then it is told what to do, in JSON, a line each:
`{"hold": n}` makes it hold its answer to the n-th call from then (0: to none); it says `ready`, and `held`
when it does. `{"replay": url, "keys": […]}` makes it tell the web app at that address what became of the
messages with these keys; it says `told`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx

from tests.servers.sendgrid_server import SendgridServer
from tests.servers.smtp_server import Mail, SmtpServer
from tests.servers.stand_in import Act, Answer, Request

EVENTS_A_BODY = 500
_MESSAGE_ID = re.compile(rb"^Message-ID: <([^@>]+)@", re.MULTILINE)
_PIXEL = re.compile(r'/o/([^"/]+)\.gif"')


class Journal:
    """What was taken, `key address` a line; and the call whose answer is held, when that one is taken."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()
        self._until_held = 0

    def hold(self, nth: int) -> None:
        with self._lock:
            self._until_held = nth
        print("ready", flush=True)

    def is_held(self, taken: Iterable[tuple[str, str]]) -> bool:
        """Writes down what one call brought; whether its answer is to be held."""
        with self._lock:
            self._file.write("".join(f"{key} {address}\n" for key, address in taken))
            self._until_held -= 1
            if self._until_held != 0:
                return False
        print("held", flush=True)
        return True


class Provider(Protocol):
    """One of the three. `address` is what senders have to know of it."""

    address: dict[str, Any]

    def replay(self, web: httpx.Client, keys: Sequence[str]) -> None:
        """Tells the web app what became of the messages with these keys."""

    def close(self) -> None:
        """Serves no longer."""


class BatchSink:
    """JSON lines over TCP.

    `{"send": [[key, address], …]}` takes a batch: whole or, because of an address, not at all.
    `{"lookup": [key, …]}` says which of them it has.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._taken: set[str] = set()
        self._loop = asyncio.new_event_loop()
        serving = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**22)
        server = self._loop.run_until_complete(serving)
        self.address: dict[str, Any] = {"port": server.sockets[0].getsockname()[1]}
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def replay(self, web: httpx.Client, keys: Sequence[str]) -> None:
        """It tells nothing by itself, it is asked."""

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a sender, until that dies."""
        try:
            while line := await reader.readline():
                request = json.loads(line)
                answer: dict[str, Any]
                if "lookup" in request:
                    answer = {"known": [key for key in request["lookup"] if key in self._taken]}
                elif any("_" in address for _, address in request["send"]):
                    answer = {"refused": True}
                else:
                    self._taken.update(key for key, _ in request["send"])
                    if self._journal.is_held(request["send"]):
                        await reader.read()
                        return
                    answer = {"taken": len(request["send"])}
                writer.write(json.dumps(answer).encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            writer.close()


class Sendgrid(SendgridServer):
    """SendGrid, whose events all say that the letter was delivered."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self.address = {"port": self.port, "webhook_key": self.webhook_key}
        self.__enter__()

    def answer(self, request: Request, act: Answer | Act | None) -> Answer | None:
        """Holds an answer, if it is to, while others are given."""
        answer = super().answer(request, act)
        if answer is not None and answer.status == 202:
            sent = request.json["personalizations"]
            if self._journal.is_held((own["custom_args"]["hf"], own["to"][0]["email"]) for own in sent):
                self.closing.wait()
        return answer

    def replay(self, web: httpx.Client, keys: Sequence[str]) -> None:
        """Signed webhooks, processed and delivered, each body twice: it repeats what it was not thanked for
        in time."""
        wanted, now = set(keys), datetime.now(UTC)
        mails = [mail for mail in self.mails if mail.key in wanted]
        events = [self.event(mail, kind, now) for kind in ("processed", "delivered") for mail in mails]
        for start in range(0, len(events), EVENTS_A_BODY):
            body = json.dumps(events[start : start + EVENTS_A_BODY]).encode()
            for _ in range(2):
                web.post("/webhooks/out", content=body, headers=self.signed(body, now)).raise_for_status()

    def close(self) -> None:
        self.__exit__()


class MailServer(SmtpServer):
    """A mail server, whose recipients open the letters they got."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._by_key: dict[str, Mail] = {}
        super().__init__()
        self.address = {"port": self.port}

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if "_" in address:
            return "550 5.1.1 nobody here by that name"
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = await super().handle_DATA(server, session, envelope)
        mail = self.mails[-1]
        found = _MESSAGE_ID.search(mail.content)
        assert found is not None
        key = found[1].decode()
        self._by_key[key] = mail
        if self._journal.is_held([(key, mail.recipient)]):
            await asyncio.Event().wait()  # cancelled when the connection ends
        return answer

    def replay(self, web: httpx.Client, keys: Sequence[str]) -> None:
        """Those recipients open their letters, and the pixel is loaded."""
        for mail in (self._by_key[key] for key in keys if key in self._by_key):
            page = mail.parsed.get_body(("html",))
            assert page is not None
            found = _PIXEL.search(page.get_content())
            assert found is not None
            web.get(f"/o/{found[1]}.gif").raise_for_status()


PROVIDERS: dict[str, Callable[[Journal], Provider]] = {
    "batch": BatchSink,
    "sendgrid": Sendgrid,
    "smtp": MailServer,
}


def main(name: str, path: Path) -> None:
    """Serves until its standard input ends."""
    journal = Journal(path)
    with ExitStack() as stack:
        provider = PROVIDERS[name](journal)
        stack.callback(provider.close)
        print(json.dumps(provider.address), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            if "hold" in order:
                journal.hold(order["hold"])
            else:
                with httpx.Client(base_url=order["replay"]) as web:
                    provider.replay(web, order["keys"])
                print("told", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
