"""Gaps in time filled from the observed dates on either side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.kernels import CHUNK, compiled, flat, in_place, nearest_even, over_pixels
from cropmap_core.timeseries.series import NODATA, Mask


def fill_from_neighbours(data: NDArray[np.int16], valid: Mask) -> None:
    """Fills gaps in time by the reference rule, in place.

    An interior gap takes the mean of the nearest observed date before and after (rounded half to even), a leading gap
    the next, a trailing gap the last observed one. Pixels that were never observed become `NODATA`.

    Args:
        data: int16, shape (T, C, H, W); no observed value is `NODATA`.
        valid: True where observed, bool, shape (T, H, W).
    """
    in_place(data, lambda values: over_pixels(_neighbours, valid[0].size, values, flat(valid)))


def fill_linearly(data: NDArray[np.int16], valid: Mask, days: NDArray[np.int64]) -> None:
    """Fills gaps on the straight line between the nearest observed dates, rounded half to even, in place.

    Leading and trailing gaps take the nearest observed date. Pixels that were never observed become `NODATA`.

    Args:
        data: int16, shape (T, C, H, W); no observed value is `NODATA`.
        valid: True where observed, bool, shape (T, H, W).
        days: Days of the dates, ascending, shape (T,).
    """
    in_place(data, lambda values: over_pixels(_linear, valid[0].size, values, flat(valid), days))


@compiled
def _neighbours(data: Any, valid: Any, begin: int, end: int) -> None:
    times, channels, _ = data.shape
    observed = np.empty((times, CHUNK), dtype=np.int16)  # all bits where observed
    earlier = np.empty((times + 1, CHUNK), dtype=np.int16)  # the last value observed before each date
    later = np.empty(CHUNK, dtype=np.int16)  # the next value observed from a date on
    earlier[0] = NODATA
    for at in range(begin, end, CHUNK):
        size = min(CHUNK, end - at)
        _spread(valid, at, size, observed)
        for channel in range(channels):
            for time in range(times):
                _carry(data[time, channel, at : at + size], observed[time], earlier[time], earlier[time + 1])
            later[:] = NODATA
            for time in range(times - 1, -1, -1):
                _average(data[time, channel, at : at + size], observed[time], earlier[time + 1], later)


@compiled
def _spread(valid: Any, at: int, size: int, observed: Any) -> None:
    """Turns the flags of a chunk into numbers of all bits or none."""
    for time in range(valid.shape[0]):
        flags, bits = valid[time, at : at + size], observed[time]
        for pixel in range(size):
            bits[pixel] = -np.int16(flags[pixel])


@compiled
def _carry(values: Any, observed: Any, carried: Any, out: Any) -> None:
    """The values that are observed, elsewhere those carried on from another date."""
    for pixel in range(values.size):
        out[pixel] = (values[pixel] & observed[pixel]) | (carried[pixel] & ~observed[pixel])


@compiled
def _average(values: Any, observed: Any, earlier: Any, later: Any) -> None:
    """Carries the next observed value on to an earlier date, which takes its mean with the last one before.

    It is rounded half to even; where there is one of them alone, it is that one. No number is wider than 16 bits.
    """
    for pixel in range(values.size):
        other = np.int16((values[pixel] & observed[pixel]) | (later[pixel] & ~observed[pixel]))
        later[pixel] = other
        one = np.int16(earlier[pixel])
        before = other if one == NODATA else one
        after = before if other == NODATA else other
        differing = np.int16(before ^ after)
        half = np.int16((before & after) + (differing >> 1))  # the floor of their mean
        values[pixel] = half + (differing & half & 1)


@compiled
def _linear(data: Any, valid: Any, days: Any, begin: int, end: int) -> None:
    times, channels, _ = data.shape
    observed = np.empty((times, CHUNK), dtype=np.int16)  # all bits where observed
    earlier = np.empty((times + 1, CHUNK), dtype=np.int16)  # the last value observed before each date
    later = np.empty((2, CHUNK), dtype=np.int16)  # the next value observed, from one date and from the one after
    since = np.empty((times, CHUNK), dtype=np.float32)
    until = np.empty((times, CHUNK), dtype=np.float32)
    earlier[0] = NODATA
    for at in range(begin, end, CHUNK):
        size = min(CHUNK, end - at)
        _spread(valid, at, size, observed)
        _weigh(observed, days, since, until)
        for channel in range(channels):
            for time in range(times):
                _carry(data[time, channel, at : at + size], observed[time], earlier[time], earlier[time + 1])
            later[times % 2] = NODATA
            for time in range(times - 1, -1, -1):
                next_later, this_later = later[(time + 1) % 2], later[time % 2]
                row = data[time, channel, at : at + size]
                _carry(row, observed[time], next_later, this_later)
                _blend(earlier[time + 1], this_later, since[time], until[time], row)


@compiled
def _weigh(observed: Any, days: Any, since: Any, until: Any) -> None:
    """Days since the observed date before and until the one after; 0 and 1 where one of them is not there."""
    times, size = observed.shape
    passed = np.full(size, np.inf, dtype=np.float32)
    for time in range(times):
        step = np.float32(days[time] - days[max(0, time - 1)])
        for pixel in range(size):
            passed[pixel] = np.float32(0) if observed[time, pixel] else passed[pixel] + step
            since[time, pixel] = passed[pixel]
    passed[:] = np.inf
    for time in range(times - 1, -1, -1):
        step = np.float32(days[min(times - 1, time + 1)] - days[time])
        for pixel in range(size):
            passed[pixel] = np.float32(0) if observed[time, pixel] else passed[pixel] + step
            total = since[time, pixel] + passed[pixel]
            between = total > 0 and total < np.inf
            until[time, pixel] = passed[pixel] if between else np.float32(1)
            since[time, pixel] = since[time, pixel] if between else np.float32(0)


@compiled
def _blend(earlier: Any, later: Any, since: Any, until: Any, out: Any) -> None:
    """The straight line between two values; a quotient of whole numbers this small is exactly .5 or not close to it."""
    for pixel in range(out.size):
        one, other = np.int16(earlier[pixel]), np.int16(later[pixel])
        before = other if one == NODATA else one
        after = before if other == NODATA else other
        to_after, to_before = np.float64(until[pixel]), np.float64(since[pixel])
        out[pixel] = nearest_even((before * to_after + after * to_before) / (to_after + to_before))
