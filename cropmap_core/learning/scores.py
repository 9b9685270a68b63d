"""How well classes are predicted: confusion, the scores that are made of it, and calibration.

A score of a class that is neither in the truth nor predicted is 0, and macro averages are over the classes that the
truth holds: as scikit-learn's `average="macro"` with those labels and `zero_division=0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion_matrix(truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> Counts:
    """Counts pairs of true and predicted class.

    Args:
        truth: Positions of the classes, 0 to K - 1; -1 for what is not labelled and does not count, of any shape.
        predicted: As `truth`, of the same shape; -1 for no class, which does not count either.
        classes: K.

    Returns:
        Rows of the true, columns of the predicted classes, shape (K, K).
    """
    counted = (truth >= 0) & (predicted >= 0)
    pairs = truth[counted].astype(np.int64) * classes + predicted[counted].astype(np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says."""

    confusion: Counts
    """Rows of the true, columns of the predicted classes, shape (K, K)."""

    @property
    def right(self) -> Counts:
        """Rightly predicted of each class, shape (K,)."""
        return np.diag(self.confusion)

    @property
    def support(self) -> Counts:
        """Of each class in the truth, shape (K,)."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def predicted(self) -> Counts:
        """Predicted as each class, shape (K,)."""
        return np.asarray(self.confusion.sum(axis=0))

    @property
    def precision(self) -> Floats:
        """Share of what is predicted as a class that is right; user's accuracy, shape (K,)."""
        return _share(self.right, self.predicted)

    @property
    def recall(self) -> Floats:
        """Share of a class that is found; producer's accuracy, shape (K,)."""
        return _share(self.right, self.support)

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall, shape (K,)."""
        return f1_scores(self.right, self.support, self.predicted)

    @property
    def iou(self) -> Floats:
        """Intersection over union of each class, shape (K,)."""
        return _share(self.right, self.support + self.predicted - self.right)

    @property
    def overall_accuracy(self) -> float:
        """Share that is right; 0 where there is nothing."""
        return float(_share(self.right.sum(), self.confusion.sum()))

    @property
    def kappa(self) -> float:
        """Cohen's: how much more than by chance is right; 0 where chance would have all right."""
        total = float(self.confusion.sum())
        by_chance = float(self.support.astype(np.float64) @ self.predicted.astype(np.float64)) / max(total, 1.0) ** 2
        return (self.overall_accuracy - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0

    @property
    def macro_precision(self) -> float:
        """Mean over the classes that the truth holds."""
        return self._macro(self.precision)

    @property
    def macro_recall(self) -> float:
        """Mean over the classes that the truth holds; balanced accuracy."""
        return self._macro(self.recall)

    @property
    def macro_f1(self) -> float:
        """Mean over the classes that the truth holds."""
        return self._macro(self.f1)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that the truth holds."""
        return self._macro(self.iou)

    @property
    def weighted_precision(self) -> float:
        """Mean by support."""
        return self._weighted(self.precision)

    @property
    def weighted_recall(self) -> float:
        """Mean by support; it equals overall accuracy."""
        return self._weighted(self.recall)

    @property
    def weighted_f1(self) -> float:
        """Mean by support."""
        return self._weighted(self.f1)

    def _macro(self, score: Floats) -> float:
        there = self.support > 0
        return float(score[there].mean()) if there.any() else 0.0

    def _weighted(self, score: Floats) -> float:
        return float(score @ self.support / max(1, self.support.sum()))


def f1_scores(right: NDArray[Any], support: NDArray[Any], predicted: NDArray[Any]) -> Floats:
    """F1 from counts of any one shape."""
    return _share(2 * right, support + predicted)


@dataclass(frozen=True)
class Reliability:
    """How often predictions are right by how sure they are, in bins of equal width from 0 to 1."""

    count: Counts
    """Predictions in each bin, shape (B,)."""
    confidence: Floats
    """Sum of their confidences, shape (B,)."""
    right: Counts
    """How many of them are right, shape (B,)."""

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(
            self.count + other.count, self.confidence + other.confidence, np.asarray(self.right + other.right)
        )

    @property
    def mean_confidence(self) -> Floats:
        """Of each bin, NaN where it is empty, shape (B,)."""
        return _share(self.confidence, self.count, np.nan)

    @property
    def accuracy(self) -> Floats:
        """Of each bin, NaN where it is empty, shape (B,)."""
        return _share(self.right, self.count, np.nan)

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of confidence and accuracy over all predictions; 0 where there is none.

        References:
            Naeini et al. (2015), Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI.
        """
        return float(np.abs(self.confidence - self.right).sum() / max(1, self.count.sum()))


def reliability(confidence: NDArray[Any], correct: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Sorts predictions by how sure they are.

    Args:
        confidence: Probability of the predicted class, 0 to 1, shape (N,).
        correct: Whether it is right, shape (N,).
        bins: Of equal width; each includes its upper edge, and the first one 0.
    """
    place = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    return Reliability(
        np.bincount(place, minlength=bins),
        np.bincount(place, weights=confidence, minlength=bins).astype(np.float64),
        np.bincount(place[correct], minlength=bins),
    )


def expected_calibration_error(confidence: NDArray[Any], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """See `Reliability.expected_calibration_error`; arguments as of `reliability`."""
    return reliability(confidence, correct, bins).expected_calibration_error


def _share(part: Any, whole: Any, of_nothing: float = 0.0) -> Floats:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    share: Floats = np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, of_nothing), where=whole > 0)
    return share
