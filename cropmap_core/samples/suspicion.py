"""Samples to look at again: labels that a model which never saw them contradicts, profiles far from their class's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from cropmap_core.samples.pixel_series import PixelSeries

Progress = Callable[[float], None]
_TREES = 100
_FENCE = 3.0  # Tukey's outer fence
_FEWEST = 20


@dataclass(frozen=True)
class LabelErrors:
    """What confident learning says of labels; all arrays of shape (N,)."""

    suspicious: NDArray[np.bool_]
    suggested: NDArray[np.int16]
    """The class that speaks most against the label, 0 where none does."""
    own_probability: NDArray[np.float64]
    """Of the label, out of fold; NaN where it cannot be judged."""
    suggested_probability: NDArray[np.float64]


def out_of_fold_probabilities(
    series: PixelSeries, fold: NDArray[np.int8], values: NDArray[np.int16], seed: int, progress: Progress
) -> NDArray[np.float64]:
    """Class probabilities of each series by a forest that was trained on the other folds.

    Extremely randomised trees: as accurate on us_2021 as a random forest (0.903 and 0.901 on fold 0), in a fifth of the
    time.

    Args:
        series: The samples.
        fold: Of each, -1 for none, shape (N,).
        values: Class values, the columns of the result.
        seed: Of the forests.
        progress: Called with the share that is done; may raise to stop.

    Returns:
        Shape (N, classes); NaN where a sample is in no fold, and for classes that only its own fold holds.

    References:
        Geurts, Ernst and Wehenkel (2006), Extremely randomized trees, Machine Learning 63.
    """
    features = series.reflectance.reshape(len(series), -1)
    ndvi = series.ndvi()
    if ndvi is not None:
        features = np.concatenate([features, ndvi], axis=1)
    probability = np.full((len(series), len(values)), np.nan)
    numbers = np.unique(fold[fold >= 0])
    for done, number in enumerate(numbers):
        progress(done / len(numbers))
        held_out, others = fold == number, (fold >= 0) & (fold != number)
        forest = ExtraTreesClassifier(_TREES, min_samples_leaf=2, n_jobs=-1, random_state=seed)
        forest.fit(features[others], series.label[others])
        columns = np.searchsorted(values, forest.classes_)
        probability[np.ix_(held_out, columns)] = forest.predict_proba(features[held_out])
    return probability


def find_label_errors(
    probability: NDArray[np.float64], label: NDArray[np.int16], values: NDArray[np.int16]
) -> LabelErrors:
    """Confident learning: a label is doubted where another class is more probable, and more so than it usually is.

    Args:
        probability: Out of fold, shape (N, classes); NaN where unknown. A label without a probability is not judged.
        label: Class values, shape (N,).
        values: Ascending class values, the columns of `probability`.

    References:
        Northcutt, Jiang and Chuang (2021), Confident learning: estimating uncertainty in dataset labels, Journal of
        Artificial Intelligence Research 70.
    """
    rows, own = np.arange(len(label)), np.searchsorted(values, label)
    known = np.asarray(np.isfinite(probability[rows, own]))
    threshold = np.full(len(values), np.inf)
    for column in range(len(values)):
        labelled_so = known & (own == column)
        if labelled_so.any():
            threshold[column] = probability[labelled_so, column].mean()
    there = np.nan_to_num(probability, nan=-1.0)
    confident = np.where(known[:, None] & (there >= threshold), there, -1.0)
    best = confident.argmax(axis=1)
    suspicious = np.asarray(known & (best != own) & (confident[rows, best] > there[rows, own]))
    return LabelErrors(
        suspicious,
        np.where(suspicious, values[best], 0).astype(np.int16),
        probability[rows, own],
        np.where(suspicious, probability[rows, best], np.nan),
    )


def find_outliers(profiles: NDArray[np.float32], label: NDArray[np.int16]) -> NDArray[np.float64]:
    """How far beyond its class's other members each profile lies.

    The distance of a profile is the mean over dates of its deviation from the class's median, in quartile ranges.

    Args:
        profiles: One value per date, shape (N, T).
        label: Class values, shape (N,).

    Returns:
        Distance over Tukey's outer fence of the class (third quartile plus three quartile ranges): above 1 it is an
        outlier; NaN in classes of fewer than 20 members. Shape (N,).

    References:
        Tukey (1977), Exploratory Data Analysis.
    """
    score = np.full(len(label), np.nan)
    for value in np.unique(label):
        own = np.flatnonzero(label == value)
        if len(own) < _FEWEST:
            continue
        low, median, high = np.percentile(profiles[own], [25, 50, 75], axis=0)
        distance = (np.abs(profiles[own] - median) / np.maximum(high - low, 0.02)).mean(axis=1)
        first, third = np.percentile(distance, [25, 75])
        score[own] = distance / (third + _FENCE * (third - first))
    return score
