"""Where the bands of scenes are: their rasters' grids, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from cropmap_core.errors import GridMismatchError
from cropmap_core.io.grid import Grid
from cropmap_core.io.rasters import in_threads
from cropmap_core.scenes.bands import PlacedBand, grid_of, in_same_crs
from cropmap_core.scenes.scene import BandSource, Scene
from cropmap_core.timeseries.series import SCL


@dataclass(frozen=True)
class PlacedScene:
    """A scene with the rasters that its bands are read from."""

    scene: Scene
    bands: Mapping[str, PlacedBand]
    """By band; SCL among them unless the scene has none."""

    @property
    def date(self) -> date:
        return self.scene.acquisition_date

    @cached_property
    def grid(self) -> Grid:
        """That of its coarsest raster: what all of its bands cover."""
        coarsest = max(self.bands.values(), key=lambda band: (band.grid.resolution_m, band.source.path))
        return coarsest.grid


def place_scenes(scenes: Sequence[Scene], bands: Sequence[str], resolution_m: int) -> tuple[PlacedScene, ...]:
    """Looks up where the bands of scenes are.

    Args:
        scenes: In any order.
        bands: Those to read; SCL may be missing in a scene, others may not.
        resolution_m: The pixel size that they will be read for.

    Raises:
        MissingBandError: A scene lacks a band.
        GridMismatchError: A raster's grid is none of Sentinel-2's, or those of a scene do not cover one area.
        SceneError: A raster cannot be read.
    """
    chosen = [
        {band: scene.band_file(band, resolution_m) for band in bands if band != SCL or scene.has(SCL)}
        for scene in scenes
    ]
    rasters: dict[str, tuple[BandSource, bool]] = {}  # the bands of one raster share its grid
    for sources in chosen:
        for band, source in sources.items():
            rasters.setdefault(source.path, (source, band != SCL))
    grids = dict(zip(rasters, in_threads(lambda raster: _checked(*raster), rasters.values()), strict=True))
    placed = tuple(
        PlacedScene(scene, {band: PlacedBand(source, grids[source.path]) for band, source in sources.items()})
        for scene, sources in zip(scenes, chosen, strict=True)
    )
    for scene in placed:
        _check_area(scene)
    return placed


def _checked(source: BandSource, reflectance: bool) -> Grid:
    grid = grid_of(source, reflectance)
    north_up = grid.transform.e == -grid.transform.a and not (grid.transform.b or grid.transform.d)
    if not grid.crs:
        raise GridMismatchError(
            f"{source.file} has no coordinate reference system.",
            "The file is incomplete, or not as distributed: get it again.",
        )
    if abs(grid.resolution_m - source.resolution_m) > 1e-6 or not north_up:
        raise GridMismatchError(
            f"{source.file} is named as {source.resolution_m} m but its grid is {grid.describe()}.",
            "Give the files as distributed, in their UTM zone and without rotation.",
        )
    return grid


def _check_area(scene: PlacedScene) -> None:
    """The bands of a scene must cover the same ground, to a pixel."""
    reference = scene.grid
    for band in scene.bands.values():
        same = in_same_crs(band.grid, reference) and all(
            abs(one - other) < reference.resolution_m
            for one, other in zip(band.grid.bounds, reference.bounds, strict=True)
        )
        if not same:
            raise GridMismatchError(
                f"Two areas in scene {scene.scene.name} in {scene.scene.place}: one raster has "
                f"{reference.describe()}; {band.source.file} has {band.grid.describe()}.",
                "Cut all bands of a scene to the same area, and give those.",
            )
