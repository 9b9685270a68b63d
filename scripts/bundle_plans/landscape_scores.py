"""How well landscapes are mapped, by pixel and by parcel: by a spatial network, and by pixel followed by smoothing.

The yardstick of a spatial network is what the best model by pixel says, smoothed as far as the network can see, by the
filter that does best on other landscapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve1d
from scipy.special import softmax

from cropmap_core.learning.calibration import find_temperature
from cropmap_core.learning.feeding import NO_TARGET, Feed, Indices
from cropmap_core.learning.recipes import Recipe
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.samples.files import NO_PARCEL, SampleFile
from models.network import Network
from scripts.bundle_plans.cross_validation import CrossValidated

Floats = NDArray[np.float32]
Told = Callable[[Indices], Floats]
"""Probabilities of landscapes, shape (N, K, H, W)."""
PIXELS, PARCELS = "pixels", "parcels"
_AT_ONCE = 8  # landscapes
_WIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 6.0)


@dataclass(frozen=True)
class Filter:
    """A mean over the pixels around, apart along rows and columns."""

    name: str
    weights: tuple[float, ...]
    """From one end to the other, an odd number."""

    def __call__(self, probabilities: Floats) -> Floats:
        """Smooths shape (N, K, H, W); beyond the edge there is nothing that counts."""
        there = np.ones(probabilities.shape[-2:], np.float32)
        smooth = probabilities
        for axis in (-2, -1):
            smooth = convolve1d(smooth, self.weights, axis=axis, mode="constant")
            there = convolve1d(there, self.weights, axis=axis, mode="constant")
        smoothed: Floats = smooth / there
        return smoothed


def filters(reach: int) -> tuple[Filter, ...]:
    """None at all, Gaussian ones, and means over squares, that reach `reach` pixels at most."""
    found = [Filter("none", (1.0,))]
    place = np.arange(-reach, reach + 1)
    for width in _WIDTHS:
        found.append(Filter(f"Gaussian {width:g}", tuple(np.exp(-(place**2) / (2 * width**2)))))
    found += [Filter(f"square of {2 * side + 1}", (1.0,) * (2 * side + 1)) for side in range(1, reach + 1)]
    return tuple(found)


def judge_landscapes(file: SampleFile, index: Indices, told: Told) -> Mapping[str, Scores]:
    """Scores of labelled pixels, and of fields by the mean probability of all of their pixels.

    Args:
        file: The landscapes.
        index: Which of them.
        told: What is said of them.
    """
    place = np.full(2**15, NO_TARGET)
    place[[each.value for each in file.classes]] = np.arange(len(file.classes))
    number = len(file.classes)
    confusion = {level: np.zeros((number, number), np.int64) for level in (PIXELS, PARCELS)}
    for start in range(0, len(index), _AT_ONCE):
        some = index[start : start + _AT_ONCE]
        probabilities = told(some)
        truth, parcel = place[file.read_labels(some)], file.read_parcels(some)
        confusion[PIXELS] += confusion_matrix(truth, probabilities.argmax(axis=1), number)
        of_fields, means = _fields(truth, parcel, probabilities)
        confusion[PARCELS] += confusion_matrix(of_fields, means.argmax(axis=1), number)
    return {level: Scores(counts) for level, counts in confusion.items()}


def _fields(truth: Indices, parcel: Indices, probabilities: Floats) -> tuple[Indices, NDArray[np.float64]]:
    """The class of each field that has a label, shape (F,), and its mean probabilities, shape (F, K)."""
    inside = parcel != NO_PARCEL
    _, field = np.unique(parcel[inside], return_inverse=True)
    label = np.full(field.max(initial=-1) + 1, NO_TARGET)
    np.maximum.at(label, field, truth[inside])
    size = np.bincount(field, minlength=len(label))
    each = np.moveaxis(probabilities, 1, -1)[inside]
    means = np.stack([np.bincount(field, kind, len(label)) / size for kind in each.T], axis=1)
    return label, means


def best_filter(
    file: SampleFile, index: Indices, probabilities: Floats, reach: int, level: str
) -> tuple[Filter, Mapping[str, float]]:
    """The filter that does best on some landscapes by macro F1, and that of each.

    Args:
        file: The landscapes.
        index: Which of them, ascending.
        probabilities: What is said of them, shape (N, K, H, W).
        reach: How far it may reach, in pixels.
        level: `PIXELS` or `PARCELS`.
    """
    found = {}
    for each in filters(reach):
        smooth = each(probabilities)
        found[each.name] = judge_landscapes(file, index, from_array(index, smooth))[level].macro_f1
    best = max(filters(reach), key=lambda each: found[each.name])
    return best, found


def from_array(index: Indices, probabilities: Floats) -> Told:
    """What has been said before of some landscapes, given in ascending order."""
    return lambda some: probabilities[np.searchsorted(index, some)]


def tell_logits(network: Network, feed: Feed, index: Indices) -> Floats:
    """Logits of every pixel of landscapes by a dense network, shape (N, K, H, W)."""
    network.eval()
    found = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for batch in feed.batches(index, _AT_ONCE):
            found.append(network(batch.x, batch.days, batch.valid).float().numpy())
    return np.concatenate(found)


def tell_series(network: Network, feed: Feed, index: Indices, edge: int = 1) -> Floats:
    """Logits of pixel series, each shown as a patch of itself alone, `edge` pixels wide, shape (N, K)."""
    network.eval()
    found = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for batch in feed.batches(index, max(8, 2**11 // edge**2)):
            x, valid = batch.x.expand(-1, -1, -1, edge, edge), batch.valid.expand(-1, -1, edge, edge)
            logits = network(x, batch.days, valid).float()
            found.append((logits[..., edge // 2, edge // 2] if logits.ndim == 4 else logits).numpy())
    return np.concatenate(found)


class PixelModels(CrossValidated):
    """The members of a plan by pixel, asked for landscapes of folds that they have not seen."""

    def there(self) -> tuple[int, ...]:
        """Seeds of the bundle all of whose members are trained."""
        return tuple(seed for seed in super().there() if seed in self._plan.bundled)

    def tell(self, landscapes: SampleFile, index: Indices, seeds: Sequence[int], without: Sequence[int] = ()) -> Floats:
        """Probabilities of the calibrated mean of all members of some seeds, shape (N, K, H, W).

        Each landscape is told by members that have not seen its fold, nor those of `without`, with temperatures of the
        other folds.
        """
        members = self._plan.members(seeds)
        fold = landscapes.column("fold")[index]
        size = landscapes.layout.size
        found = np.empty((len(index), len(landscapes.classes), size, size), np.float32)
        for number in np.unique(fold):
            found[fold == number] = self._of_fold(landscapes, index[fold == number], members, int(number), without)
        return found

    def _of_fold(
        self, landscapes: SampleFile, index: Indices, members: Sequence[Recipe], fold: int, without: Sequence[int]
    ) -> Floats:
        other = ~np.isin(self._fold, (fold, *without))
        feed = Feed(landscapes, landscapes.layout.bands, landscapes.classes, by_pixel=False)
        told, series = [], []
        for recipe in members:
            logits = self.logits(recipe, without)
            temperature = find_temperature(logits[other], self.truth[other])
            network, feed.mean, feed.std = self.kept(recipe, fold, without)
            told.append(softmax(tell_logits(network, feed, index) / temperature, axis=1))
            series.append(softmax(logits / temperature, axis=1))
        of_all = find_temperature(self.together(series)[other], self.truth[other])
        probabilities: Floats = softmax(self.together(told) / of_all, axis=1)
        return probabilities
