"""Means and chosen observations against NumPy, on 10,000 random pixels for each number of dates."""

from __future__ import annotations

import numpy as np
import pytest

from cropmap_core.timeseries.averages import mean_by_period, preferred_by_period
from cropmap_core.timeseries.series import NODATA
from tests.core.observations import observations


@pytest.mark.parametrize("times", [1, 2, 3, 7, 12, 73])
def test_means_equal_numpy(times: int) -> None:
    data, clear = observations(times, 2, seed=times)
    total, count = np.where(clear[:, None], data, 0).sum(axis=0, dtype=np.int64), clear.sum(axis=0)
    expected = np.where(count > 0, np.rint(total / np.maximum(count, 1)), NODATA)
    np.testing.assert_array_equal(mean_by_period(data, clear, np.array([0, times]), [0, 1])[0], expected)


@pytest.mark.parametrize("times", [1, 2, 5, 12])
def test_the_nearest_clear_observation_equals_numpy(times: int) -> None:
    data, clear = observations(times, 2, seed=times)
    distances = np.random.default_rng(times).integers(0, 4, times)
    best = np.where(clear, distances[:, None, None], 99).argmin(axis=0)  # of equal ones the first
    chosen = np.take_along_axis(data, best[None, None], axis=0)[0]
    made = preferred_by_period(data, clear, np.array([0, times]), [0, 1], distances)
    np.testing.assert_array_equal(made[0], np.where(clear.any(axis=0), chosen, NODATA))


def test_each_period_has_its_own_dates_and_channels_come_as_asked_for() -> None:
    data, clear = observations(6, 3, seed=0)
    starts = np.array([0, 2, 2, 5])
    for made in (
        mean_by_period(data, clear, starts, [2, 0]),
        preferred_by_period(data, clear, starts, [2, 0], np.arange(6)),
    ):
        assert made.shape == (3, 2, 100, 100)
        assert (made[1] == NODATA).all()
    last = preferred_by_period(data, clear, starts, [2], -np.arange(6))
    later = preferred_by_period(data[2:5], clear[2:5], np.array([0, 3]), [2], np.array([2, 1, 0]))
    np.testing.assert_array_equal(last[2], later[0])
