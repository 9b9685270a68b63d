"""Parcels and maps of a few pixels, whose records can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas
import numpy as np
from numpy.typing import ArrayLike
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from cropmap_core.classes import CLASSES_TAG
from cropmap_core.io.outputs import create_raster
from cropmap_core.parcels import Maps, Records, describe_parcels, grid_of_file, place_parcels
from cropmap_core.parcels.tables import rows_of as cells_of
from tests.core.series_in_memory import grid
from tests.factories import CRS, ORIGIN

LEGEND = [
    {"value": value, "name": name, "color": "#112233"} for value, name in ((1, "Maize"), (2, "Grass"), (3, "Potatoes"))
]
LEGEND_TAG = {CLASSES_TAG: json.dumps(LEGEND)}


def raster(path: Path, values: ArrayLike, nodata: float | None, dtype: str = "uint8", **tags: str) -> Path:
    """Writes a raster of one band (H, W) or several (B, H, W) whose upper left corner is that of the factories."""
    pixels = np.asarray(values, dtype=dtype)
    bands = pixels.reshape(-1, *pixels.shape[-2:])
    with create_raster(path, grid(*pixels.shape[-2:]), len(bands), dtype, nodata) as dataset:
        dataset.write(bands)
        dataset.update_tags(**tags)
    return path


def class_raster(path: Path, values: ArrayLike) -> Path:
    return raster(path, values, 0, **LEGEND_TAG)


def probability_raster(path: Path, percent: ArrayLike, names: Sequence[str] = ("Maize", "Grass", "Potatoes")) -> Path:
    """Whole percent, as uint8 with its scale."""
    pixels = np.asarray(percent, dtype="uint8")
    with create_raster(path, grid(*pixels.shape[-2:]), len(pixels), "uint8", 255) as dataset:
        dataset.write(pixels)
        dataset.descriptions = tuple(names)
        dataset.scales = [0.01] * len(pixels)
        dataset.update_tags(**LEGEND_TAG)
    return path


def on_pixels(*corners: tuple[float, float]) -> Polygon:
    """A polygon whose corners are (column, row) of the raster, counted from its upper left corner."""
    return Polygon([(ORIGIN[0] + 10 * col, ORIGIN[1] - 10 * row) for col, row in corners])


def pixel_box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return on_pixels((left, top), (right, top), (right, bottom), (left, bottom))


def layer(path: Path, shapes: Sequence[BaseGeometry | None], crs: str | None = CRS, **fields: Any) -> Path:
    """A GeoPackage of shapes in the raster's CRS, numbered from 10 on where no fields are given."""
    numbers = fields if fields else {"parcel": np.arange(10, 10 + len(shapes), dtype=np.int32)}
    table = geopandas.GeoDataFrame(numbers, geometry=list(shapes), crs=CRS if crs else None)
    (table.to_crs(crs) if crs else table).to_file(path, driver="GPKG")
    return path


def rows_of(records: Records) -> list[SimpleNamespace]:
    """The records, their fields as attributes."""
    names = ["parcel", *(field.name for field in records.fields)]
    return [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in cells_of(records)]


def described(
    parcels: Path, maps: Maps, buffer_m: float = 0.0, declared_field: str | None = None, **options: Any
) -> list[SimpleNamespace]:
    """The records of a layer."""
    placed = place_parcels(parcels, grid_of_file(maps.classes), buffer_m, declared_field)
    return rows_of(describe_parcels(placed, maps, **options))
