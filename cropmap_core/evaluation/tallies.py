"""Counts of right, true and predicted pixels by class, in any number of parts: all that scores and intervals need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.learning.scores import f1_scores

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
RIGHT, SUPPORT, PREDICTED = range(3)


@dataclass(frozen=True)
class Tally:
    """Counts of pixels, or of parcels."""

    counts: Counts
    """Rightly predicted, truly there and predicted, shape (G, 3, K)."""

    @classmethod
    def empty(cls, parts: int, classes: int) -> Tally:
        """Of G parts and K classes, nothing counted yet."""
        return cls(np.zeros((parts, 3, classes), np.int64))

    def add(self, part: NDArray[Any], truth: NDArray[Any], predicted: NDArray[Any]) -> None:
        """Counts pixels.

        Args:
            part: Of each, -1 for none, which does not count, shape (N,).
            truth: Position of the class, shape (N,).
            predicted: Position of the class, -1 where there is none, which is an error, shape (N,).
        """
        there = part >= 0
        part, truth, predicted = part[there], truth[there], predicted[there]
        some, right = predicted >= 0, truth == predicted
        for kind, of, position in (
            (RIGHT, part[right], truth[right]),
            (SUPPORT, part, truth),
            (PREDICTED, part[some], predicted[some]),
        ):
            np.add.at(self.counts[:, kind], (of, position), 1)

    @property
    def support(self) -> Counts:
        """Of each part and class, shape (G, K)."""
        return np.asarray(self.counts[:, SUPPORT])

    @property
    def size(self) -> Counts:
        """Of each part, shape (G,)."""
        return np.asarray(self.support.sum(axis=1))


def overall_accuracy(counts: NDArray[Any]) -> Floats:
    """Share that is right; NaN where there is nothing.

    Args:
        counts: Shape (..., 3, K).
    """
    total = counts[..., SUPPORT, :].sum(axis=-1).astype(np.float64)
    right = counts[..., RIGHT, :].sum(axis=-1).astype(np.float64)
    share: Floats = np.divide(right, total, out=np.full(total.shape, np.nan), where=total > 0)
    return share


def f1_by_class(counts: NDArray[Any]) -> Floats:
    """F1 of each class; NaN where the truth does not hold it.

    Args:
        counts: Shape (..., 3, K).
    """
    right, support, predicted = (counts[..., kind, :] for kind in (RIGHT, SUPPORT, PREDICTED))
    return np.where(support > 0, f1_scores(right, support, predicted), np.nan)


def macro_f1(counts: NDArray[Any]) -> Floats:
    """Mean F1 over the classes that the truth holds; NaN where there is nothing.

    Args:
        counts: Shape (..., 3, K).
    """
    f1 = f1_by_class(counts)
    there = np.isfinite(f1).sum(axis=-1)
    total = np.nansum(f1, axis=-1)
    mean: Floats = np.divide(total, there, out=np.full(np.shape(total), np.nan), where=there > 0)
    return mean
