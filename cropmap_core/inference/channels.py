"""The channels of samples: gaps filled and indices computed, as the chain of a map does it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import MissingBandError
from cropmap_core.timeseries.expressions import Band
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.interpolation import fill_from_neighbours
from cropmap_core.timeseries.programs import Program, compile_program
from cropmap_core.timeseries.series import REFLECTANCE_SCALE, Values

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def sample_channels(
    data: NDArray[np.int16], valid: Mask, bands: Sequence[str], channels: Sequence[str]
) -> tuple[Floats, Mask]:
    """Fills the gaps of samples by the reference rule, and computes channels of them.

    Args:
        data: Composites, reflectance x 10000, of any value where not valid, shape (N, T, C, H, W).
        valid: Where they were observed, shape (N, T, H, W).
        bands: Names of the C bands.
        channels: Bands and indices to make.

    Returns:
        Reflectance 0-1 and indices, float32, shape (N, T, K, H, W), NaN where there is none; and where all K channels
        have a value, shape (N, T, H, W).

    Raises:
        MissingBandError: A channel is neither a band that is there, nor an index of such bands.
    """
    filled, there = fill_samples(data, valid)
    return compute_channels(filled, there, bands, channels)


def fill_samples(data: NDArray[np.int16], valid: Mask) -> tuple[NDArray[np.int16], Mask]:
    """Fills the gaps of samples by the reference rule.

    Args:
        data: Reflectance x 10000, of any value where not valid, shape (N, T, C, H, W).
        valid: Where they were observed, shape (N, T, H, W).

    Returns:
        A filled copy, and where it may be used: wherever there is an observation of any date.
    """
    count, times, bands, height, width = data.shape
    in_a_row = np.array(data.transpose(1, 2, 0, 3, 4), order="C").reshape(times, bands, count * height, width)
    observed = np.ascontiguousarray(valid.transpose(1, 0, 2, 3)).reshape(times, count * height, width)
    fill_from_neighbours(in_a_row, observed)
    filled = in_a_row.reshape(times, bands, count, height, width).transpose(2, 0, 1, 3, 4)
    return filled, np.broadcast_to(valid.any(axis=1, keepdims=True), valid.shape)


def compute_channels(values: Values, valid: Mask, bands: Sequence[str], channels: Sequence[str]) -> tuple[Floats, Mask]:
    """Computes channels of samples.

    Args:
        values: Filled composites, int16 reflectance x 10000 or float32 reflectance 0-1, shape (N, T, C, H, W).
        valid: Where they may be used, shape (N, T, H, W).
        bands: Names of the C bands.
        channels: Bands and indices to make.

    Returns:
        As `sample_channels`.

    Raises:
        MissingBandError: A channel is neither a band that is there, nor an index of such bands.
    """
    count, times, _, height, width = values.shape
    found, there = _program(tuple(bands), tuple(channels)).run(
        values.transpose(1, 2, 0, 3, 4).reshape(times, len(bands), count * height, width),
        valid.transpose(1, 0, 2, 3).reshape(times, count * height, width),
        REFLECTANCE_SCALE if values.dtype.kind == "i" else 1.0,
    )
    return (
        found.reshape(times, len(channels), count, height, width).transpose(2, 0, 1, 3, 4),
        there.reshape(times, count, height, width).transpose(1, 0, 2, 3),
    )


@cache
def _program(bands: tuple[str, ...], channels: tuple[str, ...]) -> Program:
    needed = {name: INDICES[name].bands if name in INDICES else (name,) for name in channels}
    for name, of in needed.items():
        missing = [band for band in of if band not in bands]
        if missing:
            raise MissingBandError(missing, "the samples", f"{name} is made of {', '.join(of)}.")
    return compile_program([INDICES[name].expression if name in INDICES else Band(name) for name in channels], bands)
