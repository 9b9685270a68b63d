"""Timings side by side in one run, printed as ratios: absolute figures of a noisy machine mean little."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
    return _mib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _mib(maximum_resident: int) -> float:
    return maximum_resident / 2**20 if sys.platform == "darwin" else maximum_resident / 2**10


def compare_processes(title: str, contenders: Mapping[str, Sequence[str]], rounds: int = 3) -> None:
    """Runs whole processes in turn, round by round, and prints each one's time, peak memory and ratio to the last.

    Args:
        title: What is compared.
        contenders: Name to command; ours first, what it is measured against last. Nothing is run beforehand.
        rounds: How often each is timed.
    """
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, command in contenders.items():
            runs[name].append(run_process(command))
    baseline = list(runs.values())[-1]
    print(f"\n{title}")
    for name, own in runs.items():
        pairs = list(zip(own, baseline, strict=True))
        ratio = statistics.median(run.seconds / other.seconds for run, other in pairs)
        of_processor = statistics.median(run.processor_seconds / other.processor_seconds for run, other in pairs)
        print(
            f"  {name:30s} {statistics.median(run.seconds for run in own):7.1f} s   {ratio:5.2f} x"
            f"   ({of_processor:5.2f} x the processor time)   {max(run.peak_mib for run in own):5.0f} MiB at most"
        )


@dataclass(frozen=True)
class Run:
    """What one process took."""

    seconds: float
    processor_seconds: float
    peak_mib: float


def run_process(command: Sequence[str]) -> Run:
    """Runs a command to its end.

    Raises:
        CalledProcessError: It failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with process:
        complaint = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=complaint.decode(errors="replace"))
    return Run(seconds, usage.ru_utime + usage.ru_stime, _mib(usage.ru_maxrss))
