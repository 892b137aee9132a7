"""Stand-ins that others made: Prism with official files, MailDev, WireMock (`make prism`), Debian's Postfix.

Their tests are collected where they are installed; the suite says at its end which ran.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

MOST_BYTES = 1_000_000  # of a letter, for Postfix
FOLDER = Path(sys.prefix) / "prism"
_MODULES = FOLDER / "node_modules"
NAMES = ("prism sendgrid", "prism telegram", "prism twilio", "prism x", "maildev", "wiremock", "postfix")
POSTFIX, _POSTFIX_PROGRAMS = Path("/usr/sbin/postfix"), Path("/usr/lib/postfix/sbin")
_POSTFIX_SERVICES = """inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""


def is_here(name: str) -> bool:
    """Whether it can run on this machine."""
    if name == "postfix":
        # It starts as root, and goes on as others.
        return POSTFIX.exists() and _POSTFIX_PROGRAMS.exists() and os.geteuid() == 0
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
def postfix(bounces: str, port: int) -> Iterator[tuple[int, Path]]:
    """The port of a mail server, and the folder where it keeps what it took, a file each.

    It takes letters to gone.example as any others and then finds nobody there; notices to addresses of the
    domain `bounces` go to this port.
    """
    # Not in pytest's own folder, which nobody but root can look into.
    with tempfile.TemporaryDirectory(prefix="holdfast-postfix-") as made:
        folder, listening = Path(made), _free_port()
        folder.chmod(0o755)
        for name in ("etc", "queue", "data"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        access = "check_recipient_access"
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": folder / "queue",
            "data_directory": folder / "data",
            "daemon_directory": _POSTFIX_PROGRAMS,
            "maillog_file": folder / "log",
            "maillog_file_prefixes": folder,
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": "mx.acme.example",
            "mydestination": "",
            "alias_maps": "",
            "message_size_limit": MOST_BYTES,
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "smtpd_reject_unlisted_recipient": "no",
            # What is held is in its place before it is acknowledged.
            "smtpd_recipient_restrictions": f"{access} inline:{{gone.example=OK}}, {access} static:HOLD",
            "transport_maps": f"inline:{{{{gone.example = error:5.1.1 nobody here by that name}},"
            f" {{{bounces} = smtp:[127.0.0.1]:{port}}}}}",
        }
        (folder / "etc/main.cf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        (folder / "etc/master.cf").write_text(f"127.0.0.1:{listening} {_POSTFIX_SERVICES}")
        command = [POSTFIX, "-c", folder / "etc"]
        subprocess.run([*command, "start"], check=True, capture_output=True)
        try:
            yield listening, folder / "queue/hold"
        finally:
            subprocess.run([*command, "stop"], check=True, capture_output=True)


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
