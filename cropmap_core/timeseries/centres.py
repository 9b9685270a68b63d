"""Composites that take all bands together: the medoid and the geometric median of the observed spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.kernels import compiled, flat, nearest_even, over_pixels
from cropmap_core.timeseries.series import NODATA, Mask

STEP = 0.01
"""The geometric median is found when no band moves by more than this in an iteration, in digital numbers."""
ITERATIONS = 200
"""Most iterations towards a geometric median."""


def medoid_by_period(
    data: NDArray[np.int16], clear: Mask, starts: NDArray[np.int64], channels: Sequence[int]
) -> NDArray[np.int16]:
    """The observed spectrum with the smallest sum of distances to all others of its period, of equal ones the earliest.

    Args:
        data: int16, shape (T, C, H, W).
        clear: True where usable, bool, shape (T, H, W).
        starts: First date of each period in `data`, and last the number of dates used, shape (P + 1,).
        channels: Which of the C are wanted: the distance is the Euclidean one over these.

    Returns:
        Observed values, shape (P, len(channels), H, W); `NODATA` where nothing was clear.

    References:
        Flood 2013, Seasonal composite Landsat TM/ETM+ images using the medoid, Remote Sensing 5(12).
    """
    return _by_period(_medoid, data, clear, starts, channels)


def geometric_median_by_period(
    data: NDArray[np.int16], clear: Mask, starts: NDArray[np.int64], channels: Sequence[int]
) -> NDArray[np.int16]:
    """The spectrum with the smallest sum of distances to the clear ones of its period, rounded half to even.

    Of two spectra it is the mean. Else Weiszfeld's iteration starts from the medoid, which it leaves by the rule of
    Vardi and Zhang unless that is the answer, and ends at a step under `STEP` digital numbers or after `ITERATIONS`.
    From there on it comes near no observation that is not the answer, where its steps would be short.

    Args:
        data: int16, shape (T, C, H, W).
        clear: True where usable, bool, shape (T, H, W).
        starts: First date of each period in `data`, and last the number of dates used, shape (P + 1,).
        channels: Which of the C are wanted: the distance is the Euclidean one over these.

    Returns:
        Values, shape (P, len(channels), H, W); `NODATA` where nothing was clear.

    References:
        Roberts et al. 2017, High-dimensional pixel composites from Earth observation time series, IEEE TGRS 55(11);
        Vardi and Zhang 2000, The multivariate L1-median and associated data depth, PNAS 97(4).
    """
    return _by_period(_geometric_median, data, clear, starts, channels)


def _by_period(
    kernel: Any, data: NDArray[np.int16], clear: Mask, starts: NDArray[np.int64], channels: Sequence[int]
) -> NDArray[np.int16]:
    out = np.empty((starts.size - 1, len(channels), *data.shape[2:]), dtype=np.int16)
    over_pixels(kernel, clear[0].size, flat(data), flat(clear), np.array(channels), starts, flat(out))
    return out


@compiled
def _gather(
    data: Any, clear: Any, channels: Any, first: int, past: int, pixel: int, spectra: Any
) -> int:  # spectra: (T, C)
    """Copies the clear spectra of a pixel to the front; returns how many."""
    count = 0
    for time in range(first, past):
        if clear[time, pixel]:
            for channel in range(channels.size):
                spectra[count, channel] = data[time, channels[channel], pixel]
            count += 1
    return count


@compiled
def _medoid(data: Any, clear: Any, channels: Any, starts: Any, out: Any, begin: int, end: int) -> None:
    spectra = np.empty((data.shape[0], channels.size), dtype=np.float64)
    totals = np.empty(data.shape[0], dtype=np.float64)
    for pixel in range(begin, end):
        for period in range(starts.size - 1):
            count = _gather(data, clear, channels, starts[period], starts[period + 1], pixel, spectra)
            best = _find_medoid(spectra, count, totals)
            for channel in range(channels.size):
                out[period, channel, pixel] = spectra[best, channel] if count else NODATA


@compiled
def _find_medoid(spectra: Any, count: int, totals: Any) -> int:
    totals[:] = 0
    for one in range(count):
        for other in range(one + 1, count):
            squares = 0.0
            for band in range(spectra.shape[1]):
                squares += (spectra[one, band] - spectra[other, band]) ** 2
            distance = np.sqrt(squares)
            totals[one] += distance
            totals[other] += distance
    best = 0
    for one in range(1, count):
        if totals[one] < totals[best]:
            best = one
    return best


@compiled
def _geometric_median(data: Any, clear: Any, channels: Any, starts: Any, out: Any, begin: int, end: int) -> None:
    bands = channels.size
    spectra = np.empty((data.shape[0], bands), dtype=np.float64)
    totals = np.empty(data.shape[0], dtype=np.float64)
    centre = np.empty(bands, dtype=np.float64)
    pull = np.empty(bands, dtype=np.float64)
    for pixel in range(begin, end):
        for period in range(starts.size - 1):
            count = _gather(data, clear, channels, starts[period], starts[period + 1], pixel, spectra)
            if count == 2:  # every point between the two is one
                centre[:] = (spectra[0] + spectra[1]) / 2
            else:
                centre[:] = spectra[_find_medoid(spectra, count, totals)]
            for _ in range(ITERATIONS if count > 2 else 0):
                if _move(spectra, count, centre, pull) < STEP:
                    break
            for band in range(bands):
                out[period, band, pixel] = np.int16(nearest_even(centre[band])) if count else NODATA


@compiled
def _move(spectra: Any, count: int, centre: Any, pull: Any) -> float:
    """One iteration; returns the longest step of a band."""
    pull[:] = 0.0
    weights = 0.0
    here = 0
    for time in range(count):
        squares = 0.0
        for band in range(centre.size):
            squares += (spectra[time, band] - centre[band]) ** 2
        if squares == 0.0:
            here += 1
        else:
            weight = 1.0 / np.sqrt(squares)
            weights += weight
            for band in range(centre.size):
                pull[band] += (spectra[time, band] - centre[band]) * weight
    strength = 0.0
    for band in range(centre.size):
        strength += pull[band] ** 2
    strength = np.sqrt(strength)
    if strength <= here:  # no pull away that the observations at this very point do not hold against
        return 0.0
    share = (1.0 - here / strength) / weights
    longest = 0.0
    for band in range(centre.size):
        step = pull[band] * share
        centre[band] += step
        longest = max(longest, abs(step))
    return longest
