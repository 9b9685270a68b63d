"""Which samples are wrongly predicted, and as what."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas
from numpy.typing import NDArray

from cropmap_core.evaluation.selection import Pixels, Selection

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass
class WrongSamples:
    """Samples with wrongly predicted pixels, a piece for each batch."""

    sample: list[Integers] = field(default_factory=list)
    """Position in the selection."""
    pixels: list[Integers] = field(default_factory=list)
    """Labelled pixels of it."""
    wrong: list[Integers] = field(default_factory=list)
    """Wrongly predicted ones."""
    truth: list[Integers] = field(default_factory=list)
    """Class of its most frequent error."""
    predicted: list[Integers] = field(default_factory=list)
    """What that is taken for."""
    confidence: list[Floats] = field(default_factory=list)
    """Highest of its wrong pixels."""

    def add(self, pixels: Pixels, predicted: NDArray[np.int64], confidence: Floats, classes: int) -> None:
        """Looks for errors in a batch, which must hold all pixels of its samples."""
        wrong = np.flatnonzero(predicted != pixels.truth)
        if not len(wrong):
            return
        sample = pixels.sample[wrong]
        kinds, times = np.unique(
            (sample * classes + pixels.truth[wrong]) * classes + predicted[wrong], return_counts=True
        )
        order = np.lexsort((-times, kinds // classes**2))
        samples, first = np.unique(kinds[order] // classes**2, return_index=True)
        kind = kinds[order][first]
        place = np.searchsorted(samples, sample)
        highest = np.zeros(len(samples), np.float32)
        np.maximum.at(highest, place, confidence[wrong])
        self.sample.append(samples)
        self.pixels.append(np.bincount(np.searchsorted(samples, pixels.sample[np.isin(pixels.sample, samples)])))
        self.wrong.append(np.bincount(place))
        self.truth.append(kind // classes % classes)
        self.predicted.append(kind % classes)
        self.confidence.append(highest)

    def table(self, selection: Selection, names: tuple[str, ...], model: str) -> pandas.DataFrame:
        """A row for each sample, the most confident errors first.

        Args:
            selection: The samples.
            names: Of the classes.
            model: Who is wrong.
        """
        empty = [np.empty(0, np.int64)]
        at = np.concatenate(self.sample or empty)
        label, predicted = (np.concatenate(each or empty) for each in (self.truth, self.predicted))
        rows = pandas.DataFrame(
            {
                "model": model,
                **{name: selection.column(name)[at] for name in ("sample_id", "lon", "lat")},
                "label": np.array(names)[label],
                "predicted": np.array(names)[predicted],
                "confidence": np.concatenate(self.confidence or [np.empty(0, np.float32)]).round(3),
                "pixels": np.concatenate(self.pixels or empty),
                "wrong": np.concatenate(self.wrong or empty),
            }
        )
        return rows.sort_values("confidence", ascending=False, kind="stable", ignore_index=True)
