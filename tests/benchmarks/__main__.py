"""`python -m tests.benchmarks [SUBJECT [options]]`: without a subject all of them, each in its own process.

Exit code 1: a bound was missed.
"""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser

from tests.benchmarks import answers, command_line, importing, intake, metrics, planning, sending

SUBJECTS = {
    "sending": sending,
    "planning": planning,
    "importing": importing,
    "intake": intake,
    "answers": answers,
    "metrics": metrics,
    "command_line": command_line,
}


def main() -> int:
    parser = ArgumentParser(
        prog="python -m tests.benchmarks", description="How fast, and in how much memory."
    )
    commands = parser.add_subparsers(dest="subject", metavar="SUBJECT")
    for name, subject in SUBJECTS.items():
        summary = (subject.__doc__ or "").splitlines()[0]
        subject.add_arguments(commands.add_parser(name, help=summary, description=summary))
    arguments = parser.parse_args()
    if arguments.subject is None:
        return _all()
    print(f"== {arguments.subject.replace('_', ' ')} ==")
    bounds = SUBJECTS[arguments.subject].run(arguments)
    print()
    for bound in bounds:
        print(bound)
    return 0 if all(bound.is_met for bound in bounds) else 1


def _all() -> int:
    codes = [subprocess.run([sys.executable, "-m", "tests.benchmarks", name]).returncode for name in SUBJECTS]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
