"""Sums over the pixels of parcels, each pixel weighted with its share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.io.compiling import compiled
from cropmap_core.parcels.coverage import Cells

Floats = NDArray[np.float64]
HALF = 0.5
"""Share from which on a pixel counts for the extremes of its parcel: a sliver says little of it."""


def weighted_sums(values: NDArray[Any], nodata: float | None, cells: Cells) -> tuple[Floats, Floats]:
    """Sums of several bands over parcels.

    Args:
        values: Numbers, shape (B, H, W).
        nodata: Marks pixels without a value, besides NaN.
        cells: The pixels of n parcels.

    Returns:
        The weighted sums, and the weights of the pixels with a value, each of shape (n, B).
    """
    flat = values.reshape(len(values), -1)
    sums, weights = np.zeros((len(cells), len(flat))), np.zeros((len(cells), len(flat)))
    _sum(flat, np.nan if nodata is None else float(nodata), cells.starts, cells.pixel, cells.share, sums, weights)
    return sums, weights


def class_areas(position: NDArray[np.int64], certainty: Floats, count: int, cells: Cells) -> tuple[Floats, Floats]:
    """Pixels of each class in parcels, and what speaks for them.

    Args:
        position: Of each cell's class among the classes, -1 where there is none, shape (m,).
        certainty: Of each cell's class, 0-1, shape (m,).
        count: Number of classes.
        cells: The pixels of n parcels.

    Returns:
        Weighted pixels, and weighted sums of the certainty, each of shape (n, count).
    """
    area, support = np.zeros((len(cells), count)), np.zeros((len(cells), count))
    _add_classes(position, certainty, cells.starts, cells.share, area, support)
    return area, support


def extremes(values: NDArray[Any], cells: Cells) -> tuple[Floats, Floats]:
    """Least and greatest values in parcels.

    Args:
        values: NaN where there is none, shape (H, W).
        cells: The pixels of n parcels.

    Returns:
        Least and greatest, each of shape (n, 2): of the pixels of which at least half lies in the parcel, and of all;
        infinite where there is no pixel.
    """
    least, greatest = np.full((len(cells), 2), np.inf), np.full((len(cells), 2), -np.inf)
    _find_extremes(values.ravel(), cells.starts, cells.pixel, cells.share, least, greatest)
    return least, greatest


@compiled
def _sum(values: Any, nodata: float, starts: Any, pixel: Any, share: Any, sums: Any, weights: Any) -> None:
    for parcel in range(len(starts) - 1):
        for band in range(values.shape[0]):
            total, weight = 0.0, 0.0
            for cell in range(starts[parcel], starts[parcel + 1]):
                value = float(values[band, pixel[cell]])
                if value == value and value != nodata:
                    total += share[cell] * value
                    weight += share[cell]
            sums[parcel, band] = total
            weights[parcel, band] = weight


@compiled
def _add_classes(position: Any, certainty: Any, starts: Any, share: Any, area: Any, support: Any) -> None:
    for parcel in range(len(starts) - 1):
        for cell in range(starts[parcel], starts[parcel + 1]):
            if position[cell] >= 0:
                area[parcel, position[cell]] += share[cell]
                support[parcel, position[cell]] += share[cell] * certainty[cell]


@compiled
def _find_extremes(values: Any, starts: Any, pixel: Any, share: Any, least: Any, greatest: Any) -> None:
    for parcel in range(len(starts) - 1):
        for cell in range(starts[parcel], starts[parcel + 1]):
            value = float(values[pixel[cell]])
            if value == value:
                for which in range(0 if share[cell] >= HALF else 1, 2):
                    least[parcel, which] = min(least[parcel, which], value)
                    greatest[parcel, which] = max(greatest[parcel, which], value)
