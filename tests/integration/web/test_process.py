"""The app as it is run: by uvicorn, in a process of its own, on a project in a folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from holdfast.web import app

UVICORN = (sys.executable, "-m", "uvicorn", "--factory", "holdfast.web:app", "--port", "0")


@contextmanager
def uvicorn(root: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"HOLDFAST_PROJECT": str(root)}
    with subprocess.Popen(UVICORN, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_uvicorn_serves_the_project_and_logs_no_token(tmp_path: Path) -> None:
    (tmp_path / "holdfast.yaml").write_text("brand: {name: Acme}\n", encoding="utf-8")
    with uvicorn(tmp_path) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        [url] = next(found for line in lines if (found := re.findall(r"running on (\S+)", line)))
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{url}/u/a-token").status_code == 404
        process.terminate()
        assert "a-token" not in "".join(lines)


def test_what_keeps_it_from_starting_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holdfast.yaml").write_text("brnd: {name: Acme}\n", encoding="utf-8")
    monkeypatch.setenv("HOLDFAST_PROJECT", str(tmp_path))
    with pytest.raises(SystemExit, match=r"holdfast\.yaml:1:1: .*brnd"):
        app()
