"""`make demo` as a stranger sees it: run twice, in a project of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def holdfast(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "HOLDFAST_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "holdfast.cli", *arguments],
        cwd=project,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    for name in ("campaigns", "templates"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("holdfast.yaml", "segments.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    yield tmp_path
    holdfast(tmp_path, "demo", "--stop")


@pytest.mark.timeout(600)
def test_the_demo_runs_and_runs_again(project: Path) -> None:
    for _ in range(2):
        told = holdfast(project, "demo")
        assert told.returncode == 0, told.stderr
        assert not re.search(r"traceback|warning|error", told.stdout + told.stderr, re.IGNORECASE)
        counts = {
            words.strip(): int(n.replace(",", ""))
            for words, n in re.findall(r"^(\D+?) +(-?[\d,]+)$", told.stdout, re.M)
        }
        letters = list((project / ".holdfast" / "demo" / "messages").glob("*.eml"))
        assert len(letters) == counts.get("accepted by email", 0)  # at some hour all may be asleep
        thanks = list((project / ".holdfast" / "demo" / "mail").glob("*.eml"))
        assert len(thanks) == counts["accepted by receipts"] > 500
        assert re.search(r"Prefect UI +http://127\.0\.0\.1:\d+\n", told.stdout)
