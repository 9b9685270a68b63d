"""Training sets in which it is written what a model will say, and the model that says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from cropmap_core.classes import CropClass
from cropmap_core.inference.bundles import Bundle
from cropmap_core.samples.files import Layout
from cropmap_core.samples.writer import Samples, create_sample_file
from tests.core.tiny_models import CLASSES

MAIZE, GRASS, POTATOES = (each.value for each in CLASSES)
BANDS = ("B02", "B04", "B08", "B11")
DAYS = (0, 30, 61, 91, 122)
"""Of the season of the tiny models, April to August."""
SEASON = (date(2018, 4, 1) - date(1970, 1, 1)).days


class Oracle:
    """Says of a pixel what B02 holds at its last observed date, a class value, as sure as B04, in percent."""

    def __init__(self, bundle: Bundle, device: Any = None, temperatures: Any = None) -> None:
        self.bundle = bundle

    def days_of_samples(self, dates_of: Any, first_days: np.ndarray, lon: Any, lat: Any) -> None:
        """It looks at no calendar."""

    def probabilities(self, data: np.ndarray, valid: np.ndarray, bands: Sequence[str], days: Any = None) -> np.ndarray:
        count, times, _, height, width = data.shape
        values = [each.value for each in self.bundle.classes]
        last = times - 1 - valid[:, ::-1].argmax(axis=1)
        found = np.full((count, len(values), height, width), np.nan, np.float32)
        for n, row, col in np.argwhere(valid.any(axis=1)):
            said, percent = data[n, last[n, row, col], :2, row, col]
            found[n, :, row, col] = (1 - percent / 100) / (len(values) - 1)
            found[n, values.index(said), row, col] = percent / 100
        return found


def write_set(
    path: Path,
    label: Any,
    said: Any,
    percent: Any = 90,
    parcel: Any = -1,
    lon: Any = 3.0,
    lat: Any = 51.0,
    zone: Any = "",
    valid: Any = True,
    columns: Mapping[str, Sequence[str]] | None = None,
    classes: tuple[CropClass, ...] = CLASSES,
    split: Mapping[str, Any] | None = None,
    fold: Any = 0,
    bands: tuple[str, ...] = BANDS,
    period: str = "month",
) -> Path:
    """Writes a training set whose samples are all of the test set, unless told otherwise.

    Args:
        path: Where.
        label: Class values, shape (N,) for pixels, (N, H, W) for patches.
        said: What the oracle says: (N,), (N, H, W), or (N, T) at each date.
        percent: How sure it is, shape (N,).
        parcel: Of samples, or of the pixels of patches.
        lon: Degrees.
        lat: Degrees.
        zone: Of samples.
        valid: Shape (N, T).
        columns: Further columns.
        classes: Of the labels.
        split: The attribute; the folds 0, 1 and 2 are test, validation and train if not given.
        fold: Of samples.
        bands: Their names; the first two are what the oracle reads.
        period: Of the composites.
    """
    label = np.asarray(label, np.int16)
    count, size = len(label), label.shape[1] if label.ndim == 3 else 1
    layout = Layout("patch" if size > 1 else "pixel", bands, period, DAYS, size)
    said = np.asarray(said, np.int16)
    at_dates = said[:, :, None, None] if said.ndim == 2 else said.reshape(count, 1, size, size)
    data = np.empty((count, *layout.shape), np.int16)
    data[:] = np.arange(count).reshape(-1, 1, 1, 1, 1)  # no two samples are alike
    data[:, :, 0] = at_dates
    data[:, :, 1] = np.broadcast_to(np.asarray(percent), count).reshape(-1, 1, 1, 1)
    shape = (count, size, size) if size > 1 else (count,)
    observed = np.broadcast_to(np.asarray(valid), (count, len(DAYS)))[:, :, None, None]

    def text(values: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(values, dtype=np.str_), count)

    def numbers(values: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(values, np.float64), count)

    samples = Samples(
        data=data,
        valid=np.broadcast_to(observed, (count, len(DAYS), size, size)),
        label=label.reshape(count, size, size),
        season=np.full(count, SEASON, np.int32),
        parcel=np.broadcast_to(np.asarray(parcel, np.int64), shape),
        lon=numbers(lon),
        lat=numbers(lat),
        sample_id=np.array([f"s{number}" for number in range(count)]),
        zone=text(zone),
        tile=text(""),
        source=text("made"),
        columns={name: np.asarray(values) for name, values in (columns or {}).items()},
    )
    described = {"method": "blocks", "roles": {"test": [0], "validation": [1], "train": [2]}, "random": False}
    with create_sample_file(path, count, layout, classes, {"made": "here"}) as writer:
        writer.append(samples.arrays())
        writer.put_split(np.broadcast_to(np.asarray(fold, np.int8), count), split or described)
    return path
