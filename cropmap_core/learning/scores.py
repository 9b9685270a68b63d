"""Placeholder for merging."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    known = truth >= 0
    return np.bincount(truth[known] * classes + predicted[known], minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class Scores:
    confusion: NDArray[np.int64]

    @property
    def support(self) -> NDArray[np.int64]:
        return self.confusion.sum(axis=1)

    @property
    def f1(self) -> NDArray[np.float64]:
        c = self.confusion
        d = c.sum(axis=1) + c.sum(axis=0)
        return np.divide(2 * np.diag(c), d, out=np.zeros(len(c)), where=d > 0)

    @property
    def macro_f1(self) -> float:
        return float(self.f1[self.support > 0].mean()) if self.support.any() else 0.0

    @property
    def overall_accuracy(self) -> float:
        return float(np.trace(self.confusion) / max(1, self.confusion.sum()))
