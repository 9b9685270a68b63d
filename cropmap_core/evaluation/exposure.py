"""How much of what a model is judged by it has seen before, and how near the rest is to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import SeenSamplesError
from cropmap_core.evaluation.selection import Selection
from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.seen import STEERED, TRAINED, Seen, fingerprints, read_seen
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

    @property
    def seen(self) -> int:
        """Samples that it knows."""
        return self.trained + self.steered


def find_exposure(selection: Selection, bundles: Sequence[Bundle], progress: Progress) -> list[Exposure]:
    """Looks for the samples of a selection among those that models have seen.

    Args:
        selection: The samples.
        bundles: The models.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        ModelBundleError: A model's record is damaged.
    """
    records = [read_seen(bundle) for bundle in bundles]
    if all(record is None for record in records):
        return [Exposure(False, len(selection), 0, 0, None) for _ in bundles]
    marks: list[NDArray[np.int64]] = []
    observed = []
    for batch, _ in selection.batches():
        progress(sum(len(each) for each in marks) / len(selection))
        marks.append(fingerprints(batch.data, batch.valid))
        observed.append(batch.valid.any(axis=(1, 2, 3)))  # those that never were are all alike
    mark, there = np.concatenate(marks), np.concatenate(observed)
    return [
        _exposure(record, mark, there, selection, bundle)
        if record is not None
        else Exposure(False, int(there.sum()), 0, 0, None)
        for record, bundle in zip(records, bundles, strict=True)
    ]


def refuse_seen(exposures: Sequence[Exposure], bundles: Sequence[Bundle], path: Path, which: str) -> None:
    """Refuses samples that a model has seen.

    Raises:
        SeenSamplesError: A model has; the message names it, and says of how many.
    """
    for exposure, bundle in zip(exposures, bundles, strict=True):
        if exposure.seen:
            raise SeenSamplesError(
                f"The model {bundle.id} has seen {exposure.seen} of the {exposure.asked} samples of the set {which} of "
                f"{path}: it has learnt from {exposure.trained}, and {exposure.steered} chose its best epoch and "
                "temperature. It would be judged by what it knows by heart.",
                "Give the set test of the file that it was trained with, or samples from elsewhere. ALLOW_SEEN "
                "judges it all the same, and every report says so.",
            )


def _exposure(
    seen: Seen, mark: NDArray[np.int64], there: NDArray[np.bool_], selection: Selection, bundle: Bundle
) -> Exposure:
    known = {role: np.isin(mark, seen.fingerprint[seen.role == role]) for role in (TRAINED, STEERED)}
    if selection.file.layout.period != bundle.period:  # its values are others then, and the sample may be the same
        known = {role: known[role] | _at_places_of(seen, role, selection) for role in known}
    trained = there & known[TRAINED]
    steered = there & known[STEERED] & ~trained
    lon, lat = selection.column("lon"), selection.column("lat")
    here = np.isfinite(lon) & np.isfinite(lat) & ~trained & ~steered
    learnt = np.isfinite(seen.lonlat).all(axis=1) & (seen.role == TRAINED)
    metres = nearest_m(on_sphere(lon[here], lat[here]), on_sphere(*seen.lonlat[learnt].astype(np.float64).T))
    nearest = float(metres.min()) if len(metres) and np.isfinite(metres).any() else None
    return Exposure(True, int(there.sum()), int(trained.sum()), int(steered.sum()), nearest)


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
