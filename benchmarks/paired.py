"""Timings side by side in one run, printed as ratios: absolute figures of a noisy machine mean little."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping

Timed = Callable[[], object]


def compare(title: str, candidates: Mapping[str, Timed], unit_count: float, unit: str, rounds: int = 5) -> None:
    """Runs the candidates in turn, round by round, and prints each one's rate and its ratio to the first.

    Args:
        title: What is compared.
        candidates: Name to function; the first is ours. Each runs once before the clock starts.
        unit_count: Units of work in one call.
        unit: Name of the unit, e.g. `Mpx`.
        rounds: How often each is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for function in candidates.values():
        function()
    for _ in range(rounds):
        for name, function in candidates.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    ours = next(iter(candidates))
    print(f"\n{title}")
    for name, times in seconds.items():
        ratios = [other / mine for other, mine in zip(times, seconds[ours], strict=True)]
        rate = unit_count / statistics.median(times)
        print(f"  {name:28s} {rate:9.2f} {unit}/s   ours is {statistics.median(ratios):7.2f} x as fast")


def peak_memory_mib() -> float:
    """Peak resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
