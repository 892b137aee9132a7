"""`python -m tests.benchmarks [SUBJECT [options]]`: without a subject all of them, each in its own process.

Exit code 1: a bound was missed.
"""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser

from tests.benchmarks import (
    adapters,
    answers,
    command_line,
    flow,
    importing,
    intake,
    metrics,
    planning,
    rates,
    scale,
    segments,
    sending,
    smtp,
)

SUBJECTS = {
    "sending": sending,
    "scale": scale,
    "smtp": smtp,
    "flow": flow,
    "planning": planning,
    "segments": segments,
    "importing": importing,
    "intake": intake,
    "answers": answers,
    "metrics": metrics,
    "rates": rates,
    "adapters": adapters,
    "command_line": command_line,
}


def main() -> int:
    parser = ArgumentParser(
        prog="python -m tests.benchmarks", description="How fast, and in how much memory."
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, where there are any, to try them")
    commands = parser.add_subparsers(dest="subject", metavar="SUBJECT")
    for name, subject in SUBJECTS.items():
        summary = (subject.__doc__ or "").splitlines()[0]
        subject.add_arguments(commands.add_parser(name, help=summary, description=summary))
    arguments = parser.parse_args()
    if arguments.subject is None:
        return _all(arguments.quick)
    print(f"== {arguments.subject.replace('_', ' ')} ==")
    bounds = SUBJECTS[arguments.subject].run(arguments)
    print()
    for bound in bounds:
        print(bound)
    return 0 if all(bound.is_met for bound in bounds) else 1


def _all(quick: bool) -> int:
    codes = []
    for name, subject in SUBJECTS.items():
        sizes = getattr(subject, "QUICK", []) if quick else []
        codes.append(subprocess.run([sys.executable, "-m", "tests.benchmarks", name, *sizes]).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
