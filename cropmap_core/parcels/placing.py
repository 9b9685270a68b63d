"""Parcels on a raster's grid: read, checked, repaired for counting, measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError

from cropmap_core.errors import ParcelError
from cropmap_core.io.grid import Grid
from cropmap_core.parcels.shapes import ShapeStore
from cropmap_core.parcels.sizes import Ellipsoid
from cropmap_core.samples.declarations import code_text, polygons_of

PARCEL_FIELD = "parcel"
_AT_ONCE = 20_000  # parcels that are in memory while they are read
_FEWEST_INNER = 1.0  # pixels: what is less after the inward buffer says nothing
_NUMBERS_SHOWN = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PlacedParcels:
    """Parcels in a raster's CRS, checked and ready to be described; all arrays are in their order."""

    numbers: NDArray[np.int64]
    """Shape (N,)."""
    boxes: Floats
    """Left, bottom, right, top in the raster's CRS, shape (N, 4); NaN where a parcel has no area on the raster."""
    pixels: Floats
    """Their area in pixels of the raster, shape (N,); NaN where a parcel has none."""
    area_ha: Floats
    """On the ellipsoid, shape (N,); NaN where a parcel has none."""
    perimeter_m: Floats
    shapes: ShapeStore
    """Valid polygons in the raster's CRS."""
    inner: ShapeStore | None
    """The same after the inward buffer; none of those that it leaves too little of. None without a buffer."""
    declared: tuple[str, ...]
    """What was declared to grow on each; empty where that was not asked for."""
    grid: Grid
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.numbers)


def place_parcels(path: Path, grid: Grid, buffer_m: float = 0.0, declared_field: str | None = None) -> PlacedParcels:
    """Reads parcels and places them on a grid.

    Args:
        path: Polygons in any CRS, with the integer field `parcel`.
        grid: That of the class raster, which need not exist yet.
        buffer_m: Inward buffer, in metres of the raster's CRS.
        declared_field: The field that holds the declared crop.

    Raises:
        ParcelError: There are no parcels, they have no CRS or no area, lack a field, or none lies on the grid.
    """
    placing = _Placing(grid, buffer_m)
    for parcels in _read(path, declared_field):
        placing.add(parcels, declared_field)
    return placing.finish(path)


class _Placing:
    def __init__(self, grid: Grid, buffer_m: float) -> None:
        self._grid, self._buffer_m = grid, buffer_m
        self._shapes = ShapeStore()
        self._inner = ShapeStore() if buffer_m > 0 else None
        self._columns: list[tuple[NDArray[Any], ...]] = []
        self._declared: list[str] = []
        self._broken: list[int] = []
        self._ellipsoid: Ellipsoid | None = None

    def add(self, parcels: geopandas.GeoDataFrame, declared_field: str | None) -> None:
        """Checks, repairs, measures and keeps some parcels."""
        numbers = parcels[PARCEL_FIELD].to_numpy()
        usable, repaired = _areas(parcels.geometry.to_numpy())
        self._broken += numbers[repaired].tolist()
        there = np.flatnonzero(usable != None)  # noqa: E711  (element by element)
        if self._ellipsoid is None:
            self._ellipsoid = Ellipsoid(parcels.crs)
        area, perimeter, pixels = (np.full(len(numbers), np.nan) for _ in range(3))
        boxes = np.full((len(numbers), 4), np.nan)
        placed = geopandas.GeoSeries(usable[there], crs=parcels.crs).to_crs(self._grid.crs).to_numpy().copy()
        bounds = shapely.bounds(placed).reshape(-1, 4)
        kept = np.isfinite(bounds).all(axis=1)  # what the raster's projection does not reach has no place
        there, placed = there[kept], placed[kept]
        bent = ~shapely.is_valid(placed)
        placed[bent] = polygons_of(shapely.make_valid(placed[bent]))
        area[there], perimeter[there] = self._ellipsoid.sizes(usable[there])
        pixels[there] = shapely.area(placed) / abs(self._grid.transform.a * self._grid.transform.e)
        boxes[there] = bounds[kept]
        self._columns.append((numbers, boxes, pixels, area, perimeter))
        self._keep(len(numbers), there, placed)
        if declared_field is not None:
            self._declared += map(code_text, parcels[declared_field])

    def _keep(self, count: int, there: NDArray[np.int64], placed: NDArray[Any]) -> None:
        shapes = np.full(count, None, dtype=object)
        shapes[there] = placed
        self._shapes.extend(shapely.to_wkb(shapes))
        if self._inner is not None:
            inner = shapely.buffer(shapes, -self._buffer_m)
            too_small = shapely.area(inner) < _FEWEST_INNER * abs(self._grid.transform.a * self._grid.transform.e)
            inner[too_small] = None
            self._inner.extend(shapely.to_wkb(inner))

    def finish(self, path: Path) -> PlacedParcels:
        """All of them together.

        Raises:
            ParcelError: The numbers do not number them, or none has an area on the grid.
        """
        numbers, boxes, pixels, area, perimeter = (
            np.concatenate([columns[at] for columns in self._columns]) for at in range(5)
        )
        if len(np.unique(numbers)) < len(numbers):
            raise _no_numbers(path)
        warnings = []
        if self._broken:
            shown = ", ".join(map(str, self._broken[:_NUMBERS_SHOWN]))
            warnings.append(f"{len(self._broken)} invalid geometries were repaired for counting (parcel {shown}).")
        usable = np.isfinite(boxes[:, 0])
        if not usable.all():
            warnings.append(f"{int((~usable).sum())} parcels without a usable area stay without a class.")
        if not usable.any():
            raise ParcelError("No parcel has an area.", "Give a layer of polygons.")
        outside = usable & ~_touching(boxes, self._grid)
        if (outside == usable).all():
            raise _elsewhere(boxes[usable], self._grid)
        if outside.any():
            warnings.append(
                f"{int(outside.sum())} of {len(numbers)} parcels lie outside the raster; they stay without a class."
            )
            boxes[outside] = np.nan
        return PlacedParcels(
            numbers.astype(np.int64),
            boxes,
            pixels,
            area,
            perimeter,
            self._shapes,
            self._inner,
            tuple(self._declared),
            self._grid,
            tuple(warnings),
        )


def _read(path: Path, declared_field: str | None) -> Iterator[geopandas.GeoDataFrame]:
    """Some parcels after the other, in the file's order."""
    wanted = [PARCEL_FIELD, *([declared_field] if declared_field else [])]
    first = 0
    while True:
        try:
            parcels = geopandas.read_file(path, columns=wanted, rows=slice(first, first + _AT_ONCE))
        except (DataSourceError, DataLayerError) as error:
            raise ParcelError(f"{path} cannot be read: {error}.", "Give a polygon layer.") from error
        if not isinstance(parcels, geopandas.GeoDataFrame):
            raise ParcelError(f"{path} has no geometries.", "Give a polygon layer.")
        if parcels.empty and first == 0:
            raise ParcelError(
                "The parcel layer has no features.", "Check its filter and selection, or give another layer."
            )
        if not parcels.empty:
            _check(parcels, path, wanted)
            yield parcels
        if len(parcels) < _AT_ONCE:
            return
        first += _AT_ONCE


def _check(parcels: geopandas.GeoDataFrame, path: Path, wanted: list[str]) -> None:
    if PARCEL_FIELD not in parcels:
        raise ParcelError(
            f"{path} has no field `{PARCEL_FIELD}`.", "Number the parcels in an integer field of that name."
        )
    if wanted[-1] not in parcels:
        raise ParcelError(f"{path} has no field `{wanted[-1]}`.", "Name the field that holds the declared crop.")
    if parcels[PARCEL_FIELD].dtype.kind not in "iu":
        raise _no_numbers(path)
    if parcels.crs is None:
        raise ParcelError("The parcel layer has no coordinate reference system.", "Set the layer's CRS.")


def _no_numbers(path: Path) -> ParcelError:
    return ParcelError(
        f"The field `{PARCEL_FIELD}` of {path} does not number the parcels.",
        "Give every parcel a whole number of its own.",
    )


def _areas(shapes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Valid polygons and multipolygons, None where there is no area; and which had to be repaired."""
    shapes = shapely.force_2d(shapes)
    broken = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes)) & ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken])
    shapes = polygons_of(shapes)
    shapes[~(shapely.area(shapes) > 0)] = None
    return shapes, broken


def _touching(boxes: Floats, grid: Grid) -> NDArray[np.bool_]:
    left, bottom, right, top = grid.bounds
    touching: NDArray[np.bool_] = (
        (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < top) & (boxes[:, 3] > bottom)
    )
    return touching


def _elsewhere(boxes: Floats, grid: Grid) -> ParcelError:
    left, bottom, right, top = grid.bounds
    lowest, highest = boxes.min(axis=0), boxes.max(axis=0)
    return ParcelError(
        f"No parcel lies on the raster: in its CRS ({grid.crs}) the parcels reach from "
        f"{lowest[0]:.0f} {lowest[1]:.0f} to {highest[2]:.0f} {highest[3]:.0f}, "
        f"the raster from {left:.0f} {bottom:.0f} to {right:.0f} {top:.0f}.",
        "Check that the parcel layer's CRS is set rightly and that it covers the scenes.",
    )
