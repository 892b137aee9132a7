"""Times, peaks of memory, and the bounds they should keep."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter


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


def measure(rounds: int, units: int, **subjects: Callable[[], float]) -> dict[str, float]:
    """The median seconds of each subject, which takes its own time. Rounds take turns, so that what else
    the machine does in the meantime falls on all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    peaks = dict.fromkeys(subjects, 0.0)
    for _ in range(rounds):
        for name, subject in subjects.items():
            with peak_memory() as peak:
                seconds[name].append(subject())
            peaks[name] = max(peaks[name], peak.megabytes)
    for name, taken in seconds.items():
        middle = median(taken)
        spread = ", ".join(f"{value:.2f}" for value in taken)
        print(
            f"  {name.replace('_', ' '):24}{middle:8.2f} s {units / middle:12,.0f}/s"
            f"   peak {peaks[name]:4.0f} MB   ({spread})",
            flush=True,
        )
    return {name: median(taken) for name, taken in seconds.items()}


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Gives the seconds since the block began."""
    start = perf_counter()
    yield lambda: perf_counter() - start
