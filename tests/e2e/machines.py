"""What tests of several processes share: a shop that writes letters, its mail server, and its processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from holdfast.delivery import Workspace
from holdfast.orchestration.blocks import read_block
from holdfast.store.imports import import_file
from holdfast.tables import messages, runs
from holdfast.wiring import open_workspace
from tests.servers.smtp_server import SmtpServer

CUSTOMERS = 80

PROJECT = """\
brand: {{name: Acme, public_url: "https://r.acme.example", postal_address: "1 High St"}}
channels:
  email: {{adapter: smtp, host: 127.0.0.1, port: {port}, security: none, batch_size: 1, concurrency: 1}}
dispatch: {{chunk: 10, threads: 1, lease: 4s}}
runner: {runner}
schedules: {{collect: "0 0 1 1 *", refresh: "0 0 1 1 *"}}
"""
LETTER = """\
campaign: letter
audience: {country: {in: [DE]}}
steps:
  - {id: letter, channels: [email], template: letter}
"""
HTML = """{% block subject %}Hello{% endblock %}
{% block body %}<p>Hello {{ customer.first_name | or_('there') }}!</p>
<a href="{{ links.unsubscribe }}">Leave</a>{% endblock %}"""
RUN = """\
import sys
from pathlib import Path
from holdfast.errors import HoldfastError
from holdfast.orchestration.running import run_now
try:
    ended = run_now(Path(sys.argv[1]), "letter", key="june", resume=len(sys.argv) > 2)
    print(ended.state, ended.message, sep=": ")
except HoldfastError as error:
    print(type(error).__name__, error, sep=": ")
"""


class Mailroom(SmtpServer):
    """Takes `free` letters; then each connection's next one is held until it is let go."""

    def __init__(self, free: int = 20) -> None:
        self._free = free
        self._go = threading.Event()
        self.held = 0
        super().__init__()

    def let_go(self) -> None:
        self._go.set()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if len(self.mails) >= self._free and not self._go.is_set():
            self.held += 1
            await asyncio.get_running_loop().run_in_executor(None, self._go.wait)
        return await super().handle_DATA(server, session, envelope)

    def writers(self, process: int) -> list[int]:
        """Those of the process and its children that are connected."""
        family = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
        return [
            one.pid
            for one in family
            if any(end.raddr and end.raddr.port == self.port for end in one.net_connections())
        ]

    def everyone_got_one_letter(self) -> bool:
        return Counter(letter.recipient for letter in self.mails) == Counter(
            f"c{n}@customer.example" for n in range(CUSTOMERS)
        )


@dataclass
class Shop:
    """A project in a folder, with customers who can be written to."""

    root: Path
    workspace: Workspace

    def states(self) -> dict[str, int]:
        """The messages, counted by state."""
        counts = select(messages.c.state, func.count()).group_by(messages.c.state)
        with self.workspace.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(counts)}

    def run_states(self) -> list[str]:
        with self.workspace.database.read() as connection:
            return list(connection.scalars(select(runs.c.state).order_by(runs.c.id)))

    def run(self, *resume: str) -> subprocess.Popen[str]:
        """Runs the campaign in a process, and a process group, of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(self.root), *resume],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@contextmanager
def open_shop(root: Path, mail: SmtpServer, runner: str) -> Iterator[Shop]:
    """A shop whose holdfast.yaml names this runner."""
    (root / "campaigns").mkdir(parents=True)
    (root / "templates").mkdir()
    (root / "holdfast.yaml").write_text(PROJECT.format(port=mail.port, runner=runner))
    (root / "campaigns" / "letter.yaml").write_text(LETTER)
    (root / "templates" / "letter.email.html").write_text(HTML)
    rows = "".join(f"c{n},c{n}@customer.example,Name{n},DE,yes\n" for n in range(CUSTOMERS))
    table = root / "customers.csv"
    table.write_text("customer_id,email,first_name,country,consent.email\n" + rows)
    ws = open_workspace(root, read_block)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    import_file(ws.database, ws.project, ws.secret, "customers", table, now=yesterday)
    yield Shop(root, ws)
    ws.close()


@contextmanager
def up(shop: Shop) -> Iterator[subprocess.Popen[str]]:
    """The worker of `holdfast up`, in a process of its own; killed at the end where it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", "from holdfast.orchestration.worker import work; work(print)"],
        cwd=shop.root,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def eventually(condition: Callable[[], Any], within: float = 60) -> Any:
    """The first true answer. Processes do their part in their own time, so this asks again."""
    give_up = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.1)
    return answer
