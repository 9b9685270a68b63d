"""Samples from rasters: a time series, a label raster and, where there is one, a raster of parcel numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from cropmap_core.classes import CLASSES_TAG, CropClass
from cropmap_core.errors import GridMismatchError, JobError, SamplesError, SeriesError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import read_bands, reason_of
from cropmap_core.samples.classes import LARGEST_VALUE, UNLABELLED, classes_from_json, colour_of
from cropmap_core.samples.files import NO_PARCEL, PATCH, PIXEL, Layout, Samples
from cropmap_core.samples.label_raster import YEAR_TAG
from cropmap_core.samples.places import mgrs_tiles
from cropmap_core.timeseries.series import NODATA, SCL, Series

_BLOCK = 512
_REMEDY = "Give a label raster that preparelabels wrote on the grid of the time series."


@dataclass(frozen=True)
class RastersAsked:
    """How samples are to be taken from rasters."""

    kind: str = PIXEL
    patch_size: int = 32
    pixels_per_parcel: int = 20
    """Most pixels of a parcel, drawn at random; 0 for all."""
    pixels_per_class: int = 0
    """Most pixels of a class, drawn at random; 0 for all."""
    label_year: int | None = None
    """None for what the label raster states."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in (PIXEL, PATCH):
            raise JobError(f"KIND is '{self.kind}'.", f"Choose {PIXEL} or {PATCH}.")
        if not 2 <= self.patch_size <= _BLOCK or min(self.pixels_per_parcel, self.pixels_per_class) < 0:
            raise JobError(
                f"PATCH_SIZE is {self.patch_size}, PIXELS_PER_PARCEL {self.pixels_per_parcel}, PIXELS_PER_CLASS "
                f"{self.pixels_per_class}.",
                f"Give patches of 2 to {_BLOCK} pixels and numbers from 0.",
            )


class RasterSource:
    """The samples of rasters, block by block.

    Args:
        series: Composites of reflectance, int16, filled or not.
        labels: Class values on the series' grid, 0 unlabelled.
        parcels: Parcel numbers on the same grid, 0 none; None where there are no parcels.
        asked: What to take.
        name: Of the series, as the samples' source.

    Raises:
        SamplesError: There is no label, one class only, or labels and series are of different years.
        GridMismatchError: The rasters are not on the series' grid.
        SeriesError: The series is not of reflectance.
    """

    def __init__(self, series: Series, labels: Path, parcels: Path | None, asked: RastersAsked, name: str) -> None:
        if series.dtype.kind != "i" or SCL in series.bands:
            raise SeriesError(
                "Samples are taken of composites of reflectance.", "Give the output of compositetimeseries."
            )
        self._series, self._labels, self._parcels, self._asked, self._name = series, labels, parcels, asked, name
        size = asked.patch_size if asked.kind == PATCH else 1
        days = tuple((day - series.dates[0]).days for day in series.dates)
        self.layout = Layout(asked.kind, series.bands, series.period, days, size)
        for path in (labels, parcels):
            if path is not None:
                _check_grid(path, series.grid)
        self._check_year()
        self._blocks = list(series.grid.blocks(_BLOCK // size * size))
        self.classes, self._known, self._chosen, self.warnings = self._look_at_labels()
        self.provenance: Mapping[str, Any] = {"labels": labels.name, "parcels": parcels.name if parcels else None}

    @property
    def steps(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def read(self, step: int) -> Samples | None:
        """The samples of a block; None where it has none."""
        window = self._blocks[step]
        label, parcel = self._read_labels(window)
        if self._asked.kind == PATCH:
            return self._patches(window, label, parcel)
        rows, cols = self._pixels(window, label)
        if not len(rows):
            return None
        block = self._series.read(window)
        seen = block.valid[:, rows, cols].any(axis=0)
        rows, cols = rows[seen], cols[seen]
        if not len(rows):
            return None
        data = np.ascontiguousarray(block.data[:, :, rows, cols].transpose(2, 0, 1))[..., None, None]
        valid = np.ascontiguousarray(block.valid[:, rows, cols].T)[..., None, None]
        ids = [f"r{window.row + row}c{window.col + col}" for row, col in zip(rows, cols, strict=True)]
        return self._samples(
            data, valid, label[rows, cols][:, None, None], parcel[rows, cols], window.row + rows + 0.5,
            window.col + cols + 0.5, ids,
        )  # fmt: skip

    def _pixels(self, window: Window, label: NDArray[np.int16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._chosen is None:
            rows, cols = np.nonzero(label)
            return rows, cols
        width = self._series.grid.width
        first, last = np.searchsorted(self._chosen, [window.row * width, (window.row + window.height) * width])
        row, col = np.divmod(self._chosen[first:last], width)
        inside = (col >= window.col) & (col < window.col + window.width)
        return row[inside] - window.row, col[inside] - window.col

    def _patches(self, window: Window, label: NDArray[np.int16], parcel: NDArray[np.int64]) -> Samples | None:
        """Whole patches with a label; strips at the right and lower edge that hold no whole patch are left out."""
        size = self._asked.patch_size
        corners = [
            (row, col)
            for row in range(0, window.height - size + 1, size)
            for col in range(0, window.width - size + 1, size)
            if label[row : row + size, col : col + size].any()
        ]
        if not corners:
            return None
        block = self._series.read(window)
        squares = [(slice(row, row + size), slice(col, col + size)) for row, col in corners]
        top, left = np.asarray(corners).T
        return self._samples(
            np.stack([block.data[:, :, rows, cols] for rows, cols in squares]),
            np.stack([block.valid[:, rows, cols] for rows, cols in squares]),
            np.stack([label[square] for square in squares]),
            np.stack([parcel[square] for square in squares]),
            window.row + top + size / 2,
            window.col + left + size / 2,
            [f"r{window.row + row}c{window.col + col}s{size}" for row, col in corners],
        )

    def _samples(
        self,
        data: NDArray[np.int16],
        valid: NDArray[np.bool_],
        label: NDArray[np.int16],
        parcel: NDArray[np.int64],
        row: NDArray[Any],
        col: NDArray[Any],
        ids: list[str],
    ) -> Samples:
        count = len(ids)
        data[~np.broadcast_to(valid[:, :, None], data.shape)] = NODATA
        transform = self._series.grid.transform
        x, y = transform.c + transform.a * col, transform.f + transform.e * row
        to_degrees = pyproj.Transformer.from_crs(self._series.grid.crs, 4326, always_xy=True)
        lon, lat = (np.asarray(values, np.float64) for values in to_degrees.transform(x, y))
        first_day = (self._series.dates[0] - date(1970, 1, 1)).days
        return Samples(
            data=data,
            valid=valid,
            label=label,
            season=np.full(count, first_day, np.int32),
            parcel=parcel,
            lon=lon,
            lat=lat,
            sample_id=np.asarray([f"{self._name}_{each}" for each in ids]),
            zone=np.full(count, ""),
            tile=mgrs_tiles(lon, lat),
            source=np.full(count, self._name),
            columns={},
        )

    def _read_labels(self, window: Window) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """Class values (0 for unmapped ones) and parcel numbers (-1 none) of a window, both (H, W)."""
        raw = read_bands(self._labels, [1], window)[0].astype(np.int64)
        label = np.where(np.isin(raw, self._known), raw, UNLABELLED).astype(np.int16)
        if self._parcels is None:
            return label, np.full(label.shape, NO_PARCEL, np.int64)
        parcel = read_bands(self._parcels, [1], window)[0].astype(np.int64)
        return label, np.where(parcel > 0, parcel, NO_PARCEL)

    def _look_at_labels(
        self,
    ) -> tuple[tuple[CropClass, ...], NDArray[np.int64], NDArray[np.int64] | None, list[str]]:
        """One pass over the labels: which classes there are, and which pixels are taken."""
        stated = _stated_classes(self._labels)
        limit = self._asked.pixels_per_parcel if self._parcels else 0
        draws = self._asked.kind == PIXEL and (limit or self._asked.pixels_per_class)
        counts = np.zeros(LARGEST_VALUE + 1, np.int64)
        self._known = np.arange(1, LARGEST_VALUE + 1)
        random = np.random.default_rng(self._asked.seed)
        drawn = []
        for window in self._blocks:
            label, parcel = self._read_labels(window)
            counts += np.bincount(label.ravel(), minlength=len(counts))
            if draws:
                rows, cols = np.nonzero(label)
                place = (window.row + rows) * self._series.grid.width + window.col + cols
                found = np.stack([place, parcel[rows, cols], label[rows, cols], random.permutation(len(rows))], axis=1)
                drawn.append(_at_most(found, 1, limit))
        there = np.flatnonzero(counts[1:]) + 1
        values = [each.value for each in stated] if stated else there.tolist()
        classes = stated or tuple(CropClass(int(value), f"class {value}", colour_of(int(value))) for value in there)
        warnings = (
            [] if stated else [f"{self._labels.name} names no classes ({CLASSES_TAG}): they are called by value."]
        )
        unmapped = sorted(set(there.tolist()) - set(values))
        if unmapped:
            listed = ", ".join(f"{value} ({counts[value]} pixels)" for value in unmapped[:20])
            warnings.append(f"Values of {self._labels.name} that are no class are not used: {listed}.")
        if not counts[values].any():
            raise SamplesError(f"No pixel of {self._labels} has a label.", _REMEDY)
        chosen = None
        if draws:
            every = np.concatenate(drawn)
            every[:, 3] = random.permutation(len(every))
            every = every[np.isin(every[:, 2], values)]
            chosen = np.sort(_at_most(_at_most(every, 1, limit), 2, self._asked.pixels_per_class)[:, 0])
        return classes, np.asarray(values), chosen, warnings

    def _check_year(self) -> None:
        year = self._asked.label_year
        if year is None:
            with rasterio.open(self._labels) as dataset:
                text = dataset.tags().get(YEAR_TAG, "")
            year = int(text) if text.isdecimal() else None
        first, last = self._series.span
        if year is not None and not first.year <= year <= last.year:
            raise SamplesError(
                f"The labels {self._labels} are of {year}, but the series runs from {first} to {last}.",
                "Give series and labels of the same season.",
            )


def _at_most(found: NDArray[np.int64], column: int, limit: int) -> NDArray[np.int64]:
    """Of the rows with the same value in a column, those with the lowest lots (last column); all rows of none (-1)."""
    if not limit or not len(found):
        return found
    ordered = found[np.lexsort((found[:, -1], found[:, column]))]
    starts = np.flatnonzero(np.r_[True, np.diff(ordered[:, column]) != 0])
    rank = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
    kept: NDArray[np.int64] = ordered[(rank < limit) | (ordered[:, column] == NO_PARCEL)]
    return kept


def _stated_classes(labels: Path) -> tuple[CropClass, ...]:
    with rasterio.open(labels) as dataset:
        text = dataset.tags().get(CLASSES_TAG, "[]")
    return tuple(each for each in classes_from_json(text, str(labels)) if each.value != UNLABELLED)


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
