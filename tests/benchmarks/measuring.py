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
        return f"{verdict:7}{self.what}: {self.figure:.2f}{self.unit} ({side} {self.limit:g}{self.unit})"


@dataclass
class Peak:
    """The most memory this process held at once, in MB; known when its block has ended."""

    megabytes: float = 0.0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measures the process's peak from here on, not since its start."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to what is resident now
    peak = Peak()
    yield peak
    status = Path("/proc/self/status").read_text()
    peak.megabytes = int(status.partition("VmHWM:")[2].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """What one go took, in seconds: on the wall, and of this process's CPU."""

    wall: float
    cpu: float


@contextmanager
def stopwatch() -> Iterator[Callable[[], Taken]]:
    """Gives what has been taken since the block began."""
    wall, cpu = perf_counter(), process_time()
    yield lambda: Taken(perf_counter() - wall, process_time() - cpu)


def measure(rounds: int, units: int, **subjects: Callable[[], Taken]) -> dict[str, float]:
    """The median seconds of each subject, which times itself; prints them, and so many units a second.

    Rounds take turns, so that what else the machine does in the meantime falls on all of them alike.
    """
    taken: dict[str, list[Taken]] = {name: [] for name in subjects}
    peaks = dict.fromkeys(subjects, 0.0)
    for _ in range(rounds):
        for name, subject in subjects.items():
            with peak_memory() as peak:
                taken[name].append(subject())
            peaks[name] = max(peaks[name], peak.megabytes)
    medians = {name: median(each.wall for each in goes) for name, goes in taken.items()}
    for name, goes in taken.items():
        spread = ", ".join(f"{each.wall:.2f}" for each in goes)
        print(
            f"  {name.replace('_', ' '):22}{medians[name]:8.2f} s {units / medians[name]:11,.0f}/s"
            f"{median(each.cpu for each in goes):8.2f} s CPU {peaks[name]:6.0f} MB peak   ({spread})",
            flush=True,
        )
    return medians
