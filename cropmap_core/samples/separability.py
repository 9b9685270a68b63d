"""How well pairs of classes can be told apart by their profiles."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

FEWEST = 10
"""Series of a class that a distribution can be estimated from."""
_MOST = 2000


def jeffries_matusita(profiles: NDArray[np.float32], label: NDArray[np.int16]) -> dict[tuple[int, int], float]:
    """Jeffries-Matusita distance of each pair of classes, from 0 (alike) to 2 (apart).

    Classes are taken as normally distributed, with shrunken covariances; those of fewer than `FEWEST` series are left
    out.

    Args:
        profiles: One value per date, without gaps, shape (N, T).
        label: Class values, shape (N,).

    References:
        Bruzzone, Roli and Serpico (1995), An extension of the Jeffreys-Matusita distance to multiclass cases for
        feature selection, IEEE TGRS 33(6). Ledoit and Wolf (2004), Journal of Multivariate Analysis 88(2), for the
        covariances.
    """
    normal = {}
    for value in np.unique(label):
        own = profiles[label == value][:_MOST].astype(np.float64)
        if len(own) >= FEWEST:
            covariance = LedoitWolf().fit(own).covariance_ + 1e-6 * np.eye(own.shape[1])
            normal[int(value)] = own.mean(axis=0), covariance
    return {(one, other): _distance(*normal[one], *normal[other]) for one, other in combinations(normal, 2)}


def _distance(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    other_mean: NDArray[np.float64],
    other_covariance: NDArray[np.float64],
) -> float:
    middle = (covariance + other_covariance) / 2
    apart = mean - other_mean
    logs = [np.linalg.slogdet(matrix)[1] for matrix in (middle, covariance, other_covariance)]
    bhattacharyya = apart @ np.linalg.solve(middle, apart) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2
    return float(2 * (1 - np.exp(-max(bhattacharyya, 0.0))))
