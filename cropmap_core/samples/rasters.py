"""Samples from rasters: a time series, a label raster and, where there is one, a raster of parcel numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from cropmap_core.errors import JobError, SamplesError, SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.samples.files import PATCH, PIXEL, Layout, Texts
from cropmap_core.samples.label_pixels import LabelPixels, Limits, stated_year
from cropmap_core.samples.places import mgrs_tiles
from cropmap_core.samples.writer import Samples
from cropmap_core.timeseries.series import NODATA, SCL, Series

PARCEL_PIXELS = "parcel_pixels"
"""Column of pixel sets with parcels: how many labelled pixels the parcel has, whether they were drawn or not."""
_BLOCK = 512


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
        self._series, self._asked, self._name = series, asked, name
        size = asked.patch_size if asked.kind == PATCH else 1
        days = tuple((day - series.dates[0]).days for day in series.dates)
        self.layout = Layout(asked.kind, series.bands, series.period, days, size)
        self._blocks = list(series.grid.blocks(_BLOCK // size * size))
        limits = None
        if asked.kind == PIXEL and (asked.pixels_per_class or (parcels is not None and asked.pixels_per_parcel)):
            limits = Limits(asked.pixels_per_parcel if parcels else 0, asked.pixels_per_class, asked.seed)
        self._labels = LabelPixels(labels, parcels, series.grid, self._blocks, limits)
        self._check_year(labels)
        self.classes, self.warnings = self._labels.classes, self._labels.warnings
        self.provenance: Mapping[str, Any] = {"labels": labels.name, "parcels": parcels.name if parcels else None}

    @property
    def steps(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def read(self, step: int) -> Samples | None:
        """The samples of a block; None where it has none."""
        window = self._blocks[step]
        label, parcel = self._labels.read(window)
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
        chosen = self._labels.chosen
        if chosen is None:
            rows, cols = np.nonzero(label)
            return rows, cols
        width = self._series.grid.width
        first, last = np.searchsorted(chosen, [window.row * width, (window.row + window.height) * width])
        row, col = np.divmod(chosen[first:last], width)
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
            columns=self._columns(parcel),
        )

    def _columns(self, parcel: NDArray[np.int64]) -> dict[str, Texts]:
        """The size of each pixel's parcel; patches hold several."""
        if not self._labels.has_parcels or parcel.ndim > 1:
            return {}
        counts = self._labels.parcel_pixels(parcel)
        return {PARCEL_PIXELS: np.where(counts > 0, counts.astype(str), "")}

    def _check_year(self, labels: Path) -> None:
        year = self._asked.label_year if self._asked.label_year is not None else stated_year(labels)
        first, last = self._series.span
        if year is not None and not first.year <= year <= last.year:
            raise SamplesError(
                f"The labels {labels} are of {year}, but the series runs from {first} to {last}.",
                "Give series and labels of the same season.",
            )
