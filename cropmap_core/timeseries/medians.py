"""The median of int16 observations over time, by sorting networks that run across pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.kernels import CHUNK, compiled, flat, over_pixels
from cropmap_core.timeseries.series import NODATA, Mask
from cropmap_core.timeseries.sorting import BOTH, LOWER, selection_network

_LOWEST, _HIGHEST = -32768, 32767  # each is the other with all bits inverted


def median_by_period(
    data: NDArray[np.int16], clear: Mask, starts: NDArray[np.int64], channels: Sequence[int] | None = None
) -> NDArray[np.int16]:
    """Median of the clear values of each period.

    Even counts give the mean of the two middle values, rounded half to even.

    Args:
        data: int16, shape (T, C, H, W).
        clear: True where usable, bool, shape (T, H, W).
        starts: First date of each period in `data`, and last the number of dates used, shape (P + 1,).
        channels: Which of the C are wanted; all by default.

    Returns:
        Medians, shape (P, len(channels), H, W); `NODATA` where nothing was clear.
    """
    wanted = np.arange(data.shape[1]) if channels is None else np.array(channels, dtype=np.int64)
    out = np.empty((starts.size - 1, wanted.size, *data.shape[2:]), dtype=np.int16)
    networks = [selection_network(count, _middle(count)) for count in np.diff(starts).tolist()]
    bounds = np.cumsum([0, *map(len, networks)])
    arguments = flat(data), flat(clear), wanted, starts, np.concatenate(networks), bounds, flat(out)
    over_pixels(_median, clear[0].size, *arguments)
    return out


def _middle(count: int) -> tuple[int, ...]:
    """The two middle places, one in a period of one date, none in one without."""
    lower = (count - 1) // 2
    return tuple(range(max(0, lower), min(lower + 2, count)))


@compiled
def _median(
    data: Any, clear: Any, channels: Any, starts: Any, networks: Any, bounds: Any, out: Any, begin: int, end: int
) -> None:
    """Pixels from `begin` to `end`.

    Values that are not clear are replaced by the highest and the lowest number in turn, so that the median of the
    clear ones always comes to the two middle places, whatever their count.
    """
    most = 0
    for period in range(starts.size - 1):
        most = max(most, starts[period + 1] - starts[period])
    values = np.zeros((most, CHUNK), dtype=np.int16)
    keep = np.zeros((most, CHUNK), dtype=np.int16)  # all bits where clear
    stand_in = np.zeros((most, CHUNK), dtype=np.int16)  # 0 where clear
    following = np.empty(CHUNK, dtype=np.int16)
    even = np.empty(CHUNK, dtype=np.int16)  # all bits where an even number is clear
    seen = np.empty(CHUNK, dtype=np.int16)  # all bits where any is clear
    for at in range(begin, end, CHUNK):
        size = min(CHUNK, end - at)
        for period in range(starts.size - 1):
            first = starts[period]
            count = starts[period + 1] - first
            if count == 0:
                out[period, :, at : at + size] = NODATA
                continue
            following[:] = _LOWEST if count % 2 else _HIGHEST
            even[:] = -1
            seen[:] = 0
            for time in range(count):
                is_clear, bits, other = clear[first + time, at : at + size], keep[time], stand_in[time]
                for pixel in range(size):
                    bit = np.int16(-np.int16(is_clear[pixel]))
                    bits[pixel] = bit
                    other[pixel] = following[pixel] & ~bit
                    following[pixel] ^= ~bit
                    even[pixel] ^= bit
                    seen[pixel] |= bit
            lower = (count - 1) // 2
            higher = min(lower + 1, count - 1)
            for channel in range(channels.size):
                for time in range(count):
                    row, bits, other = data[first + time, channels[channel], at : at + size], keep[time], stand_in[time]
                    place = values[time]
                    for pixel in range(size):
                        place[pixel] = (row[pixel] & bits[pixel]) | other[pixel]
                _exchange(values, networks[bounds[period] : bounds[period + 1]], size)
                _average(values[lower], values[higher], even, seen, out[period, channel, at : at + size])


@compiled
def _exchange(values: Any, network: Any, size: int) -> None:
    """Sends the first pixels of a chunk, shape (T, CHUNK), through a network."""
    for step in range(len(network)):
        low, high, use = values[network[step, 0]], values[network[step, 1]], network[step, 2]
        if use == BOTH:
            for pixel in range(size):
                one, other = low[pixel], high[pixel]
                low[pixel] = min(one, other)
                high[pixel] = max(one, other)
        elif use == LOWER:
            for pixel in range(size):
                low[pixel] = min(low[pixel], high[pixel])
        else:
            for pixel in range(size):
                high[pixel] = max(low[pixel], high[pixel])


@compiled
def _average(lower: Any, higher: Any, even: Any, seen: Any, out: Any) -> None:
    """Mean of the two middle values, or the lower where the count is odd, without a number wider than 16 bits."""
    for pixel in range(out.size):
        one = lower[pixel]
        differing = (one ^ higher[pixel]) & even[pixel]
        other = one ^ differing
        half = np.int16((one & other) + (differing >> 1))  # the floor of their mean
        half = np.int16(half + (differing & half & 1))
        out[pixel] = (half & seen[pixel]) | (NODATA & ~seen[pixel])
