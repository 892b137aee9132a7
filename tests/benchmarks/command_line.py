"""The command line: how long a person waits for help, and for ten campaigns to be validated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.benchmarks.measuring import Bound, Taken, measure
from tests.benchmarks.projects import REPOSITORY

MOST_SECONDS = {"help": 0.5, "validate": 2.0}

_CAMPAIGNS = 10
_HOLDFAST = Path(sys.executable).with_name("holdfast")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")


def run(arguments: Namespace) -> list[Bound]:
    """Whole processes, from their start to their end, beside Python's own."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        project = Path(folder)
        _write_project(project)
        commands = {"help": ["--help"], "validate": ["--project", str(project), "validate"]}
        print()
        taken = measure(
            arguments.rounds,
            1,
            bare_python=partial(_time, [sys.executable, "-c", "pass"]),
            **{name: partial(_time, [str(_HOLDFAST), *command]) for name, command in commands.items()},
        )
        bounds = []
        for name, command in commands.items():
            print(f"  {name} over bare python: {taken[name].wall / taken['bare_python'].wall:.0f}")
            bounds.append(Bound(f"holdfast {name}", taken[name].wall, MOST_SECONDS[name], " s"))
            bounds.append(Bound(f"modules of prefect that {name} imports", _prefect_modules(command), 0))
    return bounds


def _write_project(folder: Path) -> None:
    """The shipped project with ten campaigns."""
    shutil.copytree(REPOSITORY / "templates", folder / "templates")
    for name in ("holdfast.yaml", "segments.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    (folder / "campaigns").mkdir()
    shipped = (REPOSITORY / "campaigns" / "winback.yaml").read_text(encoding="utf-8")
    for number in range(_CAMPAIGNS):
        text = shipped.replace("campaign: winback", f"campaign: winback_{number}")
        (folder / "campaigns" / f"winback_{number}.yaml").write_text(text, encoding="utf-8")


def _time(command: list[str]) -> Taken:
    start = perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return Taken(perf_counter() - start, used.ru_utime + used.ru_stime)


def _prefect_modules(command: list[str]) -> int:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(_HOLDFAST), *command],
        check=True,
        capture_output=True,
        text=True,
    )
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    return sum(name.partition(".")[0] == "prefect" for name in imported)
