"""Smoothing: examples by hand, and the textbook's matrices on 10,000 random pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cropmap_core.timeseries.series import NODATA
from cropmap_core.timeseries.smoothing import smooth_savitzky_golay, smooth_whittaker, whittaker_penalty
from tests.core.observations import observations

GAP = NODATA
EVEN = np.arange(0, 360, 30)
UNEVEN = np.cumsum(np.random.default_rng(8).integers(5, 40, 12))


def pixel(*values: int) -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.int64]]:
    data = np.array(values, dtype=np.int16).reshape(-1, 1, 1, 1)
    return data, data[:, 0] != GAP, EVEN[: len(values)]


def smoothed(function: Callable[..., None], data: NDArray[np.int16], *arguments: Any) -> NDArray[np.int16]:
    made = data.copy()
    function(made, *arguments)
    return made


class TestWhittaker:
    def test_on_evenly_spaced_dates_curvature_is_the_second_difference(self) -> None:
        differences = np.diff(np.eye(5), n=2, axis=0)
        full = differences.T @ differences
        np.testing.assert_allclose(
            whittaker_penalty(EVEN[:5]), [np.pad(np.diag(full, k), (0, k)) for k in range(3)], atol=1e-12
        )

    def test_a_straight_line_is_as_smooth_as_can_be(self) -> None:
        made = smoothed(smooth_whittaker, *pixel(100, GAP, 300, 400, GAP, 600), 1000)
        assert made.ravel().tolist() == [100, 200, 300, 400, 500, 600]

    def test_a_spike_is_flattened(self) -> None:
        """(I + D'D) z = y with one second difference: z = y - D' (1 + DD')^-1 D y, and DD' = 6."""
        assert smoothed(smooth_whittaker, *pixel(0, 700, 0), 1).ravel().tolist() == [200, 300, 200]

    def test_ends_hold_the_value_of_the_outermost_observed_dates(self) -> None:
        made = smoothed(smooth_whittaker, *pixel(GAP, GAP, 300, 400, 500, GAP), 10)
        assert made.ravel().tolist() == [300, 300, 300, 400, 500, 500]

    @pytest.mark.parametrize(("times", "days"), [(1, EVEN), (2, UNEVEN), (3, EVEN), (5, UNEVEN), (12, UNEVEN)])
    def test_equals_the_dense_solution(self, times: int, days: NDArray[np.int64]) -> None:
        data, valid = observations(times, 2, seed=times)
        made = smoothed(smooth_whittaker, data, valid, days[:times], 7)
        diagonals = 7 * whittaker_penalty(days[:times])
        penalty = sum(np.diag(row[: times - k], k) + np.diag(row[: times - k], -k) * (k > 0)
                      for k, row in enumerate(diagonals) if k < times)  # fmt: skip
        weights = np.moveaxis(valid, 0, -1).astype(float)
        solvable = weights.sum(axis=-1) > 1
        system = penalty + np.where(solvable[..., None], weights, 1)[..., None] * np.eye(times)
        right = (np.where(valid[:, None], data, 0) * 1.0).transpose(2, 3, 0, 1)
        curve = np.linalg.solve(system, right).transpose(2, 3, 0, 1)  # (T, C, H, W)
        inside = solvable & (np.maximum.accumulate(valid, axis=0) & np.maximum.accumulate(valid[::-1], axis=0)[::-1])
        inside = np.broadcast_to(inside[:, None], data.shape)
        assert (np.abs(made - curve.clip(-32767, 32767))[inside] <= 0.5 + 1e-6).all()
        assert (made[:, :, ~valid.any(axis=0)] == NODATA).all()


class TestSavitzkyGolay:
    def test_a_parabola_is_kept_and_its_gap_filled(self) -> None:
        made = smoothed(smooth_savitzky_golay, *pixel(0, 10, 40, GAP, 160, 250), 5, 2)
        assert made.ravel().tolist() == [0, 10, 40, 90, 160, 250]

    def test_five_points_of_second_order_have_the_weights_of_the_paper(self) -> None:
        """-3, 12, 17, 12, -3, over 35."""
        assert smoothed(smooth_savitzky_golay, *pixel(0, 0, 3500, 0, 0), 5, 2).ravel()[2] == 1700

    def test_order_nought_is_the_mean_of_what_is_observed(self) -> None:
        assert smoothed(smooth_savitzky_golay, *pixel(10, GAP, 40), 3, 0).ravel().tolist() == [25, 25, 25]

    def test_a_gap_longer_than_the_window_is_a_straight_line(self) -> None:
        made = smoothed(smooth_savitzky_golay, *pixel(100, GAP, GAP, GAP, GAP, 600), 3, 2)
        assert made.ravel().tolist() == [100, 200, 300, 400, 500, 600]

    def test_ends_hold_the_value_of_the_outermost_observed_dates(self) -> None:
        made = smoothed(smooth_savitzky_golay, *pixel(GAP, 100, 200, 300, GAP), 3, 1)
        assert made.ravel().tolist() == [100, 100, 200, 300, 300]

    @pytest.mark.parametrize(("window", "order"), [(3, 1), (5, 2), (7, 4)])
    def test_equals_numpys_least_squares(self, window: int, order: int) -> None:
        """One pixel after the other, so fewer of them."""
        data, valid = observations(12, 1, seed=window)
        data, valid = data[..., :12, :12], valid[..., :12, :12]
        made = smoothed(smooth_savitzky_golay, data, valid, UNEVEN, window, order)
        for row, col in np.ndindex(12, 12):
            seen = np.flatnonzero(valid[:, row, col])
            for time in range(seen[0], seen[-1] + 1) if seen.size > 1 else ():
                begin = max(0, min(time - window // 2, 12 - window))
                near = seen[(seen >= begin) & (seen < begin + window)]
                values, distance = data[near, 0, row, col].astype(float), (UNEVEN[near] - UNEVEN[time]) / 30
                if near.size and near[0] <= time <= near[-1]:
                    fit = np.polynomial.polynomial.polyfit(distance, values, min(order, near.size - 1))
                    expected = fit[0]
                else:
                    expected = np.interp(UNEVEN[time], UNEVEN[seen], data[seen, 0, row, col])
                assert abs(made[time, 0, row, col] - np.clip(expected, -32767, 32767)) <= 0.5 + 1e-3
        assert (made[:, 0, ~valid.any(axis=0)] == NODATA).all()


@pytest.mark.parametrize("method", ["whittaker", "savitzky_golay"])
def test_a_value_that_is_not_valid_changes_nothing(method: str) -> None:
    data, valid = observations(8, 2, seed=1)
    spoilt = np.where(valid[:, None], data, np.int16(4711))
    if method == "whittaker":
        made = [smoothed(smooth_whittaker, each, valid, EVEN[:8], 3) for each in (data, spoilt)]
    else:
        made = [smoothed(smooth_savitzky_golay, each, valid, EVEN[:8], 5, 2) for each in (data, spoilt)]
    np.testing.assert_array_equal(*made)
