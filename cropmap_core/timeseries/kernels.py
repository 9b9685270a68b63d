"""Compiled loops over int16 pixels: medians over dates and filling of gaps, without a float copy of the block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.series import NODATA

_kernel: Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]] = numba.njit


@_kernel(cache=True, nogil=True, inline="always")
def _half_even(total: int) -> int:
    """Half of an integer, rounded half to even."""
    half = total >> 1
    return half + (total & 1 & half)


@_kernel(cache=True, nogil=True, parallel=True)
def median_by_period(
    data: NDArray[np.int16],
    clear: NDArray[np.bool_],
    starts: NDArray[np.int64],
    out: NDArray[np.int16],
) -> None:
    """Median of the clear values of each period; `NODATA` where there is none.

    Even counts give the mean of the two middle values, rounded half to even.

    Args:
        data: int16, shape (T, C, H, W).
        clear: bool, shape (T, H, W).
        starts: First date of each period in `data`, and last the number of dates used, shape (P + 1,).
        out: int16, shape (P, C, H, W).
    """
    times, channels, height, width = data.shape
    for row in numba.prange(height):
        used = np.empty(times, dtype=np.int64)
        values = np.empty(times, dtype=np.int16)
        for period in range(starts.size - 1):
            for col in range(width):
                count = 0
                for time in range(starts[period], starts[period + 1]):
                    if clear[time, row, col]:
                        used[count] = time
                        count += 1
                for channel in range(channels):
                    if count == 0:
                        out[period, channel, row, col] = NODATA
                        continue
                    for index in range(count):
                        value = data[used[index], channel, row, col]
                        place = index
                        while place > 0 and values[place - 1] > value:
                            values[place] = values[place - 1]
                            place -= 1
                        values[place] = value
                    middle = count // 2
                    if count % 2:
                        out[period, channel, row, col] = values[middle]
                    else:
                        out[period, channel, row, col] = _half_even(
                            np.int32(values[middle - 1]) + np.int32(values[middle])
                        )


@_kernel(cache=True, nogil=True, parallel=True)
def fill_from_neighbours(data: NDArray[np.int16], valid: NDArray[np.bool_], out: NDArray[np.int16]) -> None:
    """Fills gaps in time by the reference rule.

    An interior gap takes the mean of the nearest observed date before and after (rounded half to even), a leading gap
    the next, a trailing gap the last observed one. Pixels that were never observed stay `NODATA`.

    Args:
        data: int16, shape (T, C, H, W).
        valid: bool, shape (T, H, W).
        out: int16, shape (T, C, H, W).
    """
    times, channels, height, width = data.shape
    for row in numba.prange(height):
        before = np.empty((times, width), dtype=np.int64)
        after = np.empty((times, width), dtype=np.int64)
        for col in range(width):
            last = -1
            for time in range(times):
                if valid[time, row, col]:
                    last = time
                before[time, col] = last
            following = -1
            for time in range(times - 1, -1, -1):
                if valid[time, row, col]:
                    following = time
                after[time, col] = following
        for time in range(times):
            for channel in range(channels):
                for col in range(width):
                    earlier, later = before[time, col], after[time, col]
                    if earlier < 0 and later < 0:
                        out[time, channel, row, col] = NODATA
                    elif earlier < 0:
                        out[time, channel, row, col] = data[later, channel, row, col]
                    elif later < 0:
                        out[time, channel, row, col] = data[earlier, channel, row, col]
                    else:
                        out[time, channel, row, col] = _half_even(
                            np.int32(data[earlier, channel, row, col]) + np.int32(data[later, channel, row, col])
                        )
