"""What a training set is like: how many of what, how they look over the season, and which of them to look at again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.samples.doubts import doubt_pixels, suspicious_samples
from cropmap_core.samples.files import ROLES, SampleFile
from cropmap_core.samples.pixel_series import PixelSeries, Progress, draw_pixels, longest_gaps
from cropmap_core.samples.separability import jeffries_matusita
from cropmap_core.samples.suspicion import out_of_fold_probabilities

QUARTILES = (25, 50, 75)


@dataclass(frozen=True)
class Profile:
    """A class over the season: lower quartile, median and upper quartile."""

    crop: CropClass
    pixels: int
    """Series that it is made of."""
    bands: NDArray[np.float32]
    """Reflectance 0-1, shape (3, T, C)."""
    ndvi: NDArray[np.float32] | None
    """Shape (3, T)."""


@dataclass(frozen=True)
class Summary:
    """All that a report tells."""

    kind: str
    bands: tuple[str, ...]
    period: str | None
    dates: tuple[date, ...]
    """Of the earliest season."""
    seasons: tuple[date, ...]
    samples: int
    drawn: int
    """Pixel series that profiles and what follows is made of."""
    classes: tuple[CropClass, ...]
    counts: Mapping[str, Mapping[str, int]]
    """Labelled pixels by class name and role; `unused` besides the roles."""
    split: Mapping[str, Any]
    provenance: Mapping[str, Any]
    observed: NDArray[np.float64]
    """Share of series that each date was observed in, shape (T,)."""
    gaps: NDArray[np.int64]
    """Longest gap of each series in days."""
    profiles: tuple[Profile, ...]
    separability: Mapping[tuple[int, int], float]
    accuracy: float | None
    """Share of labels that out-of-fold predictions agree with; None where no label can be judged."""
    doubts: pandas.DataFrame
    """What speaks against each pixel series, the most suspicious first: see `doubt_pixels`."""

    @cached_property
    def suspicious(self) -> pandas.DataFrame:
        """The suspicious samples, the most suspicious first."""
        return suspicious_samples(self.doubts)


def summarize(file: SampleFile, seed: int, progress: Progress) -> Summary:
    """Looks at a training set.

    Args:
        file: The training set.
        seed: Of what is drawn and of the forests.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        SamplesError: The file is damaged, or nothing in it was observed.
    """
    counts = file.count_labels()
    series = draw_pixels(file, seed, lambda fraction: progress(0.2 * fraction))
    ndvi = series.ndvi()
    fold = file.column("fold")[series.sample]
    values = np.unique(series.label)
    progress(0.2)
    probability = None
    if len(np.unique(fold[fold >= 0])) > 1 and len(values) > 1:
        probability = out_of_fold_probabilities(
            series, fold, values, seed, lambda fraction: progress(0.2 + 0.7 * fraction)
        )
    progress(0.9)
    named = {each.value: each for each in file.classes}
    profiles = ndvi if ndvi is not None else series.reflectance.mean(axis=2)
    season = np.unique(file.column("season"))
    seasons = tuple(date(1970, 1, 1) + timedelta(days=int(day)) for day in season)
    return Summary(
        kind=file.layout.kind,
        bands=file.layout.bands,
        period=file.layout.period,
        dates=file.layout.dates(seasons[0]),
        seasons=seasons,
        samples=len(file),
        drawn=len(series),
        classes=file.classes,
        counts=_by_role(counts, file),
        split=file.split or {},
        provenance=file.provenance,
        observed=series.valid.mean(axis=0),
        gaps=longest_gaps(series.valid, np.asarray(series.days)),
        profiles=tuple(_profile(series, ndvi, named[int(value)]) for value in values if int(value) in named),
        separability=jeffries_matusita(profiles, series.label),
        accuracy=None if probability is None else _accuracy(probability, series.label, values),
        doubts=doubt_pixels(file, series, fold, profiles, probability, values),
    )


def _accuracy(probability: NDArray[np.float64], label: NDArray[np.int16], values: NDArray[np.int16]) -> float | None:
    """Share of the labels that can be judged that are the most probable class; None where none can."""
    judged = np.isfinite(probability[np.arange(len(label)), np.searchsorted(values, label)])
    found = values[np.nan_to_num(probability[judged], nan=-1.0).argmax(axis=1)]
    return float((found == label[judged]).mean()) if judged.any() else None


def _by_role(counts: NDArray[np.int64], file: SampleFile) -> dict[str, dict[str, int]]:
    roles = file.split["roles"] if file.split else {role: [] for role in ROLES}
    table = {}
    for column, crop in enumerate(file.classes):
        of_class = {role: int(counts[numbers, column].sum()) for role, numbers in roles.items()}
        table[crop.name] = {**of_class, "unused": int(counts[:, column].sum()) - sum(of_class.values())}
    return table


def _profile(series: PixelSeries, ndvi: NDArray[np.float32] | None, crop: CropClass) -> Profile:
    own = series.label == crop.value
    bands = np.percentile(series.reflectance[own], QUARTILES, axis=0).astype(np.float32)
    of_index = None if ndvi is None else np.percentile(ndvi[own], QUARTILES, axis=0).astype(np.float32)
    return Profile(crop, int(own.sum()), bands, of_index)
