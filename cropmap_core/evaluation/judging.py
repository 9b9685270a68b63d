"""Predicting a selection with several models at once, batch by batch: only counts are kept, never predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cropmap_core.evaluation.comparing import McNemar
from cropmap_core.evaluation.legends import CommonLegend
from cropmap_core.evaluation.partitions import Partition
from cropmap_core.evaluation.selection import Pixels, Selection
from cropmap_core.evaluation.tallies import Tally
from cropmap_core.evaluation.wrong_samples import WrongSamples
from cropmap_core.inference.predictor import Predictor
from cropmap_core.learning.scores import Reliability, confusion_matrix, reliability
from cropmap_core.samples.files import Batch, SampleFile

Progress = Callable[[float], None]
Integers = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Panel:
    """Models that are judged together."""

    predictors: tuple[tuple[Predictor, ...], ...]
    """Of each model; of fold models those of all folds."""
    judges: tuple[NDArray[np.int64], ...]
    """Of each model, which of its predictors is asked about each sample of the file, shape (N,)."""
    legend: CommonLegend
    file: SampleFile
    """The samples."""

    def predict(self, batch: Batch, pixels: Pixels, known: int | None = None) -> list[Floats]:
        """What each model says of labelled pixels.

        Args:
            batch: Samples; of dates that are not known yet nothing is observed.
            pixels: Those that are asked about.
            known: How many dates are known. A model that takes a part of its season is given no other; to any other
                model the season is filled up from what is known.

        Returns:
            Probabilities of the common legend's classes, 0 of those that the model does not know, NaN where nothing
            was observed, each of shape (P, K).
        """
        found = []
        for predictors, judges, positions in zip(self.predictors, self.judges, self.legend.of_model, strict=True):
            judge = judges[batch.index]
            shape = (len(batch), len(positions), *batch.label.shape[1:])
            said = np.empty(shape, np.float32)  # (N, K, H, W)
            for number in np.unique(judge):
                some = np.flatnonzero(judge == number)
                said[some] = self._ask(predictors[number], batch, some, known)
            of_pixels = pixels.of(said)
            probabilities = np.zeros((len(of_pixels), len(self.legend.classes)), np.float32)
            probabilities[:, positions] = of_pixels
            found.append(probabilities)
        return found

    def _ask(self, predictor: Predictor, batch: Batch, some: Integers, known: int | None) -> Floats:
        days = predictor.days_of_samples(
            self.file.layout.dates, batch.season[some], *self._places[:, batch.index[some]]
        )
        asked = batch.data[some], batch.valid[some], self.file.layout.bands, days
        if known is None or predictor.bundle.accepts.share == 1:
            return predictor.probabilities(*asked)
        times = batch.valid.shape[1]
        return predictor.probabilities(*asked, np.broadcast_to(np.arange(times) < known, (len(some), times)))

    @cached_property
    def _places(self) -> NDArray[np.float64]:
        """Longitudes and latitudes of all samples, shape (2, N)."""
        return np.stack([self.file.column(name).astype(np.float64) for name in ("lon", "lat")])


@dataclass
class Judged:
    """What is counted of one model."""

    confusion: Integers
    """Of pixels, shape (K, K)."""
    calibration: Reliability
    groups: Tally
    parts: Mapping[str, Tally]
    """By the name of the partition."""
    parcels: NDArray[np.float64]
    """Sum of the probabilities of each parcel's pixels, shape (Q, K)."""
    wrong: WrongSamples


@dataclass(frozen=True)
class Judgement:
    """What is counted of all models, on the same pixels."""

    models: tuple[Judged, ...]
    parcel_pixels: Integers
    """Pixels of each parcel by true class, shape (Q, K)."""
    unobserved: int
    """Labelled pixels that were never observed: they have no class, and are left out."""
    pairs: Mapping[tuple[int, int], McNemar]


def judge(
    selection: Selection, panel: Panel, groups: Partition, parts: Sequence[Partition], progress: Progress
) -> Judgement:
    """Predicts all labelled pixels of a selection.

    Args:
        selection: The samples.
        panel: The models.
        groups: What confidence intervals draw.
        parts: What scores are asked for, besides.
        progress: Called with the share that is done; may raise to stop.
    """
    classes, parcels, models = len(panel.legend.classes), len(selection.parcels), len(panel.predictors)
    found = tuple(_nothing(classes, parcels, groups, parts) for _ in range(models))
    parcel_pixels = np.zeros((parcels, classes), np.int64)
    pairs = {(one, other): np.zeros(2, np.int64) for other in range(models) for one in range(other)}
    unobserved = done = 0
    for batch, labelled in selection.batches():
        progress(done / len(selection))
        done += len(batch)
        of_models = panel.predict(batch, labelled)
        seen = np.logical_and.reduce([np.isfinite(each).all(axis=1) for each in of_models])
        unobserved += int((~seen).sum())
        pixels = labelled.some(seen)
        inside = pixels.parcel >= 0
        np.add.at(parcel_pixels, (pixels.parcel[inside], pixels.truth[inside]), 1)
        right = [
            _count_in(judged, pixels, probabilities[seen], groups, parts) == pixels.truth
            for judged, probabilities in zip(found, of_models, strict=True)
        ]
        for (one, other), counts in pairs.items():
            counts += [(right[one] & ~right[other]).sum(), (right[other] & ~right[one]).sum()]
    tests = {pair: McNemar(int(counts[0]), int(counts[1])) for pair, counts in pairs.items()}
    return Judgement(found, parcel_pixels, unobserved, tests)


def _nothing(classes: int, parcels: int, groups: Partition, parts: Sequence[Partition]) -> Judged:
    return Judged(
        np.zeros((classes, classes), np.int64),
        reliability(np.empty(0), np.empty(0, bool)),
        Tally.empty(groups.count, classes),
        {part.name: Tally.empty(part.count, classes) for part in parts},
        np.zeros((parcels, classes)),
        WrongSamples(),
    )


def _count_in(
    judged: Judged, pixels: Pixels, probabilities: Floats, groups: Partition, parts: Sequence[Partition]
) -> Integers:
    """Counts pixels in; gives their predicted classes."""
    classes = probabilities.shape[1]
    predicted: Integers = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1, initial=0)
    judged.confusion += confusion_matrix(pixels.truth, predicted, classes)
    judged.calibration += reliability(confidence, predicted == pixels.truth)
    judged.groups.add(groups.of(pixels), pixels.truth, predicted)
    for part in parts:
        judged.parts[part.name].add(part.of(pixels), pixels.truth, predicted)
    inside = pixels.parcel >= 0
    np.add.at(judged.parcels, pixels.parcel[inside], probabilities[inside])
    judged.wrong.add(pixels, predicted, confidence, classes)
    return predicted
