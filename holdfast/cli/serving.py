"""The web app in a process of its own: started, waited for, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from holdfast.errors import OrchestrationError
from holdfast.settings import Project, Web

_START_WITHIN = 60.0  # seconds; about 4 on an idle machine
_STOP_WITHIN = 20.0
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a server listens


@contextmanager
def web_app(project: Project, log: Path) -> Iterator[str]:
    """The project's web app while the block runs, and its address; one that is up already stays up."""
    started = start_web_app(project, log)
    try:
        yield f"http://{project.web.host}:{project.web.port}"
    finally:
        if started is not None:
            stop(started)


def start_web_app(project: Project, log: Path) -> subprocess.Popen[bytes] | None:
    """Starts the web app and waits until it answers; None where one answers there already.

    It outlives this process unless it is stopped. Raises OrchestrationError when it does not start.
    """
    web = project.web
    if _answers(web):
        return None
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [
                *(sys.executable, "-m", "uvicorn", "--factory", "holdfast.web:app"),
                *("--host", web.host, "--port", str(web.port)),
                *("--no-access-log", "--log-level", "warning"),
            ],
            env=os.environ | {"HOLDFAST_PROJECT": str(project.root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for whoever started it, and who then stops it
        )
    give_up = time.monotonic() + _START_WITHIN
    try:
        while not _answers(web):
            if process.poll() is not None or time.monotonic() > give_up:
                raise OrchestrationError("the web app did not start", hint=f"see {log}")
            time.sleep(0.1)
    except BaseException:
        # Ctrl-C too: it does not reach a session of its own, and nobody else knows of it yet.
        stop(process)
        raise
    return process


def stop_standing(record: Path) -> bool:
    """Stops the web app that `keep_standing` wrote down; False where it is not up."""
    try:
        pid, port = json.loads(record.read_text())
    except (OSError, ValueError):
        return False
    # One that does not answer may be another program by now: process ids are used again.
    web = Web(port=port)
    if not _answers(web):
        return False
    os.kill(pid, signal.SIGTERM)
    give_up = time.monotonic() + _STOP_WITHIN
    while _answers(web) and time.monotonic() < give_up:
        time.sleep(0.1)
    record.unlink()
    return True


def keep_standing(process: subprocess.Popen[bytes], project: Project, record: Path) -> None:
    """Writes down how to stop the web app once this process is gone."""
    record.write_text(json.dumps([process.pid, project.web.port]))


def stop(process: subprocess.Popen[bytes], within: float = _STOP_WITHIN) -> None:
    """Ends a process of ours, in hand what it has; by force when it takes too long."""
    process.terminate()
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(web: Web) -> bool:
    connection = HTTPConnection(_EVERYWHERE.get(web.host, web.host), web.port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
