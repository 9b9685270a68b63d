"""Gaps in time: how long they are, and what filling them says about a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.kernels import CHUNK, compiled, flat, over_pixels
from cropmap_core.timeseries.series import Mask

PROVENANCE = ("clear_count", "filled_share", "longest_gap_days")
"""Bands of fill provenance: observed dates, share of dates with a value that are filled, days of the longest gap."""


def gap_days(valid: Mask, days: NDArray[np.int64]) -> NDArray[np.int32]:
    """Length of the gap that each date lies in.

    A gap reaches from the observed date before it to the one after it; at the ends of the series, from its first or to
    its last date.

    Args:
        valid: True where observed, bool, shape (T, H, W).
        days: Days of the dates, ascending, shape (T,).

    Returns:
        Days, shape (T, H, W); 0 where observed.
    """
    lengths = np.empty(valid.shape, dtype=np.int32)
    over_pixels(_gap_days, valid[0].size, flat(valid), days, flat(lengths))
    return lengths


def provenance(observed: Mask, filled: Mask, gaps: NDArray[np.int32]) -> NDArray[np.float32]:
    """What a filled pixel's values are made from.

    Args:
        observed: True where there was a value before filling, bool, shape (T, H, W).
        filled: True where there is one afterwards, bool, shape (T, H, W).
        gaps: As `gap_days` gives them.

    Returns:
        The bands of `PROVENANCE`, shape (3, H, W); the share and the gap of a pixel that was never observed are NaN.
    """
    count, with_value = observed.sum(axis=0), filled.sum(axis=0)
    out = np.empty((len(PROVENANCE), *count.shape), dtype=np.float32)
    out[0] = count
    out[1] = np.where(count > 0, (with_value - count) / np.maximum(with_value, 1), np.nan)
    out[2] = np.where(count > 0, gaps.max(axis=0), np.nan)
    return out


@compiled
def _gap_days(valid: Any, days: Any, lengths: Any, begin: int, end: int) -> None:
    times = valid.shape[0]
    passed = np.empty(CHUNK, dtype=np.int32)
    for at in range(begin, end, CHUNK):
        size = min(CHUNK, end - at)
        passed[:] = 0
        for time in range(times):
            step = np.int32(days[time] - days[max(0, time - 1)])
            observed, length = valid[time, at : at + size], lengths[time, at : at + size]
            for pixel in range(size):
                passed[pixel] = np.int32(0) if observed[pixel] else passed[pixel] + step
                length[pixel] = passed[pixel]
        passed[:] = 0
        for time in range(times - 1, -1, -1):
            step = np.int32(days[min(times - 1, time + 1)] - days[time])
            observed, length = valid[time, at : at + size], lengths[time, at : at + size]
            for pixel in range(size):
                passed[pixel] = np.int32(0) if observed[pixel] else passed[pixel] + step
                length[pixel] += passed[pixel]
