"""Stand-ins that others made, as `make prism` installs them: Prism with official files, MailDev, WireMock.

Their tests are collected where they are installed; the suite says at its end which ran.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

FOLDER = Path(sys.prefix) / "prism"
_MODULES = FOLDER / "node_modules"
NAMES = ("prism sendgrid", "prism telegram", "prism twilio", "prism x", "maildev", "wiremock")


def is_here(name: str) -> bool:
    """Whether it can run on this machine."""
    needs = "java" if name == "wiremock" else "node"
    return (FOLDER / ".installed").exists() and shutil.which(needs) is not None


@contextmanager
def prism(description: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """The address of a server that refuses whatever the description does not allow, and else makes up an
    answer of the described form."""
    file = folder / "description.json"
    file.write_text(json.dumps(description), encoding="utf-8")
    port = str(_free_port())
    with _running(
        [_program("prism"), "mock", "--errors", "-h", "127.0.0.1", "-p", port, str(file)], "listening"
    ):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def maildev(folder: Path) -> Iterator[tuple[int, str]]:
    """The port of a mail server, and the address where it tells what it took."""
    smtp, web = str(_free_port()), str(_free_port())
    command = [
        _program("maildev"),
        "--ip",
        "127.0.0.1",
        "--smtp",
        smtp,
        "--web",
        web,
        "--mail-directory",
        str(folder),
    ]
    with _running(command, "webapp running"):
        yield int(smtp), f"http://127.0.0.1:{web}"


@contextmanager
def wiremock(folder: Path) -> Iterator[str]:
    """The address of a server without any answers yet."""
    jar, port = next(_MODULES.glob("wiremock/build/wiremock-standalone-*.jar")), str(_free_port())
    options = ["--port", port, "--bind-address", "127.0.0.1", "--root-dir", str(folder)]
    with _running(["java", "-jar", str(jar), *options], "extensions:"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: Sequence[str], when_it_says: str) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        if not any(when_it_says in line for line in server.stdout):
            raise RuntimeError(f"{command[0]} does not start")
        # What it says from now on is read, or a full pipe would stop it.
        reader = Thread(target=server.stdout.read)
        reader.start()
        try:
            yield
        finally:
            server.terminate()
            reader.join()


def _program(name: str) -> str:
    return str(_MODULES / ".bin" / name)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
