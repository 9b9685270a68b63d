"""How much of what a model is judged by it has seen before, and how near the rest is to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import ModelBundleError, SeenSamplesError
from cropmap_core.evaluation.fold_models import FoldModels
from cropmap_core.evaluation.selection import Selection
from cropmap_core.inference.bundle_types import RESTORE, Bundle
from cropmap_core.learning.seen import SEEN, STEERED, TRAINED, Seen, fingerprints, read_seen
from cropmap_core.samples.places import nearest_m, on_sphere

Progress = Callable[[float], None]
_SAME_SEASON_DAYS = 183
_SAME_PLACE_M = 2.0  # places are kept to about a metre


@dataclass(frozen=True)
class Exposure:
    """What a model has seen of a selection."""

    recorded: bool
    """Whether the model's bundle says what it has seen; if not, nothing here is known."""
    asked: int
    """Samples of the selection that were ever observed."""
    trained: int
    """Of them, those that it has learnt from."""
    steered: int
    """Of them, those that chose its best epoch or its temperature, and that it has not learnt from."""
    nearest_m: float | None
    """Least distance to a sample that it has learnt from, that one of the selection that was not seen has."""
    judge: NDArray[np.int64]
    """Which of the fold models judges each sample of the selection, shape (S,)."""
    known: NDArray[np.bool_]
    """Which samples that model has seen, shape (S,)."""
    recognised: bool = False
    """Whether any of the fold models has seen any sample; if none has, the first judges them all."""

    @property
    def seen(self) -> int:
        """Samples that it knows."""
        return self.trained + self.steered


def find_exposure(selection: Selection, models: Sequence[FoldModels], progress: Progress) -> list[Exposure]:
    """Looks for the samples of a selection among those that models have seen.

    Of fold models each sample is judged by the first that has not seen it. They know samples by their places too, for
    the same sample with a band fewer or another mask has another fingerprint.

    Args:
        selection: The samples.
        models: The models.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        ModelBundleError: A model's record is damaged, or that of a fold model is missing.
    """
    records = [[read_seen(bundle) for bundle in each.folds] for each in models]
    for each, of_folds in zip(models, records, strict=True):
        if len(of_folds) > 1 and None in of_folds:
            lacking = each.folds[of_folds.index(None)].folder
            raise ModelBundleError(
                f"{lacking} does not say what it has seen ({SEEN}): nobody can tell which fold model may judge which "
                "sample.",
                RESTORE,
            )
    nobody = np.zeros(len(selection), np.int64), np.zeros(len(selection), bool)
    if all(record is None for of_folds in records for record in of_folds):
        return [Exposure(False, len(selection), 0, 0, None, *nobody) for _ in models]
    marks: list[NDArray[np.int64]] = []
    observed = []
    for batch, _ in selection.batches():
        progress(sum(len(each) for each in marks) / len(selection))
        marks.append(fingerprints(batch.data, batch.valid))
        observed.append(batch.valid.any(axis=(1, 2, 3)))  # those that never were are all alike
    mark, there = np.concatenate(marks), np.concatenate(observed)
    found = []
    for each, of_folds in zip(models, records, strict=True):
        known = [record for record in of_folds if record is not None]
        if len(known) < len(of_folds):
            found.append(Exposure(False, int(there.sum()), 0, 0, None, *nobody))
        else:
            found.append(_exposure(known, mark, there, selection, each.bundle))
    return found


def refuse_seen(exposures: Sequence[Exposure], models: Sequence[FoldModels], path: Path, which: str) -> None:
    """Refuses samples that a model has seen.

    Raises:
        SeenSamplesError: A model has; the message names it, and says of how many.
    """
    for exposure, model in zip(exposures, models, strict=True):
        if exposure.seen:
            raise SeenSamplesError(
                f"The model {model.bundle.id} has seen {exposure.seen} of the {exposure.asked} samples of the set "
                f"{which} of {path}: it has learnt from {exposure.trained}, and {exposure.steered} chose its best "
                "epoch and temperature. It would be judged by what it knows by heart.",
                "Give the set test of the file that it was trained with, or samples from elsewhere. ALLOW_SEEN "
                "judges it all the same, and every report says so.",
            )


def _exposure(
    records: Sequence[Seen], mark: NDArray[np.int64], there: NDArray[np.bool_], selection: Selection, bundle: Bundle
) -> Exposure:
    known = [_known(one, mark, selection, bundle, by_place=len(records) > 1) for one in records]
    trained = there & np.stack([each[0] for each in known])  # (models, S)
    steered = there & ~trained & np.stack([each[1] for each in known])
    judge = (trained | steered).argmin(axis=0)  # the first that has not seen it, or the first if all have
    sample = np.arange(len(mark))
    by_judge = trained[judge, sample], steered[judge, sample]
    nearest = [
        _nearest_m(one, selection, (judge == number) & ~by_judge[0] & ~by_judge[1])
        for number, one in enumerate(records)
    ]
    return Exposure(
        True,
        int(there.sum()),
        int(by_judge[0].sum()),
        int(by_judge[1].sum()),
        min((metres for metres in nearest if metres is not None), default=None),
        judge,
        by_judge[0] | by_judge[1],
        bool((trained | steered).any()),
    )


def _known(
    seen: Seen, mark: NDArray[np.int64], selection: Selection, bundle: Bundle, by_place: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples a model has learnt from, and which it was steered by."""
    trained, steered = (np.isin(mark, seen.fingerprint[seen.role == role]) for role in (TRAINED, STEERED))
    if by_place or selection.file.layout.period != bundle.period:  # other values may be of the same sample
        return trained | _at_places_of(seen, TRAINED, selection), steered | _at_places_of(seen, STEERED, selection)
    return trained, steered


def _nearest_m(seen: Seen, selection: Selection, chosen: NDArray[np.bool_]) -> float | None:
    """Least distance of chosen samples to those that a model has learnt from."""
    lon, lat = selection.column("lon"), selection.column("lat")
    here = chosen & np.isfinite(lon) & np.isfinite(lat)
    learnt = np.isfinite(seen.lonlat).all(axis=1) & (seen.role == TRAINED)
    metres = nearest_m(on_sphere(lon[here], lat[here]), on_sphere(*seen.lonlat[learnt].astype(np.float64).T))
    return float(metres.min()) if len(metres) and np.isfinite(metres).any() else None


def _at_places_of(seen: Seen, role: int, selection: Selection) -> NDArray[np.bool_]:
    """Which samples lie where seen ones lie, in the same season."""
    found = np.zeros(len(selection), bool)
    lon, lat = selection.column("lon"), selection.column("lat")
    season = selection.column("season").astype(np.int64)
    of_role = np.isfinite(seen.lonlat).all(axis=1) & (seen.role == role)
    for first in np.unique(seen.season[of_role]):
        near = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat) & (np.abs(season - first) < _SAME_SEASON_DAYS))
        places = seen.lonlat[of_role & (seen.season == first)].astype(np.float64)
        if len(near):
            metres = nearest_m(on_sphere(lon[near], lat[near]), on_sphere(*places.T))
            found[near] |= metres <= _SAME_PLACE_M
    return found
