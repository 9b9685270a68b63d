"""The filling kernels against NumPy, on 10,000 random pixels for each number of dates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cropmap_core.timeseries.interpolation import fill_from_neighbours, fill_linearly
from cropmap_core.timeseries.series import NODATA
from tests.core.observations import observations

DAYS = np.cumsum(np.random.default_rng(4).integers(1, 60, 73))


def neighbours(valid: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the observed dates up to and from each date on, the same where there is one alone."""
    times = len(valid)
    order = np.arange(times)[:, None, None]
    before = np.maximum.accumulate(np.where(valid, order, -1), axis=0)
    after = np.minimum.accumulate(np.where(valid, order, times)[::-1], axis=0)[::-1]
    return np.where(before < 0, after, before) % times, np.where(after == times, before, after) % times


def reference(data: NDArray[np.int16], valid: NDArray[np.bool_], days: NDArray[np.int64] | None) -> NDArray[np.int16]:
    before, after = neighbours(valid)
    one, other = (np.take_along_axis(data, each[:, None], axis=0).astype(float) for each in (before, after))
    if days is None:
        filled = (one + other) / 2
    else:
        since, length = days[: len(data), None, None] - days[before], days[after] - days[before]
        share = [part[:, None] for part in (np.where(length > 0, since, 0), np.where(length > 0, length, 1))]
        filled = (one * (share[1] - share[0]) + other * share[0]) / share[1]
    return np.where(valid.any(axis=0), np.rint(filled), NODATA).astype(np.int16)


def filled(function: Callable[..., None], data: NDArray[np.int16], *arguments: NDArray[Any]) -> NDArray[np.int16]:
    made = data.copy()
    function(made, *arguments)
    return made


@pytest.mark.parametrize("times", [1, 2, 3, 5, 12, 36])
def test_means_of_neighbours_equal_numpy(times: int) -> None:
    data, valid = observations(times, 2, seed=times)
    np.testing.assert_array_equal(filled(fill_from_neighbours, data, valid), reference(data, valid, None))


@pytest.mark.parametrize("times", [1, 2, 3, 5, 12, 73])
def test_lines_between_neighbours_equal_numpy(times: int) -> None:
    data, valid = observations(times, 2, seed=times)
    np.testing.assert_array_equal(filled(fill_linearly, data, valid, DAYS[:times]), reference(data, valid, DAYS))


def test_a_series_that_is_not_contiguous_is_filled_where_it_is() -> None:
    data, valid = observations(5, 2, seed=2)
    every_other = data.copy()
    fill_from_neighbours(every_other[..., ::2], valid[..., ::2])
    np.testing.assert_array_equal(every_other[..., ::2], filled(fill_from_neighbours, data, valid)[..., ::2])
    np.testing.assert_array_equal(every_other[..., 1::2], data[..., 1::2])
