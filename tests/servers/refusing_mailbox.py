"""A mail server whose mailbox has letters that it cannot give: it refuses every call that asks for one."""

from __future__ import annotations

import re
import socketserver
import ssl
import threading
from collections.abc import Collection
from typing import Self

import trustme

_AT = "03-Jun-2026 12:00:00 +0000"


class RefusingMailbox:
    """Serves letters 1 to `count`, each with its number as its subject, by TLS on 127.0.0.1."""

    def __init__(self, authority: trustme.CA, count: int, refused: Collection[int]) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)

        class Session(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def handle(self) -> None:
                self.wfile.write(b"* OK ready\r\n")
                for line in self.rfile:
                    tag, _, command = line.decode().strip().partition(" ")
                    self.wfile.write(_answer(tag, command, count, refused).encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()


def _answer(tag: str, command: str, count: int, refused: Collection[int]) -> str:
    done = f"{tag} OK done\r\n"
    if command.startswith("CAPABILITY"):
        return "* CAPABILITY IMAP4rev1\r\n" + done
    if command.startswith(("SELECT", "EXAMINE")):
        return f"* {count} EXISTS\r\n* OK [UIDVALIDITY 7] known\r\n* OK [UIDNEXT {count + 1}] next\r\n" + done
    if found := re.match(r"UID SEARCH UID (\d+):(\d+)", command):
        return f"* SEARCH {' '.join(map(str, range(int(found[1]), int(found[2]) + 1)))}\r\n" + done
    if found := re.match(r"UID FETCH ([\d,]+) ", command):
        uids = [int(uid) for uid in found[1].split(",")]
        if set(uids) & set(refused):
            return f"{tag} NO [SERVERBUG] Internal error\r\n"
        return "".join(map(_letter, uids)) + done
    return done


def _letter(uid: int) -> str:
    content = f"Subject: {uid}\r\n\r\nHello\r\n"
    head = f'* {uid} FETCH (UID {uid} INTERNALDATE "{_AT}" BODY[]<0> {{{len(content)}}}\r\n'
    return f"{head}{content})\r\n"
