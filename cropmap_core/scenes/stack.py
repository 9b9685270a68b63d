"""Scenes as one time series: the first step of the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError, SceneError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import in_threads
from cropmap_core.scenes.bands import NEAREST, RESAMPLINGS, in_same_crs, read_on, to_reflectance_numbers
from cropmap_core.scenes.clear_pixels import ClearPixels
from cropmap_core.scenes.offset import Offsets, decide_offsets, doubts
from cropmap_core.scenes.placing import PlacedScene, place_scenes
from cropmap_core.scenes.scene import NATIVE_RESOLUTION_M, Scene, band_order
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES, SCL_CLASSES, keep_table
from cropmap_core.scenes.target import GridAsked, choose_grid
from cropmap_core.timeseries.series import NODATA, SCL, Block, empty_block, present

_CLEAR = keep_table(DEFAULT_KEEP_CLASSES)
_NOT_OBSERVED = SCL_CLASSES["nodata"]
_OBSERVED = np.arange(256) != _NOT_OBSERVED
_UNKNOWN_BUT_SEEN = SCL_CLASSES["unclassified"]


@dataclass(frozen=True)
class SceneStack:
    """A series of acquisitions with their SCL, read straight from the scenes' files.

    The scenes of a day are one date. Where several of them cover a pixel, all its bands are those of the first one that
    has them all and sees it clear, or else of the first one that has them all: first come scenes in the grid's CRS.
    """

    days: tuple[tuple[PlacedScene, ...], ...]
    """The scenes of each date, by preference."""
    offset_of: tuple[tuple[int, ...], ...]
    """Radiometric offsets, as `days`."""
    bands: tuple[str, ...]
    """Reflectance bands and, last, SCL."""
    grid: Grid
    offsets: Offsets
    span: tuple[date, date]
    resampling: str = NEAREST
    """Of reflectance bands; SCL is always taken from the nearest pixel."""
    period: str | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int16)

    @property
    def dates(self) -> tuple[date, ...]:
        return tuple(scenes[0].date for scenes in self.days)

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """All of them, by date."""
        return tuple(placed.scene for scenes in self.days for placed in scenes)

    def of_dates(self, chosen: slice) -> SceneStack:
        return replace(self, days=self.days[chosen], offset_of=self.offset_of[chosen])

    def working_bytes(self, dates: int) -> int:
        """Of merging: SCL of all scenes that share a date, and all that is read of one date, with masks."""
        together = sorted((len(scenes) for scenes in self.days if len(scenes) > 1), reverse=True)[:dates]
        if not together:
            return 0
        channels, scl_bytes = len(self.bands) - 1, 2
        masks = together[0] + channels + 4  # complete, what of a scene's bands is there, and the steps of `_choice`
        return sum(together) * scl_bytes + together[0] * channels * self.dtype.itemsize + masks

    def read(self, window: Window) -> Block:
        data = empty_block(len(self.days), len(self.bands), window, self.dtype)
        inner = window.clipped(self.grid.height, self.grid.width)
        if inner.height and inner.width:
            rows, cols = inner.slices_within(window)
            self._read_into(data[:, :, rows, cols], inner)
        return Block(data, present(data, self.bands))

    def _read_into(self, data: NDArray[np.int16], window: Window) -> None:
        """Reads a window inside the grid; where a date has several scenes SCL first, which tells where they overlap."""
        several = [time for time, scenes in enumerate(self.days) if len(scenes) > 1]
        positions = [(time, number) for time in several for number in range(len(self.days[time]))]
        classes = dict(zip(positions, in_threads(lambda at: self._read_scl(*at, window), positions), strict=True))
        alone = [(time, 0) for time, scenes in enumerate(self.days) if len(scenes) == 1]
        for time in several:
            seen = [number for number in range(len(self.days[time])) if classes[time, number].any()]
            if len(seen) > 1:
                self._merge(data[time], time, {number: classes[time, number] for number in seen}, window)
            else:
                alone.append((time, seen[0] if seen else 0))

        def read_one(task: tuple[tuple[int, int], int]) -> None:
            (time, number), channel = task
            if channel < len(self.bands) - 1:
                self._read_band(time, number, channel, window, data[time, channel])
            elif (time, number) in classes:
                data[time, channel] = classes[time, number]
            else:
                data[time, channel] = self._read_scl(time, number, window)

        in_threads(read_one, [(position, channel) for position in alone for channel in range(len(self.bands))])
        for time, _ in alone:
            if time in several:  # as where they are merged: no window may give what another one does not
                data[time, :-1, data[time, -1] == _NOT_OBSERVED] = NODATA

    def _merge(self, data: NDArray[np.int16], time: int, classes: dict[int, NDArray[Any]], window: Window) -> None:
        """Reads the scenes of one date that meet in a window, and takes each pixel from the best of them."""
        numbers, channels = list(classes), range(len(self.bands) - 1)
        bands = np.empty((len(numbers), len(channels), window.height, window.width), np.int16)

        def read_one(task: tuple[int, int]) -> None:
            position, channel = task
            self._read_band(time, numbers[position], channel, window, bands[position, channel])

        in_threads(read_one, [(position, channel) for position in range(len(numbers)) for channel in channels])
        chosen = _choice(list(classes.values()), [(values != NODATA).all(axis=0) for values in bands])
        data[-1] = _NOT_OBSERVED
        for position, (values, scl) in enumerate(zip(bands, classes.values(), strict=True)):
            here = chosen == position
            np.copyto(data[:-1], values, where=here)
            np.copyto(data[-1], scl, where=here, casting="unsafe")

    def _read_scl(self, time: int, number: int, window: Window) -> NDArray[Any]:
        scene = self.days[time][number]
        if SCL in scene.bands:
            return read_on(scene.bands[SCL], self.grid, window)
        observed = read_on(scene.bands[self.bands[0]], self.grid, window, self.resampling) > 0
        return np.where(observed, _UNKNOWN_BUT_SEEN, _NOT_OBSERVED).astype(np.int16)

    def _read_band(self, time: int, number: int, channel: int, window: Window, out: NDArray[np.int16]) -> None:
        values = read_on(self.days[time][number].bands[self.bands[channel]], self.grid, window, self.resampling)
        to_reflectance_numbers(values, self.offset_of[time][number], NODATA, out)


def stack_scenes(
    scenes: Sequence[Scene],
    bands: Sequence[str],
    resolution_m: int,
    offset: str,
    start: date | None = None,
    end: date | None = None,
) -> SceneStack:
    """Makes a series of scenes on the grid that covers them all.

    Args:
        scenes: In any order.
        bands: Reflectance bands; SCL is added.
        resolution_m: 10, 20 or 60 metres.
        offset: `auto`, `0` or `-1000`.
        start: First day that was asked for; None for the first acquisition's.
        end: Last day that was asked for; None for the last acquisition's.

    Raises:
        MissingBandError: A scene lacks a band or its SCL.
        GridMismatchError: A raster's grid is none of Sentinel-2's, or the scenes lie too far apart.
        BaselineError: `auto` cannot decide.
    """
    placed = place_scenes(scenes, in_order(bands), resolution_m)
    for scene in scenes:
        scene.band_file(SCL, resolution_m)
    grid = choose_grid(GridAsked(resolution_m), placed)
    return stack_placed(placed, in_order(bands), grid, offset, (start, end))


def stack_placed(
    scenes: Sequence[PlacedScene],
    bands: tuple[str, ...],
    grid: Grid,
    offset: str,
    asked: tuple[date | None, date | None],
    resampling: str = NEAREST,
) -> SceneStack:
    """Makes a series of placed scenes on a grid.

    Args:
        scenes: In any order; those without SCL count as clear wherever they are observed.
        bands: As `in_order` gives them, all there in every scene.
        grid: That of the series.
        offset: `auto`, `0` or `-1000`.
        asked: First and last day that were asked for.
        resampling: One of `RESAMPLINGS`.

    Raises:
        JobError: A parameter is none of its choices.
        SceneError: Two processings of an acquisition, and nothing tells which is newer.
        BaselineError: `auto` cannot decide.
    """
    if resampling not in RESAMPLINGS:
        raise JobError(f"RESAMPLING is '{resampling}'.", f"Choose one of {', '.join(RESAMPLINGS)}.")
    ordered = sorted(scenes, key=lambda scene: (scene.date, not in_same_crs(scene.grid, grid), *_identity(scene)))
    _refuse_twins(ordered)
    clear_pixels = ClearPixels(ordered)
    plain = [placed.scene for placed in ordered]
    offsets = decide_offsets(plain, offset, clear_pixels)
    doubted = doubts(plain, offsets.values, clear_pixels, clear_pixels.share)
    offsets = replace(offsets, warnings=(*offsets.warnings, *doubted))
    days = [list(each) for _, each in groupby(zip(ordered, offsets.values, strict=True), key=lambda each: each[0].date)]
    start, end = asked
    return SceneStack(
        tuple(tuple(scene for scene, _ in day) for day in days),
        tuple(tuple(value for _, value in day) for day in days),
        bands,
        grid,
        offsets,
        (start or ordered[0].date, end or ordered[-1].date),
        resampling,
    )


def in_order(bands: Sequence[str]) -> tuple[str, ...]:
    """Bands in the sensor's order with SCL last: a file's bands must not depend on how the list was typed.

    Raises:
        JobError: A name is no band of reflectance, or is there twice.
    """
    unknown = [band for band in bands if band not in NATIVE_RESOLUTION_M or band == SCL]
    if unknown or len(set(bands)) != len(bands):
        raise JobError(
            f"BANDS holds {', '.join(unknown or bands)}.",
            f"Choose each once from {', '.join(sorted(set(NATIVE_RESOLUTION_M) - {SCL}))}.",
        )
    return (*sorted(bands, key=band_order), SCL)


def _choice(classes: Sequence[NDArray[Any]], complete: Sequence[NDArray[np.bool_]]) -> NDArray[np.int8]:
    """Which of several scenes each pixel is taken from.

    The first one with all bands that sees it clear; else the first with all bands; else the first that observed it.

    Args:
        classes: SCL of each scene, shape (H, W).
        complete: Where each scene has all bands, shape (H, W).

    Returns:
        Positions in `classes`, -1 where none observed the pixel.
    """
    chosen = np.full(classes[0].shape, -1, np.int8)
    for table, needs_all in ((_OBSERVED, False), (_OBSERVED, True), (_CLEAR, True)):
        for number in range(len(classes) - 1, -1, -1):  # the first one has the last word
            usable = table[classes[number].clip(0, 255)]
            chosen[usable & complete[number] if needs_all else usable] = number
    return chosen


def _identity(scene: PlacedScene) -> tuple[Any, ...]:
    return scene.scene.acquired, scene.scene.mgrs_tile, scene.grid.bounds, str(scene.scene.place)


def _refuse_twins(scenes: Sequence[PlacedScene]) -> None:
    """Two scenes of one time and place are two processings, and one of them is the wrong one."""
    known: dict[tuple[Any, ...], PlacedScene] = {}
    for scene in scenes:
        time, tile, bounds, _ = _identity(scene)
        strip = scene.scene.product.strip_start if scene.scene.product else None
        twin = known.setdefault((time, tile, scene.grid.crs, bounds, strip), scene)
        if twin is not scene:
            raise SceneError(
                f"Two scenes are of the same time and area, {scene.scene.name}: {twin.scene.place} and "
                f"{scene.scene.place}.",
                "Keep one of them, the newest processing where one scene was processed twice.",
            )
