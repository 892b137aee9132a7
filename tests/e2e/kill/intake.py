"""Intake under kills: the web app in a process that is killed and started again, and senders who repeat what
got no 2xx."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import uvicorn

from holdfast.web import app

PATH = "/webhooks/email"
SECRETS = {"SENDGRID_API_KEY": "SG.x"}
SENDERS = 4

SignedBody = tuple[bytes, dict[str, str]]

# Servers are forked from a process that has everything imported, so that one is up again in a moment.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.e2e.kill.intake"])


def serve(root: Path, database: str, pipe: Connection) -> None:
    """The project's web app behind uvicorn, as it is run, on the port that it is told; until it is killed."""
    os.environ |= {
        "HOLDFAST_PROJECT": str(root),
        "HOLDFAST_DATABASE_URL": database,
        "SENDGRID_API_KEY": "SG.x",
    }
    config = uvicorn.Config(app(), log_config=None, lifespan="off")
    with socket.create_server(("127.0.0.1", pipe.recv())) as listening:
        pipe.send(listening.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listening])


class Server:
    """A process that serves once it is let, and those that are ready to follow it when it is killed."""

    def __init__(self, root: Path, database: str, followers: int) -> None:
        self._given = root, database
        self._processes = [self._made() for _ in range(1 + min(followers, 1))]
        self._followers = followers
        self.port = 0
        self._start()

    def killed(self) -> None:
        """SIGKILL, to a server that was at work until then; the next one serves on the same port."""
        process, _ = self._processes.pop(0)
        assert process.is_alive()
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        self._followers -= 1
        self._start()
        if self._followers:
            self._processes.append(self._made())

    def end(self) -> None:
        """Ends it, and who would have followed."""
        for process, _ in self._processes:
            process.kill()
            process.join(60)

    def _start(self) -> None:
        """Returns when connections are taken."""
        _, pipe = self._processes[0]
        pipe.send(self.port)
        self.port = pipe.recv()

    def _made(self) -> tuple[Any, Connection]:
        ours, theirs = processes.Pipe()
        process = processes.Process(target=serve, args=(*self._given, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours


class Senders:
    """Post signed bodies over several connections, each until it got a 2xx.

    `broken` counts the posts that got no answer; each was posted again.
    """

    def __init__(self, bodies: Sequence[SignedBody], kills: int, random: Random) -> None:
        self._bodies = bodies
        self.taken = self.broken = 0
        self._waiting = deque(range(len(bodies)))
        # How many have to be taken for a kill. Then others are under way, and enough is left for the next.
        self._moments = deque(sorted(random.sample(range(1, len(bodies) * 4 // 5), kills)))
        self._lock = threading.Lock()
        self._is_up = threading.Event()

    def send_all(self, server: Server) -> None:
        """Posts everything, while the server is killed time and again."""
        self._is_up.set()
        with ThreadPoolExecutor(SENDERS) as pool:
            for sender in [pool.submit(self._send, server) for _ in range(SENDERS)]:
                sender.result()

    def _send(self, server: Server) -> None:
        while self._waiting:
            assert self._is_up.wait(60), "the server did not come back"
            with (
                suppress(OSError, HTTPException, IndexError),
                closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection,
            ):
                while True:
                    self._post(connection, self._waiting.popleft())
                    if self._is_time_to_kill():
                        server.killed()
                        self._is_up.set()

    def _post(self, connection: HTTPConnection, number: int) -> None:
        try:
            connection.request("POST", PATH, *self._bodies[number])
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            with self._lock:
                self.broken += 1
            self._waiting.append(number)
            raise
        assert answer.status == 204, answer.status

    def _is_time_to_kill(self) -> bool:
        with self._lock:
            self.taken += 1
            if self._moments and self.taken >= self._moments[0] and self._is_up.is_set():
                self._moments.popleft()
                self._is_up.clear()
                return True
        return False
