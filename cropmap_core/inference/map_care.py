"""Care for a map before and after the decision: probabilities smoothed, and how sure a class is then.

Everything here works on a window with a halo and gives what it would give on the whole map: each pixel's sums run
over the same neighbours in the same order wherever the window lies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError
from cropmap_core.inference.sieving import smallest_region
from cropmap_core.io.grid import Grid
from cropmap_core.timeseries.kernels import compiled, over_rows

_WIDEST = 20  # pixels; what is smoothed more is no map of fields
_REACH = 3.0
"""Standard deviations after which a Gaussian is cut: 0.3 % of its weight lies beyond."""

Probabilities = NDArray[np.float32]
Mask = NDArray[np.bool_]
Classes = NDArray[Any]
Meanings = Mapping[int, Sequence[Sequence[int]]]


@dataclass(frozen=True)
class Care:
    """What a map is given besides a model's word.

    Raises:
        JobError: The smoothing or the area is below 0, or the smoothing wider than can be meant.
    """

    smoothing: float = 0.0
    """Standard deviation of the Gaussian that probabilities are averaged with, in pixels; 0 for none."""
    minimum_area_ha: float = 0.0
    """Smaller regions become part of their surroundings; 0 for none."""
    mask: Path | None = None
    """A raster or polygons: nothing else is mapped."""

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing <= _WIDEST:
            raise JobError(
                f"SMOOTHING is {self.smoothing:g} pixels.", f"Give 0 for none, or up to {_WIDEST}; 1 is a good start."
            )
        if not 0 <= self.minimum_area_ha < math.inf:
            raise JobError(f"MINIMUM_AREA is {self.minimum_area_ha:g} hectares.", "Give 0 for none, or more.")

    @property
    def halo(self) -> int:
        """Pixels around a block whose probabilities smoothing needs."""
        return halo(self.smoothing)

    def smallest_region(self, grid: Grid) -> int:
        """The fewest pixels that a region may have."""
        return smallest_region(self.minimum_area_ha, grid.resolution_m)


def halo(sigma: float) -> int:
    """How many pixels `smooth` reaches to each side."""
    return math.ceil(_REACH * sigma)


def smooth(probabilities: Probabilities, observed: Mask, sigma: float) -> Probabilities:
    """Averages class probabilities over the neighbourhood, with the weights of a Gaussian.

    Each sum runs over observed pixels only and is divided by their weights (normalised convolution), so a pixel that
    was never observed neither gives nor gets. The classes of a pixel still add up to what they did in its
    neighbourhood: 1.

    Args:
        probabilities: Shape (K, H, W); what stands at pixels that are not observed does not matter.
        observed: Shape (H, W).
        sigma: Of the Gaussian, in pixels; 0 changes nothing.

    Returns:
        Shape (K, H, W), 0 where not observed. `halo` pixels along the edges lack neighbours that the map may have.

    References:
        Knutsson and Westin 1993, Normalized and differential convolution, CVPR; Schindler 2012, An overview and
        comparison of smooth labeling methods for land-cover classification, IEEE TGRS 50(11), where it is the filter
        beside which random fields are judged.
    """
    smoothed = np.zeros(probabilities.shape, dtype=np.float32)
    values, seen = np.ascontiguousarray(probabilities), np.ascontiguousarray(observed)
    over_rows(_smooth_rows, observed.shape[0], values, seen, _weights(sigma), smoothed)
    return smoothed


def probability_of(classes: Classes, probabilities: NDArray[Any], meanings: Meanings) -> NDArray[np.float32]:
    """The probability of the class that each pixel has, whatever it was that gave it the class.

    Args:
        classes: Values of crop classes, or of groups of them, shape (H, W) or (P,).
        probabilities: Of the crop classes, of any type and scale, shape (K, H, W) or (K, P).
        meanings: By value, the places along the first axis of what it stands for, as `Hierarchy.meanings` has them.

    Returns:
        In the scale of the probabilities, of the shape of the classes; 0 where a value means nothing.
    """
    found = np.zeros(classes.shape, dtype=np.float32)
    for value in np.unique(classes).tolist():
        here = classes == value
        for places in meanings.get(value, ()):
            sums = np.sum([probabilities[place][here] for place in places], axis=0, dtype=np.float32)
            found[here] = np.maximum(found[here], sums)
    return found


def _weights(sigma: float) -> NDArray[np.float32]:
    """One side of a Gaussian and its middle, shape (2 * halo + 1,)."""
    if sigma == 0:
        return np.ones(1, dtype=np.float32)
    steps = np.arange(-halo(sigma), halo(sigma) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    normalised: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return normalised


@compiled
def _smooth_rows(
    probabilities: Probabilities,
    observed: Mask,
    weights: NDArray[np.float32],
    smoothed: Probabilities,
    begin: int,
    end: int,
) -> None:
    """Down first, into a line as wide as the window and its reach, then along it."""
    classes, height, width = probabilities.shape
    reach = len(weights) // 2
    column = np.zeros(width + 2 * reach, np.float32)
    line, total = np.zeros(width, np.float32), np.zeros(width, np.float32)
    nothing = np.float32(0)
    for row in range(begin, end):
        first, last = max(0, row - reach), min(height, row + reach + 1)
        column[reach : reach + width] = nothing
        for other in range(first, last):
            weight = weights[other - row + reach]
            for col in range(width):
                column[reach + col] += weight if observed[other, col] else nothing
        total[:] = nothing
        for step in range(len(weights)):
            for col in range(width):
                total[col] += weights[step] * column[col + step]
        for number in range(classes):
            column[reach : reach + width] = nothing
            for other in range(first, last):
                weight = weights[other - row + reach]
                for col in range(width):
                    column[reach + col] += (
                        weight * probabilities[number, other, col] if observed[other, col] else nothing
                    )
            line[:] = nothing
            for step in range(len(weights)):
                for col in range(width):
                    line[col] += weights[step] * column[col + step]
            for col in range(width):
                smoothed[number, row, col] = line[col] / total[col] if observed[row, col] else nothing
