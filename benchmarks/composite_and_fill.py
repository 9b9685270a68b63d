"""Compositing and filling against NumPy and bottleneck: 12 months of 6, 8 and 15 dates, 10 bands, 40 % masked.

The peers get the float32 copy of the stack that they need ready-made; only their medians are timed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial

import bottleneck
import numpy as np

from benchmarks.paired import compare
from cropmap_core.timeseries.interpolation import fill_from_neighbours
from cropmap_core.timeseries.medians import median_by_period
from cropmap_core.timeseries.series import NODATA

MONTHS = 12
SIZE = 256
FILLED_SIZE = 1024
_FIRST_BLOCKS = """
import time
start = time.perf_counter()
import numpy as np
from cropmap_core.timeseries.interpolation import fill_from_neighbours
from cropmap_core.timeseries.medians import median_by_period
data, valid = np.ones((12, 4, 512, 512), dtype=np.int16), np.ones((12, 512, 512), dtype=bool)
imported = time.perf_counter()
for run in range(2):
    begun = time.perf_counter()
    composites = median_by_period(data, valid, np.arange(13))
    fill_from_neighbours(composites, valid)
    print(f"{time.perf_counter() - begun:.3f} s", end=", " if run == 0 else "; ")
print(f"imports {imported - start:.3f} s")
"""


def main() -> None:
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Mpx: pixel positions of a month, or of a filled season"
    )
    random = np.random.default_rng(0)
    for dates in (6, 8, 15):
        shape = (MONTHS * dates, 10, SIZE, SIZE)
        data = random.integers(0, 8000, shape, dtype=np.int16)
        clear = random.random((len(data), SIZE, SIZE)) > 0.4
        floats = data.astype(np.float32)
        np.copyto(floats, np.nan, where=~clear[:, None])
        compare(
            f"Median composites of {MONTHS} months, {dates} dates each, 10 bands",
            {
                "cropmap": partial(median_by_period, data, clear, np.arange(MONTHS + 1) * dates),
                "bottleneck.nanmedian": partial(_by_month, bottleneck.nanmedian, floats),
                "numpy.nanmedian": partial(_by_month, np.nanmedian, floats),
            },
            MONTHS * SIZE * SIZE / 1e6,
            "Mpx",
            rounds=3,
        )
    data = random.integers(0, 8000, (MONTHS, 4, FILLED_SIZE, FILLED_SIZE), dtype=np.int16)
    valid = random.random((MONTHS, FILLED_SIZE, FILLED_SIZE)) > 0.4
    data[~np.broadcast_to(valid[:, None], data.shape)] = NODATA
    compare(
        f"Filling {MONTHS} months by the reference rule, 4 bands",
        {"cropmap": partial(fill_from_neighbours, data.copy(), valid), "numpy": partial(_numpy_fill, data, valid)},
        FILLED_SIZE * FILLED_SIZE / 1e6,
        "Mpx",
    )
    _tell_first_blocks()


def _tell_first_blocks() -> None:
    """The first and the second block of processes that have to compile, and of those that find the machine code."""
    print("\nFirst and second block of a process, composite and fill")
    with tempfile.TemporaryDirectory() as cache:
        for name in ("compiling", "from the cache"):
            done = subprocess.run(
                [sys.executable, "-c", _FIRST_BLOCKS],
                env={**os.environ, "NUMBA_CACHE_DIR": cache},
                check=True,
                capture_output=True,
                text=True,
            )
            print(f"  {name:28s} {done.stdout.strip()}")


def _by_month(median: Callable[..., np.ndarray], floats: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-masked pixels
        for month in np.split(floats, MONTHS):
            median(month, axis=0)


def _numpy_fill(data: np.ndarray, valid: np.ndarray) -> np.ndarray:
    times = len(data)
    order = np.arange(times)[:, None, None]
    before = np.maximum.accumulate(np.where(valid, order, -1), axis=0)
    after = np.minimum.accumulate(np.where(valid, order, times)[::-1], axis=0)[::-1]
    only_after, only_before = before < 0, after >= times
    before = np.where(only_after, after, before).clip(0, times - 1)
    after = np.where(only_before, before, after).clip(0, times - 1)
    earlier = np.take_along_axis(data, before[:, None], axis=0).astype(np.float32)
    later = np.take_along_axis(data, after[:, None], axis=0)
    filled = np.rint((earlier + later) / 2).astype(np.int16)
    filled[np.broadcast_to((only_after & only_before)[:, None], filled.shape)] = NODATA
    return filled


if __name__ == "__main__":
    main()
