"""Medoid and geometric median: examples in the plane, and NumPy on 10,000 random pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cropmap_core.timeseries.centres import ITERATIONS, STEP, geometric_median_by_period, medoid_by_period
from cropmap_core.timeseries.series import NODATA
from tests.core.observations import observations


def pixel(*spectra: tuple[int, int]) -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.int64], list[int]]:
    data = np.array(spectra, dtype=np.int16)[:, :, None, None]
    return data, np.ones((len(spectra), 1, 1), dtype=bool), np.array([0, len(spectra)]), [0, 1]


def test_a_medoid_is_the_observation_amid_the_others() -> None:
    assert medoid_by_period(*pixel((0, 0), (100, 0), (40, 10), (9000, 9000))).ravel().tolist() == [40, 10]


def test_of_two_observations_the_earlier_is_the_medoid() -> None:
    assert medoid_by_period(*pixel((70, 10), (0, 0))).ravel().tolist() == [70, 10]


def test_the_geometric_median_of_a_triangle_is_its_fermat_point() -> None:
    """All sides are seen from it under 120 degrees: on the axis of symmetry, 300 / sqrt(3) above the base's middle."""
    assert geometric_median_by_period(*pixel((-300, 0), (300, 0), (0, 1000))).ravel().tolist() == [0, 173]


def test_the_geometric_median_is_an_observation_where_the_others_pull_less_than_its_weight() -> None:
    """From the flat corner of a triangle, over 120 degrees wide, there is no better way."""
    assert geometric_median_by_period(*pixel((-300, 0), (300, 0), (0, 40))).ravel().tolist() == [0, 40]


def test_the_geometric_median_of_two_is_their_mean_and_of_one_itself() -> None:
    assert geometric_median_by_period(*pixel((0, 10), (11, 20))).ravel().tolist() == [6, 15]  # 5.5, half to even
    assert geometric_median_by_period(*pixel((-7, 3))).ravel().tolist() == [-7, 3]


def distances(data: NDArray[np.float64], clear: NDArray[np.bool_], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the distances from a spectrum to the clear ones, shape (H, W)."""
    return np.where(clear, np.sqrt(((data - centre) ** 2).sum(axis=1)), 0).sum(axis=0)


@pytest.mark.parametrize("times", [1, 2, 3, 8, 12])
def test_medoids_equal_numpy(times: int) -> None:
    data, clear = observations(times, 3, seed=times)
    values = data.astype(float)
    totals = np.zeros((times, *clear.shape[1:]))
    for one in range(times):
        for other in range(times):  # one after the other, as ties depend on the order of rounding
            totals[one] += np.where(clear[other], np.sqrt(((values[one] - values[other]) ** 2).sum(axis=0)), 0)
    best = np.where(clear, totals, np.inf).argmin(axis=0)
    expected = np.where(clear.any(axis=0), np.take_along_axis(data, best[None, None], axis=0)[0], NODATA)
    np.testing.assert_array_equal(medoid_by_period(data, clear, np.array([0, times]), [0, 1, 2])[0], expected)


def weiszfeld(data: NDArray[np.float64], clear: NDArray[np.bool_], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """The iteration of Vardi and Zhang for all pixels at once, from the medoids on."""
    centre, moving = start, clear.sum(axis=0) > 2
    for _ in range(ITERATIONS):
        away = np.sqrt(((data - centre) ** 2).sum(axis=1))
        weights = np.where(clear & (away > 0), 1 / np.maximum(away, 1e-9), 0)
        pull = ((data - centre) * weights[:, None]).sum(axis=0)
        strength, here = np.sqrt((pull**2).sum(axis=0)), (clear & (away == 0)).sum(axis=0)
        share = np.maximum(0, 1 - here / np.maximum(strength, 1e-300)) / np.maximum(weights.sum(axis=0), 1e-300)
        step = np.where(moving, pull * share, 0)
        centre = centre + step
        moving &= np.abs(step).max(axis=0) >= STEP
    return centre


@pytest.mark.parametrize("times", [1, 2, 3, 8])
def test_geometric_medians_equal_numpy(times: int) -> None:
    data, clear = observations(times, 3, seed=times)
    starts = np.array([0, times])
    made = geometric_median_by_period(data, clear, starts, [0, 1, 2])[0]
    medoids = medoid_by_period(data, clear, starts, [0, 1, 2])[0].astype(float)
    pairs = (data * clear[:, None].astype(float)).sum(axis=0) / 2
    expected = np.where(clear.sum(axis=0) == 2, pairs, weiszfeld(data.astype(float), clear, medoids))
    assert (np.abs(made - expected) <= 0.5 + 1e-3).all()
    assert (made[:, ~clear.any(axis=0)] == NODATA).all()


def test_no_observation_is_better_than_a_geometric_median() -> None:
    data, clear = observations(6, 3, seed=9)
    values = data.astype(float)
    made = geometric_median_by_period(data, clear, np.array([0, 6]), [0, 1, 2])[0].astype(float)
    found = distances(values, clear, made)
    for one in range(6):
        at_observation = np.where(clear[one], distances(values, clear, values[one]), np.inf)
        assert (found <= at_observation + 6).all()  # what rounding each band and the last step may cost
