"""Composites of table rows: what was observed of a sample in each period of its season."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from numpy.typing import NDArray

from cropmap_core.errors import JobError, SamplesError
from cropmap_core.timeseries.series import NODATA

REFLECTANCE = {"scaled": 1.0, "unit": 10000.0}
"""What a table's values are to be multiplied with to be reflectance x 10000."""
_SMALLEST_SCALED = 2.0  # reflectance x 10000 with no value above it can only be meant as 0-1
_LARGEST_UNIT = 20.0  # of 0-1; the brightest clouds and glints come to a few


def check_reflectance(name: str) -> None:
    """Refuses a scale that there is not.

    Raises:
        JobError: It is neither `scaled` nor `unit`.
    """
    if name not in REFLECTANCE:
        raise JobError(f"REFLECTANCE is '{name}'.", f"Choose one of {', '.join(REFLECTANCE)}.")


def check_magnitude(path: Path, largest: float | None, reflectance: str) -> None:
    """Refuses values that cannot be of the scale they are declared as.

    Args:
        path: The table.
        largest: Its largest value, None where it has none.
        reflectance: `scaled` or `unit`.

    Raises:
        SamplesError: They are meant otherwise.
    """
    if largest is None:
        return
    if reflectance == "scaled" and largest <= _SMALLEST_SCALED:
        raise SamplesError(
            f"{path} holds no value above {largest:g}: that is no reflectance x 10000.",
            "Set REFLECTANCE to unit.",
        )
    if reflectance == "unit" and largest > _LARGEST_UNIT:
        raise SamplesError(
            f"{path} holds the value {largest:g}: that is no reflectance of 0-1.",
            "Set REFLECTANCE to scaled where values are reflectance x 10000, and leave cells without a value empty.",
        )


def composite_rows(
    values: NDArray[np.float64], sample: NDArray[np.int64], time: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """The median of each sample's rows in each period, band by band, as compositing takes it.

    Args:
        values: Reflectance x 10000 of valid rows, float64, shape (R, C).
        sample: Number of each row's sample, shape (R,).
        time: Position of its period, shape (R,).
        shape: Number of samples and of periods, (N, T).

    Returns:
        Composites as samples hold them, shape (N, T, C, 1, 1), nodata -32768; values beyond int16 saturate. And where
        there is one, shape (N, T, 1, 1).
    """
    count, times = shape
    cell = sample * times + time
    limits = np.iinfo(np.int16)
    values = np.clip(np.rint(values), limits.min + 1, limits.max)  # as series hold them
    if len(np.unique(cell)) < len(cell):
        medians = pandas.DataFrame(values).groupby(cell).median()
        values, cell = medians.to_numpy(), medians.index.to_numpy()
    data = np.full((count * times, values.shape[1]), NODATA, np.int16)
    data[cell] = np.rint(values)
    valid = np.zeros(count * times, dtype=bool)
    valid[cell] = True
    return data.reshape(count, times, values.shape[1], 1, 1), valid.reshape(count, times, 1, 1)
