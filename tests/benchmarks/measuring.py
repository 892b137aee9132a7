"""Times, peaks of memory, and the bounds they should keep."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure and its limit: what a benchmark is judged by."""

    what: str
    figure: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def __str__(self) -> str:
        verdict = "OK" if self.is_met else "MISSED"
        side = "at least" if self.at_least else "at most"
        return f"{verdict:7}{self.what}: {self.figure:.2f}{self.unit} ({side} {self.limit:.3g}{self.unit})"


@dataclass(frozen=True, slots=True)
class Taken:
    """What something took: seconds on the wall, seconds of CPU, and the most memory held at once, in MB
    (0: not known)."""

    wall: float
    cpu: float
    megabytes: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Callable[[], Taken]]:
    """Gives what this process, not its children, has taken since the block began."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to what is resident now
    wall, cpu = perf_counter(), process_time()

    def elapsed() -> Taken:
        seconds = perf_counter() - wall, process_time() - cpu
        status = Path("/proc/self/status").read_text()
        return Taken(*seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024)

    yield elapsed


def measure(rounds: int, units: int, **subjects: Callable[[], Taken]) -> dict[str, Taken]:
    """The medians of what each subject takes, and its highest peak; printed, with `units` a second.

    Subjects take turns, so that what else the machine does in the meantime falls on all of them alike.
    """
    goes: dict[str, list[Taken]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            goes[name].append(subject())
    taken = {
        name: Taken(
            median(go.wall for go in each), median(go.cpu for go in each), max(go.megabytes for go in each)
        )
        for name, each in goes.items()
    }
    for name, each in taken.items():
        spread = ", ".join(f"{go.wall:.2f}" for go in goes[name])
        speed = f"{units / each.wall:11,.0f}/s" if units > 1 else ""
        peak = f"{each.megabytes:6.0f} MB peak" if each.megabytes else ""
        print(
            f"  {name.replace('_', ' '):22}{each.wall:8.2f} s{speed}{each.cpu:8.2f} s CPU{peak}   ({spread})",
            flush=True,
        )
    return taken
