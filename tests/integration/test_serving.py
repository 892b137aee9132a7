"""The web app as `holdfast up` and the demo run it: a process of its own."""

from __future__ import annotations

import socket
import subprocess
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.serving import keep_standing, start_web_app, stop_standing, web_app
from holdfast.errors import OrchestrationError
from holdfast.settings import Project, Web, load_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("HOLDFAST_DATABASE_URL", "HOLDFAST_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "holdfast.yaml").write_text(f"web: {{port: {port}}}\n")
    return load_project(tmp_path / "holdfast.yaml")


def status(project: Project) -> int | None:
    connection = HTTPConnection("127.0.0.1", project.web.port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except ConnectionRefusedError:
        return None
    finally:
        connection.close()


def test_the_web_app_answers_while_it_is_wanted_and_one_that_is_up_is_left_alone(
    project: Project, tmp_path: Path
) -> None:
    log = tmp_path / ".holdfast" / "web.log"
    with web_app(project, log) as address:
        assert address == f"http://127.0.0.1:{project.web.port}"
        with web_app(project, log) as same:
            assert same == address
        assert status(project) == 200
    assert status(project) is None
    assert log.read_text() == ""


def test_a_standing_web_app_is_stopped_by_what_was_written_down(project: Project, tmp_path: Path) -> None:
    record = tmp_path / "web.json"
    assert not stop_standing(record)
    started = start_web_app(project, tmp_path / "web.log")
    assert started is not None
    keep_standing(started, project, record)
    assert stop_standing(record)
    assert started.wait(20) == 0 or started.returncode < 0
    assert status(project) is None
    assert not stop_standing(record)


def test_an_interrupt_while_the_web_app_starts_leaves_none_behind(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    def interrupted(_: Web) -> bool:
        if started:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr("holdfast.cli.serving.subprocess.Popen", Noted)
    monkeypatch.setattr("holdfast.cli.serving._answers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start_web_app(project, tmp_path / "web.log")
    [process] = started
    try:
        assert process.poll() is not None
    finally:
        process.kill()


def test_a_web_app_that_cannot_start_says_where_to_look(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "holdfast.yaml"
    file.write_text(f"{file.read_text()}database: {{env: NOWHERE_TO_BE_FOUND}}\n")
    log = tmp_path / "web.log"
    with pytest.raises(OrchestrationError, match="the web app did not start") as error:
        start_web_app(load_project(file), log)
    assert error.value.hint == f"see {log}"
    assert "NOWHERE_TO_BE_FOUND is not set" in log.read_text()
