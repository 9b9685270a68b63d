"""Parcels with what grows on them, as farmers declared it or somebody mapped it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError

from cropmap_core.errors import ParcelError
from cropmap_core.io.grid import Grid

NUMBER_FIELD = "parcel"
"""An integer field of this name numbers the parcels; without one their order does."""
_LARGEST_NUMBER = np.iinfo(np.int32).max
_FIELDS_SHOWN = 12


@dataclass(frozen=True)
class Declarations:
    """The parcels of a file, in its order."""

    path: Path
    numbers: NDArray[np.int64]
    """Of each parcel, from 1 on."""
    codes: tuple[str, ...]
    """Empty where the field is."""
    names: tuple[str, ...]
    """What the codes mean, as far as the layer says; else the codes."""
    shapes: NDArray[Any]
    """Shapely geometries in the file's CRS, or None."""
    crs: Any

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True)
class PlacedShapes:
    """Parcels in the CRS of a grid."""

    shapes: NDArray[Any]
    """Valid polygons and multipolygons; None where a parcel has no area."""
    repaired: NDArray[np.bool_]


def read_declarations(path: Path, field: str, name_field: str | None = None) -> Declarations:
    """Reads parcels and their codes.

    Args:
        path: Any vector file; its first layer counts.
        field: The field that holds the code.
        name_field: The field that says what the code means.

    Raises:
        ParcelError: The file cannot be read, has no parcels, no CRS, or not that field.
    """
    layer = read_layer(path)
    for name in filter(None, (field, name_field)):
        if name not in layer.columns or name == layer.geometry.name:
            there = ", ".join(map(str, layer.columns.drop(layer.geometry.name)[:_FIELDS_SHOWN]))
            raise ParcelError(f"{path} has no field `{name}`.", f"Its fields are {there}.")
    codes = tuple(map(code_text, layer[field]))
    names = tuple(map(code_text, layer[name_field])) if name_field else codes
    return Declarations(path, number_parcels(layer), codes, names, layer.geometry.to_numpy(), layer.crs)


def read_layer(path: Path) -> geopandas.GeoDataFrame:
    """Parcels as they are in a file.

    Raises:
        ParcelError: The file cannot be read, has no parcels or no CRS.
    """
    remedy = "Give a layer of polygons with a coordinate reference system."
    try:
        layer = geopandas.read_file(path, on_invalid="ignore")  # what is no geometry at all becomes none
    except (DataSourceError, DataLayerError) as error:
        raise ParcelError(f"{path} cannot be read: {error}.", remedy) from error
    if not isinstance(layer, geopandas.GeoDataFrame) or layer.empty:
        raise ParcelError(f"{path} holds no parcels.", remedy)
    if layer.crs is None:
        raise ParcelError(f"{path} has no coordinate reference system.", "Set the layer's CRS.")
    return layer


def number_parcels(layer: geopandas.GeoDataFrame) -> NDArray[np.int64]:
    """Numbers of parcels: their own where they have good ones, else their order from 1, shape (N,)."""
    given = layer[NUMBER_FIELD] if NUMBER_FIELD in layer.columns else None
    if given is not None and given.dtype.kind in "iu" and given.is_unique and given.between(1, _LARGEST_NUMBER).all():
        return np.asarray(given, dtype=np.int64)
    return np.arange(1, len(layer) + 1, dtype=np.int64)


def code_text(value: Any) -> str:
    """A code as legends write it: 1200 for 1200.0, nothing for an empty cell."""
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def place_shapes(declarations: Declarations, grid: Grid) -> PlacedShapes:
    """Repairs the parcels' geometries and moves them to the CRS of a grid.

    Args:
        declarations: Parcels in any CRS.
        grid: Where they go.

    Raises:
        ParcelError: None has an area.
    """
    shapes = shapely.force_2d(declarations.shapes)
    there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    repaired = there & ~shapely.is_valid(shapes)
    shapes[repaired] = shapely.make_valid(shapes[repaired])
    moved = geopandas.GeoSeries(shapes, crs=declarations.crs).to_crs(grid.crs).to_numpy().copy()
    usable = np.isfinite(shapely.bounds(moved)).all(axis=1)
    moved[usable] = polygons_of(shapely.make_valid(moved[usable]))
    usable &= shapely.area(moved) > 0
    moved[~usable] = None
    if not usable.any():
        raise ParcelError("No parcel has an area.", "Give a layer of polygons.")
    return PlacedShapes(moved, repaired & usable)


def polygons_of(shapes: NDArray[Any]) -> NDArray[Any]:
    """The areas among geometries: a repaired polygon, or an overlap of two, may come with loose lines and points.

    Returns:
        Polygons and multipolygons, empty where there was none.
    """
    areas = shapes.copy()
    for index in np.flatnonzero(shapely.get_dimensions(shapes) < 2):
        areas[index] = shapely.MultiPolygon()
    for index in np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION):
        parts = shapely.get_parts(shapely.get_parts(shapes[index]))
        areas[index] = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    return areas
