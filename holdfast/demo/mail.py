"""A real mail server for the demo: takes any letter and writes it into a folder.

    python -m holdfast.demo.mail FOLDER PORT

Prints `listening on 127.0.0.1:PORT` once it takes mail (port 0 takes a free one) and serves until it is
interrupted or terminated.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from email import message_from_bytes
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller

_UNSAFE = re.compile(r"[^A-Za-z0-9@._-]")


class _Folder:
    """Writes each letter to a file named for its Message-ID, so that one sent twice shows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        content: bytes = envelope.original_content
        path = self._free_path(content)
        partial = path.with_name(f".{path.name}")
        partial.write_bytes(content)
        partial.rename(path)
        return "250 2.0.0 Ok"

    def _free_path(self, content: bytes) -> Path:
        message_id = message_from_bytes(content)["Message-ID"] or sha256(content).hexdigest()
        stem = _UNSAFE.sub("", message_id).lstrip(".")[:150] or "letter"
        path, copies = self._folder / f"{stem}.eml", 1
        while path.exists():
            copies += 1
            path = self._folder / f"{stem}.{copies}.eml"
        return path


class _Controller(Controller):
    def _trigger_server(self) -> None:
        # It connects to itself to see that it runs, so it has to know the port that it was given for 0.
        assert isinstance(self.server, asyncio.Server)  # noqa: S101 - for the type checker
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


class MailServer:
    """The server in this process, on 127.0.0.1; `port` is the one it listens on. A context manager."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._controller = _Controller(_Folder(folder), hostname="127.0.0.1", port=port, ready_timeout=30)
        self._controller.start()
        self.port: int = self._controller.port

    def close(self) -> None:
        """Stops listening and drops open connections."""
        self._controller.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def main(arguments: list[str]) -> int:
    """Serves until told to stop. 2 for wrong use, 1 when the port is taken."""
    if len(arguments) != 2 or not arguments[1].isdecimal():
        print("usage: python -m holdfast.demo.mail FOLDER PORT", file=sys.stderr)
        return 2
    signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the server's thread starts, which inherits it: they are for sigwait below.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        server = MailServer(Path(arguments[0]), int(arguments[1]))
    except OSError:
        print(f"port {arguments[1]} cannot be listened on", file=sys.stderr)
        return 1
    with server:
        print(f"listening on 127.0.0.1:{server.port}", flush=True)
        signal.sigwait(signals)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
