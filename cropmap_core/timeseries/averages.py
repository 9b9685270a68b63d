"""Composites that take each band for itself, besides the median: the mean, and one observation chosen by its date."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.kernels import CHUNK, compiled, flat, nearest_even, over_pixels
from cropmap_core.timeseries.series import NODATA, Mask


def mean_by_period(
    data: NDArray[np.int16], clear: Mask, starts: NDArray[np.int64], channels: Sequence[int]
) -> NDArray[np.int16]:
    """Mean of the clear values of each period, rounded half to even.

    Args:
        data: int16, shape (T, C, H, W).
        clear: True where usable, bool, shape (T, H, W).
        starts: First date of each period in `data`, and last the number of dates used, shape (P + 1,).
        channels: Which of the C are wanted.

    Returns:
        Means, shape (P, len(channels), H, W); `NODATA` where nothing was clear.
    """
    out = np.empty((starts.size - 1, len(channels), *data.shape[2:]), dtype=np.int16)
    over_pixels(_mean, clear[0].size, flat(data), flat(clear), np.array(channels), starts, flat(out))
    return out


def preferred_by_period(
    data: NDArray[np.int16],
    clear: Mask,
    starts: NDArray[np.int64],
    channels: Sequence[int],
    distances: NDArray[np.int64],
) -> NDArray[np.int16]:
    """The clear observation of each period with the smallest distance, of equal ones the earliest.

    Args:
        data: int16, shape (T, C, H, W).
        clear: True where usable, bool, shape (T, H, W).
        starts: First date of each period in `data`, and last the number of dates used, shape (P + 1,).
        channels: Which of the C are wanted.
        distances: How far each date is from the wanted one, in any unit, shape (T,).

    Returns:
        Observed values, shape (P, len(channels), H, W); `NODATA` where nothing was clear.
    """
    order = np.concatenate(
        [first + np.argsort(distances[first:past], kind="stable") for first, past in pairwise(starts)]
    )
    out = np.empty((starts.size - 1, len(channels), *data.shape[2:]), dtype=np.int16)
    over_pixels(_preferred, clear[0].size, flat(data), flat(clear), np.array(channels), starts, order, flat(out))
    return out


@compiled
def _mean(data: Any, clear: Any, channels: Any, starts: Any, out: Any, begin: int, end: int) -> None:
    total = np.empty(CHUNK, dtype=np.int32)
    count = np.empty(CHUNK, dtype=np.int32)
    for at in range(begin, end, CHUNK):
        size = min(CHUNK, end - at)
        for period in range(starts.size - 1):
            count[:] = 0
            for time in range(starts[period], starts[period + 1]):
                used = clear[time, at : at + size]
                for pixel in range(size):
                    count[pixel] += used[pixel]
            for channel in range(channels.size):
                total[:] = 0
                for time in range(starts[period], starts[period + 1]):
                    row, used = data[time, channels[channel], at : at + size], clear[time, at : at + size]
                    for pixel in range(size):
                        total[pixel] += np.int32(row[pixel]) * np.int32(used[pixel])
                mean = out[period, channel, at : at + size]
                for pixel in range(size):
                    # A quotient of whole numbers this small is exactly .5 or not close to it.
                    quotient = nearest_even(np.float64(total[pixel]) / np.float64(max(count[pixel], 1)))
                    mean[pixel] = NODATA if count[pixel] == 0 else np.int32(quotient)


@compiled
def _preferred(data: Any, clear: Any, channels: Any, starts: Any, order: Any, out: Any, begin: int, end: int) -> None:
    """From the least to the most preferred date, each clear value takes the place of the one before."""
    value = np.empty(CHUNK, dtype=np.int16)
    for at in range(begin, end, CHUNK):
        size = min(CHUNK, end - at)
        for period in range(starts.size - 1):
            for channel in range(channels.size):
                value[:] = NODATA
                for place in range(starts[period + 1] - 1, starts[period] - 1, -1):
                    row = data[order[place], channels[channel], at : at + size]
                    used = clear[order[place], at : at + size]
                    for pixel in range(size):
                        bits = np.int16(-np.int16(used[pixel]))
                        value[pixel] = (row[pixel] & bits) | (value[pixel] & ~bits)
                out[period, channel, at : at + size] = value[:size]
