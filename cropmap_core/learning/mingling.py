"""Series that are of two samples: pixels of mixed ground, and series of no crop that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.classes import CropClass

OTHER = ("other", "others")
"""Names of the class of all that no other class is, in small letters."""
_LEAST_OF_ANOTHER, _MOST_OF_ANOTHER = 0.1, 0.45
_EARLIEST_CHANGE, _LATEST_CHANGE = 0.3, 0.7  # of the season


@dataclass(frozen=True)
class Mingled:
    """Samples, some of them of two."""

    data: NDArray[np.int16]
    """Reflectance x 10000, shape (N, T, C, H, W)."""
    valid: NDArray[np.bool_]
    """Shape (N, T, H, W)."""
    target: NDArray[np.int64]
    """Positions of classes, -1 for none, shape (N, H, W)."""
    outlier: NDArray[np.bool_]
    """Which are no sample of their class any more, shape (N,)."""


def mingle(
    samples: Mingled,
    kin: NDArray[np.generic],
    other: int | None,
    mixed_pixels: float,
    outliers: float,
    random: np.random.Generator,
) -> Mingled:
    """Mixes some samples of single pixels with others of the same kin.

    Args:
        samples: A batch; none of it is an outlier yet.
        kin: What samples that may be mingled have in common, such as their source, shape (N,).
        other: Position of the class of all that no other class is; None for none, and no outliers then.
        mixed_pixels: Share of samples that another covers a part of, 10 to 45 %; they keep their class.
        outliers: Share of samples that are one of another class from some date on: they are taken for `other`.
        random: Decides which.

    References:
        Hendrycks, Mazeika, Dietterich (2019), Deep Anomaly Detection with Outlier Exposure, ICLR.
    """
    data, valid, target = samples.data, samples.valid, samples.target
    count, times = valid.shape[:2]
    partner = random.permutation(count)
    same = kin == kin[partner]
    one = (slice(None), None, None)
    if mixed_pixels:
        chosen = (random.random(count) < mixed_pixels) & same
        share = random.uniform(_LEAST_OF_ANOTHER, _MOST_OF_ANOTHER, (count, 1, 1, 1, 1))
        both = chosen[(*one, None)] & valid & valid[partner]
        data = np.where(both[:, :, None], (1 - share) * data + share * data[partner], data).astype(np.int16)
    if not outliers or other is None:
        return Mingled(data, valid, target, samples.outlier)
    unlike = (target != target[partner]) & (target >= 0) & (target[partner] >= 0)
    chosen = (random.random(count) < outliers) & same & unlike.all(axis=(1, 2))
    latest = max(int(_LATEST_CHANGE * times), int(_EARLIEST_CHANGE * times) + 1)
    change = random.integers(int(_EARLIEST_CHANGE * times), latest, size=(count, 1))
    late = ((np.arange(times) >= change) & chosen[:, None])[:, :, None, None]
    return Mingled(
        np.where(late[:, :, None], data[partner], data),
        np.where(late, valid[partner], valid),
        np.where(chosen[one], other, target),
        chosen,
    )


def position_of_other(classes: Sequence[CropClass]) -> int | None:
    """Position of the class of all that no other class is; None where there is none."""
    found = [position for position, each in enumerate(classes) if each.name.lower() in OTHER]
    return found[0] if found else None


def unmingled(data: NDArray[np.int16], valid: NDArray[Any], target: NDArray[np.int64]) -> Mingled:
    """Samples as they are; shapes as of `Mingled`."""
    return Mingled(data, valid, target, np.zeros(len(data), bool))
