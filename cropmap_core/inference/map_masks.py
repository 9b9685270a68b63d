"""Where a map is wanted: a mask of cropland or parcels, from a raster or from polygons, on the map's grid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.features import geometry_mask
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from cropmap_core.errors import GridMismatchError, ParcelError, SceneError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import open_raster, unreadable

_BLOCK = 2048
_REMEDY = "Give a layer of polygons with a coordinate reference system, or a raster, as MASK."
_LONGEST_EDGE = {True: 0.05, False: 5000.0}
"""In degrees, and in metres: a straight edge in one CRS is a curve in another, here half a metre off at most."""

Wanted = NDArray[np.bool_]
Progress = Callable[[float], None]


class MapMask:
    """The pixels of a grid that are wanted, one bit each; threads may share it.

    Args:
        name: The file, for messages.
        grid: The map's.
        windows: All of the grid's blocks with what is wanted in them, shape (H, W) of the block.
    """

    def __init__(self, name: str, grid: Grid, windows: Iterator[tuple[Window, Wanted]]) -> None:
        self.name = name
        self._grid = grid
        self._bits = np.zeros((grid.height, -(-grid.width // 8)), dtype=np.uint8)
        self.pixels = 0
        for window, wanted in windows:
            if not wanted.any():
                continue
            self.pixels += int(np.count_nonzero(wanted))
            first = window.col // 8  # blocks begin at a whole byte
            packed = np.packbits(wanted, axis=1)
            self._bits[window.row : window.row + window.height, first : first + packed.shape[1]] = packed

    def read(self, window: Window) -> Wanted:
        """What is wanted in a window, which may reach beyond the grid, where nothing is.

        Returns:
            Shape (H, W).
        """
        inside = window.clipped(self._grid.height, self._grid.width)
        wanted = np.zeros((window.height, window.width), dtype=bool)
        if inside.height and inside.width:
            wanted[inside.slices_within(window)] = self._unpacked(inside)
        return wanted

    @property
    def digest(self) -> bytes:
        """Tells masks of one grid apart."""
        return hashlib.sha256(self._bits.tobytes()).digest()

    def touches(self, window: Window) -> bool:
        """Whether anything in a window is wanted."""
        inside = window.clipped(self._grid.height, self._grid.width)
        return bool(inside.height and inside.width and self._unpacked(inside).any())

    def _unpacked(self, window: Window) -> Wanted:
        first, last = window.col // 8, -(-(window.col + window.width) // 8)
        bits = np.unpackbits(self._bits[window.row : window.row + window.height, first:last], axis=1)
        skipped = window.col - 8 * first
        wanted: Wanted = bits[:, skipped : skipped + window.width].view(bool)
        return wanted


def open_mask(path: Path, grid: Grid, all_touched: bool = True, progress: Progress = lambda fraction: None) -> MapMask:
    """Reads a mask and brings it to a grid.

    Args:
        path: A raster in any CRS and resolution, of which values above 0 that are not nodata count, each pixel of the
            grid taking the one that lies nearest to its middle; or a vector file of polygons in any CRS.
        grid: The map's.
        all_touched: Whether the pixels count that polygons touch, or only those whose middle lies in one.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        ParcelError: The file is neither a raster nor a layer; or the layer is empty, has no CRS, or no polygons.
        SceneError: The raster is damaged.
        GridMismatchError: The raster has no CRS or several bands; or nothing that counts lies on the grid.
    """
    windows = list(grid.blocks(_BLOCK))
    parts = _burnt(path, grid, windows, all_touched) if _layers(path) else _warped(path, grid, windows)
    mask = MapMask(str(path), grid, _telling(parts, len(windows), progress))
    if not mask.pixels:
        raise GridMismatchError(
            f"Nothing of the mask {path} lies on the map ({grid.describe()}).",
            "Check its CRS and that it covers the scenes; of a raster, values above 0 count.",
        )
    return mask


def _telling(parts: Iterator[tuple[Window, Wanted]], count: int, progress: Progress) -> Iterator[tuple[Window, Wanted]]:
    for done, part in enumerate(parts):
        yield part
        progress((done + 1) / count)


def _layers(path: Path) -> int:
    """The number of vector layers in a file; none in a raster, and in what cannot be read."""
    try:
        return len(pyogrio.list_layers(path))
    except DataSourceError:
        return 0


def _warped(path: Path, grid: Grid, windows: list[Window]) -> Iterator[tuple[Window, Wanted]]:
    with _raster(path) as source:
        if not source.crs:
            raise GridMismatchError(f"The mask {path} has no coordinate reference system.", "Give it one.")
        if source.count != 1:
            raise GridMismatchError(
                f"The mask {path} has {source.count} bands.", "Give a raster of one band, with values above 0 to map."
            )
        try:
            with WarpedVRT(
                source,
                crs=grid.crs,
                transform=grid.transform,
                width=grid.width,
                height=grid.height,
                resampling=Resampling.nearest,
            ) as warped:  # beyond the mask it gives nodata, or 0
                for window in windows:
                    values: NDArray[Any] = warped.read(1, window=window.bounds_rc)
                    wanted: Wanted = values > 0
                    if warped.nodata is not None:
                        wanted &= values != warped.nodata
                    yield window, wanted
        except (RasterioError, CRSError) as error:
            raise unreadable(path, error) from error


def _raster(path: Path) -> DatasetReader:
    try:
        return open_raster(path)
    except SceneError as error:
        raise ParcelError(f"The mask {path} can be read neither as a raster nor as a layer.", _REMEDY) from error


def _burnt(path: Path, grid: Grid, windows: list[Window], all_touched: bool) -> Iterator[tuple[Window, Wanted]]:
    shapes = _polygons(path, grid)
    tree = shapely.STRtree(shapes)
    for window in windows:
        block = grid.cut(window)
        here = shapes[np.sort(tree.query(shapely.box(*block.bounds)))]
        size = (window.height, window.width)
        if len(here):
            yield window, geometry_mask(here, size, block.transform, all_touched=all_touched, invert=True)
        else:
            yield window, np.zeros(size, dtype=bool)


def _polygons(path: Path, grid: Grid) -> NDArray[Any]:
    """The polygons of a layer in the grid's CRS, those that have no place there left out."""
    try:
        layer = geopandas.read_file(path, columns=[])
    except (DataSourceError, DataLayerError) as error:
        raise ParcelError(f"The mask {path} cannot be read: {error}.", _REMEDY) from error
    if not isinstance(layer, geopandas.GeoDataFrame) or layer.empty:
        raise ParcelError(f"The mask {path} has no polygons.", _REMEDY)
    if layer.crs is None:
        raise ParcelError(f"The mask {path} has no coordinate reference system.", _REMEDY)
    shapes = layer.geometry[layer.geometry.notna()].to_numpy()
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken])
    shapes = shapes[shapely.area(shapes) > 0]
    if not len(shapes):
        raise ParcelError(f"The mask {path} holds no polygon with an area.", _REMEDY)
    dense = shapely.segmentize(shapes, _LONGEST_EDGE[layer.crs.is_geographic])
    placed = geopandas.GeoSeries(dense, crs=layer.crs).to_crs(grid.crs).to_numpy()
    return np.asarray(placed[np.isfinite(shapely.bounds(placed)).all(axis=1)])
