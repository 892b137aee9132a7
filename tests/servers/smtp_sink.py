"""A mail server that takes everything and keeps nothing, for measuring: `python -m tests.servers.smtp_sink`.

Prints its port, then serves until its standard input ends. NOOP answers how many letters it took since the
last one. Much faster than a real server, so that what is measured is the client.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import cast

_REPLIES = {
    b"EHLO": b"250-sink\r\n250-SIZE 50000000\r\n250-PIPELINING\r\n250 SMTPUTF8\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}


class _Sink(asyncio.Protocol):
    def __init__(self, taken: Counter[str]) -> None:
        self._taken = taken
        self._buffer = b""
        self._in_content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        replies = []
        while True:
            line, found, rest = self._buffer.partition(b"\r\n.\r\n" if self._in_content else b"\r\n")
            if not found:
                break
            self._buffer = rest
            replies.append(self._content_ended() if self._in_content else self._reply(line[:4].upper()))
        self._transport.write(b"".join(replies))

    def _content_ended(self) -> bytes:
        self._in_content = False
        self._taken["letters"] += 1
        return b"250 2.0.0 Ok\r\n"

    def _reply(self, verb: bytes) -> bytes:
        self._in_content = verb == b"DATA"
        if verb == b"NOOP":
            return b"250 %d\r\n" % self._taken.pop("letters", 0)
        return _REPLIES.get(verb, b"250 2.0.0 Ok\r\n")


async def _serve() -> None:
    loop, taken = asyncio.get_running_loop(), Counter[str]()
    server = await loop.create_server(lambda: _Sink(taken), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
