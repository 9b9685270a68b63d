"""Scenes as one time series: the first step of the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import GridMismatchError, JobError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import in_threads
from cropmap_core.scenes.bands import grid_of, read_band, to_reflectance_numbers
from cropmap_core.scenes.clear_pixels import ClearPixels
from cropmap_core.scenes.offset import Offsets, decide_offsets, doubts
from cropmap_core.scenes.scene import NATIVE_RESOLUTION_M, BandSource, Scene
from cropmap_core.timeseries.series import NODATA, SCL, Block, empty_block, present


@dataclass(frozen=True)
class SceneStack:
    """A series of acquisitions with their SCL, read straight from the scenes' files."""

    scenes: tuple[Scene, ...]
    bands: tuple[str, ...]
    """Reflectance bands and, last, SCL."""
    grid: Grid
    resolution_m: int
    offsets: Offsets
    span: tuple[date, date]
    period: str | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int16)

    @property
    def dates(self) -> tuple[date, ...]:
        return tuple(scene.acquisition_date for scene in self.scenes)

    def of_dates(self, chosen: slice) -> SceneStack:
        offsets = replace(self.offsets, values=self.offsets.values[chosen])
        return replace(self, scenes=self.scenes[chosen], offsets=offsets)

    def read(self, window: Window) -> Block:
        data = empty_block(len(self.scenes), len(self.bands), window, self.dtype)
        inner = window.clipped(self.grid.height, self.grid.width)
        if inner.height and inner.width:
            rows, cols = inner.slices_within(window)

            def read_one(position: tuple[int, int]) -> None:
                time, channel = position
                data[time, channel, rows, cols] = self._read(self.scenes[time], time, self.bands[channel], inner)

            in_threads(read_one, np.ndindex(len(self.scenes), len(self.bands)))
        return Block(data, present(data, self.bands))

    def _read(self, scene: Scene, time: int, band: str, window: Window) -> NDArray[np.int16]:
        values = read_band(scene.band_file(band, self.resolution_m), self.resolution_m, window)
        if band == SCL:
            return values.astype(np.int16)
        return to_reflectance_numbers(values, self.offsets.values[time], NODATA)


def stack_scenes(
    scenes: Sequence[Scene],
    bands: Sequence[str],
    resolution_m: int,
    offset: str,
    start: date | None = None,
    end: date | None = None,
) -> SceneStack:
    """Makes a series of scenes that share a grid.

    Args:
        scenes: By date.
        bands: Reflectance bands; SCL is added.
        resolution_m: 10, 20 or 60 metres.
        offset: `auto`, `0` or `-1000`.
        start: First day that was asked for; None for the first acquisition's.
        end: Last day that was asked for; None for the last acquisition's.

    Raises:
        MissingBandError: A scene lacks a band or its SCL.
        GridMismatchError: The scenes do not cover the same grid.
        BaselineError: `auto` cannot decide.
    """
    unknown = [band for band in bands if band not in NATIVE_RESOLUTION_M or band == SCL]
    if unknown or len(set(bands)) != len(bands):
        raise JobError(
            f"BANDS holds {', '.join(unknown or bands)}.",
            f"Choose each once from {', '.join(sorted(set(NATIVE_RESOLUTION_M) - {SCL}))}.",
        )
    # The field's order, not the caller's: a file's bands must not depend on how the list was typed.
    ordered = (*sorted(bands, key=_band_order), SCL)
    _check_bands(scenes, ordered, resolution_m)
    grid = _common_grid(scenes, ordered, resolution_m)

    clear_pixels = ClearPixels(grid, resolution_m)
    offsets = decide_offsets(scenes, offset, clear_pixels)
    offsets = replace(
        offsets, warnings=(*offsets.warnings, *doubts(scenes, offsets.values, clear_pixels, clear_pixels.share))
    )
    span = (start or scenes[0].acquisition_date, end or scenes[-1].acquisition_date)
    return SceneStack(tuple(scenes), ordered, grid, resolution_m, offsets, span)


def _band_order(band: str) -> tuple[int, str]:
    return (8, "A") if band == "B8A" else (int(band[1:]), "")


def _check_bands(scenes: Sequence[Scene], bands: Sequence[str], resolution_m: int) -> None:
    for scene in scenes:
        for band in bands:
            scene.band_file(band, resolution_m)


def _common_grid(scenes: Sequence[Scene], bands: Sequence[str], resolution_m: int) -> Grid:
    rasters: dict[str, tuple[BandSource, bool]] = {}  # the bands of one raster share its grid
    for scene in scenes:
        for band in bands:
            source = scene.band_file(band, resolution_m)
            rasters.setdefault(source.path, (source, band != SCL))
    ordered = [rasters[path] for path in sorted(rasters)]
    sources = [source for source, _ in ordered]
    grids = in_threads(lambda raster: grid_of(*raster), ordered)
    reference = grids[0].resampled(resolution_m)
    for source, grid in zip(sources, grids, strict=True):
        path, resolution = source.file, source.resolution_m
        if not grid.crs or abs(grid.resolution_m - resolution) > 1e-6 or grid.transform.e != -grid.transform.a:
            raise GridMismatchError(
                f"{path} is named as {resolution} m but its grid is {grid.describe()}.",
                "Give the files as distributed, in their UTM zone and without rotation.",
            )
        if not _same_area(grid.resampled(resolution_m), grid):
            raise GridMismatchError(
                f"{path} does not cover whole pixels of {resolution_m} m: its grid is {grid.describe()}.",
                f"Cut all scenes to the same area, on whole {resolution_m} m pixels, or choose another RESOLUTION.",
            )
        if not _same_area(grid.resampled(resolution_m), reference):
            raise GridMismatchError(
                f"Two grids: {sources[0].file} has {grids[0].describe()}; {path} has {grid.describe()}.",
                "Cut all scenes to the same area, on whole 20 m pixels, and give those.",
            )
    return reference


def _same_area(one: Grid, other: Grid) -> bool:
    tolerance = 1e-3  # metres: writers differ in the last digits of a double
    return one.crs == other.crs and all(abs(a - b) < tolerance for a, b in zip(one.bounds, other.bounds, strict=True))
