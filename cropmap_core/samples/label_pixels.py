"""Labelled pixels on the grid of a series: what is known to grow in each, and which parcel it belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from cropmap_core.classes import CLASSES_TAG, CropClass
from cropmap_core.errors import GridMismatchError, SamplesError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import read_bands, reason_of
from cropmap_core.samples.classes import LARGEST_VALUE, UNLABELLED, classes_from_json, colour_of
from cropmap_core.samples.files import NO_PARCEL
from cropmap_core.samples.label_raster import YEAR_TAG

_SHOWN = 20
_REMEDY = "Give a label raster that preparelabels wrote on the grid of the time series."

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """How many pixels are taken at most, drawn at random; 0 for all."""

    of_parcel: int
    of_class: int
    seed: int


class LabelPixels:
    """The pixels of a label raster and, where there is one, of a raster of parcel numbers.

    Args:
        labels: Class values on the grid, 0 unlabelled.
        parcels: Parcel numbers on the same grid, 0 none; None where there are no parcels.
        grid: That of the series.
        windows: All blocks of the grid.
        limits: How many of them to draw; None for all.

    Attributes:
        classes: What they are labelled with. Classes that the raster does not name are called by their values, and
            numbered anew where these are larger than class rasters hold.
        chosen: Numbers (row x width + column) of the pixels that were drawn, ascending; None where all are taken.
        warnings: What the user should know.

    Raises:
        SamplesError: No pixel has a label, or a raster cannot be read or is of fractions.
        GridMismatchError: A raster is on another grid.
    """

    def __init__(
        self, labels: Path, parcels: Path | None, grid: Grid, windows: Sequence[Window], limits: Limits | None
    ) -> None:
        self._labels, self._parcels, self._grid = labels, parcels, grid
        for path in (labels, parcels):
            if path is not None:
                _check_grid(path, grid)
        stated = _stated_classes(labels)
        counts, drawn = self._look(windows, limits)
        there = sorted(value for value in counts if value > UNLABELLED)
        self.classes = stated or _called_by_value(there)
        self._values = np.asarray([each.value for each in stated] or there, np.int64)
        """Of the raster, in the order of the classes."""
        self.warnings = self._warn(stated, counts)
        if not any(counts[value] for value in self._values.tolist()):
            raise SamplesError(f"No pixel of {labels} has a label.", _REMEDY)
        self.chosen = self._choose(drawn, limits) if limits is not None else None

    def read(self, window: Window) -> tuple[NDArray[np.int16], Numbers]:
        """Class values (0 for what is no class) and parcel numbers (-1 none) of a window, both (H, W)."""
        raw, parcel = self._read_raw(window)
        order = np.argsort(self._values)
        place = order[np.searchsorted(self._values, raw, sorter=order).clip(max=len(order) - 1)]
        value = np.asarray([each.value for each in self.classes], np.int16)[place]
        return np.where(self._values[place] == raw, value, UNLABELLED).astype(np.int16), parcel

    @property
    def has_parcels(self) -> bool:
        """Whether a raster of parcel numbers was given."""
        return self._parcels is not None

    def parcel_pixels(self, parcel: Numbers) -> Numbers:
        """How many labelled pixels each of some parcels has in the whole raster, 0 for none (-1)."""
        numbers, counts = self._parcel_pixels
        if not len(numbers):
            return np.zeros(parcel.shape, np.int64)
        place = np.searchsorted(numbers, parcel).clip(max=len(numbers) - 1)
        return np.where(numbers[place] == parcel, counts[place], 0)

    def _read_raw(self, window: Window) -> tuple[Numbers, Numbers]:
        raw = read_bands(self._labels, [1], window)[0].astype(np.int64)
        if self._parcels is None:
            return raw, np.full(raw.shape, NO_PARCEL, np.int64)
        parcel = read_bands(self._parcels, [1], window)[0].astype(np.int64)
        return raw, np.where(parcel > 0, parcel, NO_PARCEL)

    def _look(self, windows: Sequence[Window], limits: Limits | None) -> tuple[Counter[int], list[Numbers]]:
        """One pass over the rasters.

        Returns:
            Pixels by value; and of each window rows of pixel number, parcel, value and lot, of those that may be drawn.
        """
        counts: Counter[int] = Counter()
        of_parcel: Counter[int] = Counter()
        random = np.random.default_rng(limits.seed if limits else 0)
        drawn = []
        for window in windows:
            raw, parcel = self._read_raw(window)
            counts.update(_counted(raw))
            of_parcel.update(_counted(parcel[raw > UNLABELLED]))
            if limits is not None:
                rows, cols = np.nonzero(raw > UNLABELLED)
                place = (window.row + rows) * self._grid.width + window.col + cols
                found = np.stack([place, parcel[rows, cols], raw[rows, cols], random.permutation(len(rows))], axis=1)
                drawn.append(_at_most(found, 1, limits.of_parcel))
        of_parcel.pop(NO_PARCEL, None)
        numbers = sorted(of_parcel)
        self._parcel_pixels = np.asarray(numbers, np.int64), np.asarray([of_parcel[each] for each in numbers], np.int64)
        return counts, drawn

    def _choose(self, drawn: list[Numbers], limits: Limits) -> Numbers:
        every = np.concatenate(drawn)
        every[:, 3] = np.random.default_rng(limits.seed).permutation(len(every))
        every = every[np.isin(every[:, 2], self._values)]
        return np.sort(_at_most(_at_most(every, 1, limits.of_parcel), 2, limits.of_class)[:, 0])

    def _warn(self, stated: tuple[CropClass, ...], counts: Counter[int]) -> list[str]:
        warnings = []
        if not stated:
            numbered = self.classes and self.classes[-1].value != int(self._values[-1])
            how = f" and numbered from 1, for class rasters hold values up to {LARGEST_VALUE}" if numbered else ""
            warnings.append(f"{self._labels.name} names no classes ({CLASSES_TAG}): they are called by value{how}.")
        unmapped = sorted(set(counts) - set(self._values.tolist()) - {UNLABELLED})
        if unmapped:
            listed = ", ".join(f"{value} ({counts[value]} pixels)" for value in unmapped[:_SHOWN])
            warnings.append(f"Values of {self._labels.name} that are no class are not used: {listed}.")
        return warnings


def stated_year(labels: Path) -> int | None:
    """The year that a label raster says its labels are of."""
    with rasterio.open(labels) as dataset:
        text = dataset.tags().get(YEAR_TAG, "")
    return int(text) if text.isdecimal() else None


def _stated_classes(labels: Path) -> tuple[CropClass, ...]:
    with rasterio.open(labels) as dataset:
        text = dataset.tags().get(CLASSES_TAG, "[]")
    return tuple(each for each in classes_from_json(text, str(labels)) if each.value != UNLABELLED)


def _called_by_value(values: Sequence[int]) -> tuple[CropClass, ...]:
    given = values if not values or values[-1] <= LARGEST_VALUE else range(1, len(values) + 1)
    return tuple(
        CropClass(number, f"class {value}", colour_of(number)) for number, value in zip(given, values, strict=True)
    )


def _counted(values: NDArray[np.int64]) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _at_most(found: Numbers, column: int, limit: int) -> Numbers:
    """Of the rows with the same value in a column, those with the lowest lots (last column); all rows of none (-1)."""
    if not limit or not len(found):
        return found
    ordered = found[np.lexsort((found[:, -1], found[:, column]))]
    starts = np.flatnonzero(np.r_[True, np.diff(ordered[:, column]) != 0])
    rank = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
    kept: Numbers = ordered[(rank < limit) | (ordered[:, column] == NO_PARCEL)]
    return kept


def _check_grid(path: Path, grid: Grid) -> None:
    try:
        with rasterio.open(path) as dataset:
            own, kind = Grid.of(dataset), np.dtype(dataset.dtypes[0]).kind
    except RasterioError as error:
        raise SamplesError(f"{path} cannot be read: {reason_of(error)}.", _REMEDY) from error
    if kind not in "iu":
        raise SamplesError(f"{path} holds fractions, not class values or parcel numbers.", _REMEDY)
    same = (own.width, own.height) == (grid.width, grid.height) and own.transform.almost_equals(grid.transform, 1e-6)
    if not same or pyproj.CRS(own.crs) != pyproj.CRS(grid.crs):
        raise GridMismatchError(
            f"{path} ({own.describe()}) is not on the grid of the series ({grid.describe()}).", _REMEDY
        )
