"""Compositing and filling against NumPy: 10 bands, 6 and 15 dates a month, 40 % masked."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np

from benchmarks.paired import compare
from cropmap_core.timeseries.kernels import fill_from_neighbours, median_by_period
from cropmap_core.timeseries.series import NODATA

SIZE = 256
MEGAPIXELS = SIZE * SIZE / 1e6


def main() -> None:
    random = np.random.default_rng(0)
    for dates in (6, 15):
        data = random.integers(0, 8000, (dates, 10, SIZE, SIZE)).astype(np.int16)
        clear = random.random((dates, SIZE, SIZE)) > 0.4
        out = np.empty((1, 10, SIZE, SIZE), dtype=np.int16)
        starts = np.array([0, dates])
        compare(
            f"Median composite, {dates} dates, 10 bands (pixel positions)",
            {
                "cropmap": partial(median_by_period, data, clear, starts, out),
                "numpy.nanmedian": partial(_numpy_median, data, clear),
            },
            MEGAPIXELS,
            "Mpx",
        )
    data = random.integers(0, 8000, (12, 4, SIZE, SIZE)).astype(np.int16)
    valid = random.random((12, SIZE, SIZE)) > 0.4
    data[~np.broadcast_to(valid[:, None], data.shape)] = NODATA
    out = np.empty_like(data)
    compare(
        "Filling by the reference rule, 12 periods, 4 bands (pixel positions)",
        {
            "cropmap": lambda: fill_from_neighbours(data, valid, out),
            "numpy": lambda: _numpy_fill(data, valid),
        },
        MEGAPIXELS,
        "Mpx",
    )


def _numpy_median(data: np.ndarray, clear: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-masked pixels
        return np.nanmedian(np.where(clear[:, None], data, np.nan).astype(np.float32), axis=0)


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
