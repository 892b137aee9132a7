"""A Prefect server that answers: the configured one, or a standing one of our own in the background.

An ephemeral server, which Prefect would start inside each process, costs every one of them 8 to 16 s and
prints tracebacks at exit.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from holdfast.errors import OrchestrationError

_START_WITHIN = 120.0  # seconds; about 10 on an idle machine, several times that on a busy one
_STOP_WITHIN = 30.0
_USUAL_PORT = 4200
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Nothing leaves the machine, and nothing but results is written to the screen.
_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
}


class _Record(NamedTuple):
    pid: int
    url: str


def ensure_server(home: Path, port: int | None = None, *, own: bool = False) -> str:
    """The API URL of a Prefect server that answers, which this process and its children use from now on.

    The configured one (PREFECT_API_URL or Prefect's profile) where it answers; else the standing one of
    `home`, started in the background where it is not up. With `own`, only the one of `home`, with `home` as
    PREFECT_HOME: nobody's profile is read or changed. Raises OrchestrationError when a configured server on
    another machine does not answer, or ours does not start.
    """
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    if not own and (url := _configured()):
        if _answers(url):
            return _use(url)
        if urlsplit(url).hostname not in _LOOPBACK:
            raise OrchestrationError(
                f"the Prefect server at {_shown(url)} does not answer",
                hint="start it, or unset PREFECT_API_URL to use a server on this machine",
            )
        port = port or urlsplit(url).port
    home.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(home):
        url = _standing(home)
        if url is None:
            with _a_port(port) as chosen:
                url = _start(home, chosen)
    return _use(url, home if own else None)


def find_server(home: Path) -> str | None:
    """The API URL of the server that `ensure_server` would use, where it is up; None: it is not."""
    url = _configured()
    if url is None or not _answers(url):
        url = _standing(home)
    return _use(url) if url else None


def stop_server(home: Path) -> bool:
    """Stops the standing server of `home`; False where none was up."""
    # One that does not answer may be another program by now: process ids are used again.
    record = _record(home)
    if record is None or not _alive(record.pid) or not _answers(record.url):
        return False
    _hand_over_events()
    os.killpg(record.pid, signal.SIGTERM)
    give_up = time.monotonic() + _STOP_WITHIN
    while _alive(record.pid):
        if time.monotonic() > give_up:
            os.killpg(record.pid, signal.SIGKILL)
        time.sleep(0.1)
    (home / "server.json").unlink(missing_ok=True)
    return True


def _configured() -> str | None:
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def _use(url: str, home: Path | None = None) -> str:
    os.environ["PREFECT_API_URL"] = url
    if home is not None:
        os.environ["PREFECT_HOME"] = str(home)
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
    return url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - a configured http(s) URL
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _standing(home: Path) -> str | None:
    record = _record(home)
    return record.url if record and _alive(record.pid) and _answers(record.url) else None


def _start(home: Path, port: int) -> str:
    url = f"http://127.0.0.1:{port}/api"
    log = home / "server.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= _QUIET | {
        "PREFECT_HOME": str(home),
        # The address that the UI in the browser calls, too.
        "PREFECT_API_URL": url,
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        # A repeated deploy of a schedule shows its next runs within seconds.
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "20",
    }
    with log.open("ab") as output:
        server = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    (home / "server.json").write_text(json.dumps(_Record(server.pid, url)._asdict()))
    give_up = time.monotonic() + _START_WITHIN
    while not _answers(url):
        if server.poll() is not None or time.monotonic() > give_up:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
            (home / "server.json").unlink(missing_ok=True)
            raise OrchestrationError("the Prefect server did not start", hint=f"see {log}")
        time.sleep(0.2)
    return url


@contextmanager
def _a_port(wanted: int | None) -> Iterator[int]:
    """The wanted port; else the usual one where it is free, else any.

    Nobody else takes the usual one inside the block: a server that is only starting does not hold its port
    yet, and a second one's client would be answered by the first.
    """
    if wanted is not None:
        yield wanted
        return
    with ExitStack() as stack:
        yield _free_port((_USUAL_PORT, 0) if _is_ours(stack) else (0,))


def _is_ours(stack: ExitStack) -> bool:
    """Takes the usual port's lock for as long as the stack; False: another process of this machine has it."""
    path = Path(tempfile.gettempdir()) / f"holdfast-{_USUAL_PORT}.lock"
    try:
        lock = stack.enter_context(path.open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # in use, or another user's
        return False
    return True


def _free_port(choices: tuple[int, ...]) -> int:
    for wanted in choices:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OrchestrationError("no free port for the Prefect server")


def _hand_over_events() -> None:
    """What Prefect's client in this process has yet to send; it would complain at exit."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        EventsWorker.drain_all(timeout=_STOP_WITHIN)
        APILogWorker.drain_all(timeout=_STOP_WITHIN)


def _record(home: Path) -> _Record | None:
    try:
        return _Record(**json.loads((home / "server.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _alive(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    except ChildProcessError:
        pass  # started by another process
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """Two commands at once start one server."""
    with (home / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
