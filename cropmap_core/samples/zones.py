"""Where to train: squares with much cropland in them, far from each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
from numpy.typing import NDArray
from pyogrio.errors import DataSourceError
from pyproj import CRS, Transformer
from rasterio.io import DatasetReader
from rasterio.warp import transform_bounds
from shapely.geometry import box

from cropmap_core.errors import GridMismatchError, NoValidObservationError, OutputError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import open_raster

WORLDCOVER_CROPLAND = 40
"""The class of cropland in ESA WorldCover."""
_POINTS_PER_EDGE = 100
"""A zone's cropland is counted on about so many pixels along its edge."""
_OBSERVED = 0.8
"""Share of the most pixels a cell has; cells with fewer lie at the land cover's edge and are no candidates."""
_BLOCK = 2048

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Zone:
    """A square to train in."""

    bounds: tuple[float, float, float, float]
    """(left, bottom, right, top) in metres."""
    share: float
    """Of its land cover that is cropland, 0-1."""


@dataclass(frozen=True)
class Zones:
    """The zones that are proposed, in the order in which they were chosen."""

    zones: tuple[Zone, ...]
    crs: str
    candidates: int
    """Squares with enough cropland."""


def propose_zones(
    land_cover: Path,
    size_km: float,
    number: int,
    min_share: float,
    cropland: tuple[int, ...] = (WORLDCOVER_CROPLAND,),
    within: Grid | None = None,
    progress: Progress = lambda fraction: None,
) -> Zones:
    """Proposes training zones.

    The land cover is cut into squares. The one with most cropland comes first; then always the one that is farthest
    from those chosen already (greedy farthest point: Gonzalez 1985, Theoretical Computer Science 38), so that the zones
    spread over the area.

    Args:
        land_cover: Raster of land cover classes, any CRS.
        size_km: Edge of the zones.
        number: How many zones; fewer where there are not enough candidates.
        min_share: Of cropland that a candidate has, 0-1.
        cropland: Land cover classes that are cropland.
        within: Zones lie in this grid, and in its CRS; else in the UTM zone of the land cover's middle.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        GridMismatchError: The land cover has no CRS, or is smaller than a zone.
        NoValidObservationError: No square has enough cropland.
    """
    with open_raster(land_cover) as dataset:
        if not dataset.crs:
            raise GridMismatchError(f"{land_cover} has no coordinate reference system.", "Give it one.")
        crs = within.crs if within is not None else _crs_in_metres(dataset)
        bounds = within.bounds if within is not None else transform_bounds(dataset.crs, crs, *dataset.bounds)
        edge = size_km * 1000.0
        if min(bounds[2] - bounds[0], bounds[3] - bounds[1]) < edge:
            raise GridMismatchError(
                f"The area is {(bounds[2] - bounds[0]) / 1000:.1f} x {(bounds[3] - bounds[1]) / 1000:.1f} km, smaller "
                f"than a zone of {size_km:g} km.",
                "Choose smaller zones, or a larger land cover.",
            )
        observed, crops = _count(dataset, crs, bounds, edge, cropland, progress)
    share = np.divide(crops, observed, out=np.zeros(crops.shape), where=observed > 0)
    candidate = (observed > 0) & (observed >= _OBSERVED * observed.max()) & (share >= min_share)
    if not candidate.any():
        raise NoValidObservationError(
            f"No zone of {size_km:g} km has {min_share:.0%} of cropland in {land_cover}; at most {share.max():.0%}.",
            "Ask for less cropland or smaller zones, and check which land cover class is cropland.",
        )
    rows, cols = np.nonzero(candidate)
    chosen = _spread(np.column_stack([rows, cols]).astype(np.float64), share[candidate], number)
    zones = tuple(
        Zone(_square(bounds, edge, int(rows[each]), int(cols[each])), float(share[rows[each], cols[each]]))
        for each in chosen
    )
    return Zones(zones, crs, int(candidate.sum()))


def write_zones(zones: Zones, path: Path) -> None:
    """Writes zones as a GeoPackage with the fields `zone`, from 1, and `share`.

    Raises:
        OutputError: It cannot be written.
    """
    table = geopandas.GeoDataFrame(
        {
            "zone": np.arange(1, len(zones.zones) + 1, dtype=np.int32),
            "share": [round(zone.share, 4) for zone in zones.zones],
        },
        geometry=[box(*zone.bounds) for zone in zones.zones],
        crs=zones.crs,
    )
    try:
        path.unlink(missing_ok=True)
        table.to_file(path, layer="zones", driver="GPKG")
    except (DataSourceError, OSError) as error:
        raise OutputError(f"{path} cannot be written: {error}.", "Make room on its disk.") from error


def _crs_in_metres(dataset: DatasetReader) -> str:
    crs = CRS.from_user_input(dataset.crs)
    if crs.is_projected and crs.axis_info[0].unit_name == "metre":
        return str(dataset.crs.to_wkt())
    west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    zone = min(60, int(((west + east) / 2 + 180) // 6) + 1)
    return f"EPSG:{(32600 if south + north >= 0 else 32700) + zone}"


def _count(
    dataset: DatasetReader,
    crs: str,
    bounds: tuple[float, float, float, float],
    edge: float,
    cropland: tuple[int, ...],
    progress: Progress,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of land cover, and of cropland, by square; whole squares only, from the upper left.

    Returns:
        Two arrays of shape (rows, columns) of squares.
    """
    left, bottom, right, top = bounds
    rows, cols = int((top - bottom) // edge), int((right - left) // edge)
    observed, crops = np.zeros(rows * cols, dtype=np.int64), np.zeros(rows * cols, dtype=np.int64)
    to_metres = Transformer.from_crs(dataset.crs, crs, always_xy=True)
    step = _step(dataset, crs, edge)
    windows = list(Grid.of(dataset).blocks(max(1, _BLOCK // step) * step))
    for done, window in enumerate(windows):
        progress(done / len(windows))
        values, x, y = _points(dataset, window, step)
        x, y = to_metres.transform(x, y)
        with np.errstate(invalid="ignore"):
            row, col = np.floor((top - y) / edge), np.floor((x - left) / edge)
            inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        if dataset.nodata is not None:
            inside &= values != dataset.nodata
        cell = (row[inside] * cols + col[inside]).astype(np.int64)
        observed += np.bincount(cell, minlength=observed.size)
        crops += np.bincount(cell[np.isin(values[inside], cropland)], minlength=crops.size)
    progress(1.0)
    return observed.reshape(rows, cols), crops.reshape(rows, cols)


def _step(dataset: DatasetReader, crs: str, edge: float) -> int:
    """How many pixels apart the land cover is looked at."""
    left, bottom, right, top = transform_bounds(dataset.crs, crs, *dataset.bounds)
    pixel = math.sqrt((right - left) * (top - bottom) / (dataset.width * dataset.height))
    return max(1, int(edge / pixel / _POINTS_PER_EDGE))


def _points(
    dataset: DatasetReader, window: Window, step: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Every step-th pixel of a window: values and coordinates of their centres."""
    values = dataset.read(1, window=window.bounds_rc)[step // 2 :: step, step // 2 :: step]
    rows = window.row + step // 2 + step * np.arange(values.shape[0]) + 0.5
    cols = window.col + step // 2 + step * np.arange(values.shape[1]) + 0.5
    across, down = np.meshgrid(cols, rows)
    x, y = dataset.transform * (across.ravel(), down.ravel())
    return values.ravel(), x, y


def _spread(places: NDArray[np.float64], shares: NDArray[np.float64], number: int) -> list[int]:
    """Positions of the places chosen; of equally far ones the one with more cropland."""
    chosen = [int(np.argmax(shares))]
    distance = np.full(len(places), np.inf)
    while len(chosen) < min(number, len(places)):
        distance = np.minimum(distance, np.linalg.norm(places - places[chosen[-1]], axis=1))
        distance[chosen] = -1.0
        chosen.append(int(np.lexsort((-shares, -distance))[0]))
    return chosen


def _square(
    bounds: tuple[float, float, float, float], edge: float, row: int, col: int
) -> tuple[float, float, float, float]:
    left, top = bounds[0] + col * edge, bounds[3] - row * edge
    return left, top - edge, left + edge, top
