"""A mail server that takes everything and keeps nothing, for measuring: `python -m tests.servers.smtp_sink`.

Prints its port, then serves until its standard input ends. Much faster than a real server, so that what is
measured is the client.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

_REPLIES = {
    b"EHLO": b"250-sink\r\n250-SIZE 50000000\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}


class _Sink(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""
        self._in_content = False
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = b"\r\n.\r\n" if self._in_content else b"\r\n"
            line, found, rest = self._buffer.partition(end)
            if not found:
                return
            self._buffer = rest
            if self._in_content:
                self._in_content = False
                self._transport.write(b"250 2.0.0 Ok\r\n")
                continue
            verb = line[:4].upper()
            self._in_content = verb == b"DATA"
            self._transport.write(_REPLIES.get(verb, b"250 2.0.0 Ok\r\n"))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
