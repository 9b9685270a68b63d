"""Smooth curves through the observed dates of a season: Savitzky-Golay and Whittaker, weighted by what is observed.

Both replace observed values too. Before the first and after the last observed date they hold the value there, for a
curve that runs on beyond all observations says nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.kernels import compiled, flat, in_place, nearest_even, over_pixels
from cropmap_core.timeseries.series import NODATA, Mask

_LANES = 256  # pixels that are solved side by side: the factors of some dozen dates stay in the second-level cache
_LEAST, _MOST = -32767.0, 32767.0
_LEAST_PIVOT = 1e-12  # one observation alone leaves the last pivot without a value; what comes of it is not used


def smooth_whittaker(data: NDArray[np.int16], valid: Mask, days: NDArray[np.int64], smoothness: float) -> None:
    """Replaces a series y by the curve z with the least sum of (y - z)^2 plus smoothness times its squared curvature.

    The sum is over observed dates. Curvature is the second divided difference over the true dates, in units of their
    mean distance: where they are equally far apart, it is the plain second difference. Values are rounded half to
    even; pixels that were never observed become `NODATA`.

    Args:
        data: int16, shape (T, C, H, W).
        valid: True where observed, bool, shape (T, H, W).
        days: Days of the dates, ascending, shape (T,).
        smoothness: Lambda, over 0.

    References:
        Eilers 2003, A perfect smoother, Analytical Chemistry 75(14).
    """
    penalty = smoothness * whittaker_penalty(days)
    in_place(data, lambda values: over_pixels(_whittaker, valid[0].size, values, flat(valid), penalty))


def whittaker_penalty(days: NDArray[np.int64]) -> NDArray[np.float64]:
    """The matrix D'D of second divided differences D as its diagonal and the two beside it, shape (3, T)."""
    times = len(days)
    penalty = np.zeros((3, times))
    position = (days - days[0]) / max(1.0, (days[-1] - days[0]) / max(1, times - 1))
    for middle in range(1, times - 1):
        before, after = position[middle] - position[middle - 1], position[middle + 1] - position[middle]
        row = 2 / np.array([before * (before + after), -before * after, after * (before + after)])
        for one in range(3):
            for other in range(one, 3):
                penalty[other - one, middle - 1 + one] += row[one] * row[other]
    return penalty


def smooth_savitzky_golay(
    data: NDArray[np.int16], valid: Mask, days: NDArray[np.int64], window: int, order: int
) -> None:
    """Replaces a series by local polynomials: least squares over the observed ones of the dates around each date.

    At the ends of the series the window reaches as far to the other side as it lacks. The order is lowered where fewer
    dates than it takes are observed. An unobserved date with no observed date on one side of it within the window takes
    the straight line between the nearest ones. Values are rounded half to even; pixels that were never observed become
    `NODATA`.

    Args:
        data: int16, shape (T, C, H, W).
        valid: True where observed, bool, shape (T, H, W).
        days: Days of the dates, ascending, shape (T,).
        window: Dates in the window, an odd number.
        order: Order of the polynomials, less than `window`.

    References:
        Savitzky and Golay 1964, Smoothing and differentiation of data by simplified least squares procedures,
        Analytical Chemistry 36(8); Chen et al. 2004, RSE 91(3-4) for vegetation indices.
    """
    position = (days - days[0]) / max(1.0, (days[-1] - days[0]) / max(1, len(days) - 1))
    arguments = flat(valid), position, window, order
    in_place(data, lambda values: over_pixels(_savitzky_golay, valid[0].size, values, *arguments))


@compiled
def _rounded(value: float) -> Any:
    return np.int16(nearest_even(min(max(value, _LEAST), _MOST)))


@compiled
def _whittaker(data: Any, valid: Any, penalty: Any, begin: int, end: int) -> None:
    """Solves (W + penalty) z = W y as L D L', five diagonals wide; the factors serve all channels.

    Row t + 2 of the factors and of the curve belongs to date t: two rows of nothing on either side save the question.
    """
    times, channels, _ = data.shape
    weight = np.zeros((times, _LANES), dtype=np.float64)
    pivot = np.ones((times + 4, _LANES), dtype=np.float64)  # D
    near = np.zeros((times + 4, _LANES), dtype=np.float64)  # the two diagonals of L
    far = np.zeros((times + 4, _LANES), dtype=np.float64)
    curve = np.zeros((times + 4, _LANES), dtype=np.float64)
    for at in range(begin, end, _LANES):
        size = min(_LANES, end - at)
        for time in range(times):
            observed = valid[time, at : at + size]
            for lane in range(size):
                weight[time, lane] = 1.0 if observed[lane] else 0.0
            _factorise(weight[time], penalty[:, time], pivot, near, far, time + 2)
        for channel in range(channels):
            for time in range(times):
                row = data[time, channel, at : at + size]
                for lane in range(size):
                    carried = near[time + 1, lane] * curve[time + 1, lane] + far[time, lane] * curve[time, lane]
                    curve[time + 2, lane] = row[lane] * weight[time, lane] - carried
            for time in range(times + 1, 1, -1):
                for lane in range(size):
                    carried = near[time, lane] * curve[time + 1, lane] + far[time, lane] * curve[time + 2, lane]
                    curve[time, lane] = curve[time, lane] / pivot[time, lane] - carried
            for lane in range(size):
                first, last = _ends(valid, at + lane)
                for time in range(times):
                    if last < 0:
                        data[time, channel, at + lane] = NODATA
                    elif first == last:
                        data[time, channel, at + lane] = data[first, channel, at + lane]
                    else:
                        data[time, channel, at + lane] = _rounded(curve[min(max(time, first), last) + 2, lane])


@compiled
def _factorise(weight: Any, penalty: Any, pivot: Any, near: Any, far: Any, row: int) -> None:
    """The next row of the factors."""
    for lane in range(weight.size):
        before = near[row - 1, lane] * pivot[row - 1, lane]
        diagonal = (
            weight[lane] + penalty[0] - near[row - 1, lane] * before - far[row - 2, lane] ** 2 * pivot[row - 2, lane]
        )
        diagonal = max(diagonal, _LEAST_PIVOT)
        pivot[row, lane] = diagonal
        near[row, lane] = (penalty[1] - before * far[row - 1, lane]) / diagonal
        far[row, lane] = penalty[2] / diagonal


@compiled
def _ends(valid: Any, pixel: int) -> tuple[int, int]:
    """The first and the last observed date of a pixel; -1 for the last if there is none."""
    first, last = valid.shape[0], -1
    for time in range(valid.shape[0]):
        if valid[time, pixel]:
            first = min(first, time)
            last = time
    return first, last


@compiled
def _savitzky_golay(data: Any, valid: Any, position: Any, window: int, order: int, begin: int, end: int) -> None:
    """The weights of a pixel's dates serve all channels."""
    times, channels, _ = data.shape
    weights = np.zeros((times, times), dtype=np.float64)  # of all dates for the value at each
    spans = np.zeros((times, 2), dtype=np.int64)  # the first of them that is not 0, and the one after the last
    system = np.zeros((order + 1, order + 2), dtype=np.float64)
    moments = np.zeros(2 * order + 1, dtype=np.float64)
    values = np.zeros(times, dtype=np.float64)
    for pixel in range(begin, end):
        observed = valid[:, pixel]
        first, last = _ends(valid, pixel)
        for time in range(first, last + 1):
            spans[time] = _weigh_dates(observed, position, time, window, order, system, moments, weights[time])
        for channel in range(channels):
            for time in range(times):
                values[time] = data[time, channel, pixel]
            for time in range(times):
                if last < 0:
                    data[time, channel, pixel] = NODATA
                    continue
                at = min(max(time, first), last)
                total = 0.0
                for other in range(spans[at, 0], spans[at, 1]):
                    total += weights[at, other] * values[other]
                data[time, channel, pixel] = _rounded(total)


@compiled
def _weigh_dates(
    observed: Any, position: Any, time: int, window: int, order: int, system: Any, moments: Any, weights: Any
) -> tuple[int, int]:
    """What each date contributes to the value at one date, which lies between observed ones; returns their span."""
    times = observed.size
    begin = max(0, min(time - window // 2, times - window))
    end = min(times, begin + window)
    count, earlier, later = 0, -1, -1
    for other in range(begin, end):
        weights[other] = 0.0
        if observed[other]:
            count += 1
            if other <= time:
                earlier = other
            if other >= time and later < 0:
                later = other
    if earlier < 0 or later < 0:
        return _weigh_neighbours(observed, position, time, weights)
    terms = min(order + 1, count)
    moments[:] = 0.0
    for other in range(begin, end):
        power = 1.0 if observed[other] else 0.0
        for exponent in range(2 * terms - 1):
            moments[exponent] += power
            power *= position[other] - position[time]
    for row in range(terms):
        for col in range(terms):
            system[row, col] = moments[row + col]
        system[row, terms] = 0.0
    system[0, terms] = 1.0  # the value at the date itself is the constant of the polynomial around it
    _solve(system, terms)
    for other in range(begin, end):
        power = 1.0 if observed[other] else 0.0
        for row in range(terms):
            weights[other] += system[row, terms] * power
            power *= position[other] - position[time]
    return begin, end


@compiled
def _weigh_neighbours(observed: Any, position: Any, time: int, weights: Any) -> tuple[int, int]:
    """The straight line between the nearest observed dates."""
    earlier, later = time, time
    while not observed[earlier]:
        earlier -= 1
    while not observed[later]:
        later += 1
    weights[earlier : later + 1] = 0.0
    share = (position[time] - position[earlier]) / (position[later] - position[earlier])
    weights[earlier], weights[later] = 1.0 - share, share
    return earlier, later + 1


@compiled
def _solve(system: Any, size: int) -> None:
    """Gauss-Jordan elimination of a symmetric positive definite system, its right side in column `size`."""
    for pivot in range(size):
        for row in range(size):
            if row != pivot:
                factor = system[row, pivot] / system[pivot, pivot]
                for col in range(pivot, size + 1):
                    system[row, col] -= factor * system[pivot, col]
    for row in range(size):
        system[row, size] /= system[row, row]
