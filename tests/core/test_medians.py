"""The median kernel against NumPy, on 10,000 random pixels for each number of dates."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from cropmap_core.timeseries.medians import median_by_period
from cropmap_core.timeseries.series import NODATA
from tests.core.observations import observations


def reference(data: NDArray[np.int16], clear: NDArray[np.bool_]) -> NDArray[np.int16]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels without a clear value
        median = np.nanmedian(np.where(clear[:, None], data, np.nan), axis=0)
    return np.where(np.isnan(median), NODATA, np.rint(median)).astype(np.int16)


@pytest.mark.parametrize("times", [1, 2, 3, 4, 6, 8, 15, 31, 73])
def test_equals_numpy(times: int) -> None:
    data, clear = observations(times, 2, seed=times)
    made = median_by_period(data, clear, np.array([0, times]))
    np.testing.assert_array_equal(made[0], reference(data, clear))


def test_each_period_has_its_own_dates() -> None:
    data, clear = observations(12, 1, seed=0)
    starts = np.array([0, 5, 5, 6, 11])  # five dates, none, one, five; the last date belongs to no period
    made = median_by_period(data, clear, starts)
    assert (made[1] == NODATA).all()
    for period, (first, past) in enumerate(pairwise(starts)):
        if past > first:
            np.testing.assert_array_equal(made[period], reference(data[first:past], clear[first:past]))


def test_only_the_wanted_channels_are_there_in_the_order_asked_for() -> None:
    data, clear = observations(5, 3, seed=1)
    starts = np.array([0, 5])
    made = median_by_period(data, clear, starts, [2, 0])
    np.testing.assert_array_equal(made, median_by_period(data, clear, starts)[:, [2, 0]])


def test_arrays_that_are_not_contiguous_give_the_same() -> None:
    data, clear = observations(4, 2, seed=2)
    starts = np.array([0, 4])
    made = median_by_period(data[..., ::2, 1:], clear[..., ::2, 1:], starts)
    np.testing.assert_array_equal(made, median_by_period(data, clear, starts)[..., ::2, 1:])
