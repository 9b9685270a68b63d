"""The area that a user wants: polygons of a layer, or an extent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.errors import CRSError
from rasterio.features import geometry_mask

from cropmap_core.errors import JobError
from cropmap_core.io.grid import Grid
from cropmap_core.scenes.bands import crs_of

_EXTENT = re.compile(r"^\s*([^,\s]+)\s*,\s*([^,\s]+)\s*,\s*([^,\s]+)\s*,\s*([^,\s]+)\s*\[(.+)\]\s*$", re.DOTALL)
_EDGE_POINTS = 100
"""A straight edge in degrees is a curve in metres: edges get so many points before they are transformed."""


@dataclass(frozen=True)
class Area:
    """Polygons in a CRS."""

    shape: shapely.Geometry
    """Valid, not empty, with points close enough to be transformed."""
    crs: str
    name: str
    """The file or extent, for messages."""

    def shape_in(self, crs: str) -> shapely.Geometry:
        """The polygons in another CRS; empty where they cannot be there."""
        if crs_of(crs) == crs_of(self.crs):
            return self.shape
        moved = geopandas.GeoSeries([self.shape], crs=self.crs).to_crs(crs).iloc[0]
        return moved if np.isfinite(moved.bounds).all() else shapely.Polygon()

    def bounds_in(self, crs: str) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in a CRS.

        Raises:
            JobError: The area is nowhere in that CRS.
        """
        shape = self.shape_in(crs)
        if shape.is_empty:
            raise JobError(f"The area of {self.name} is outside of {crs}.", "Choose a CRS that covers the area.")
        left, bottom, right, top = shape.bounds
        return left, bottom, right, top

    def touches(self, grid: Grid) -> bool:
        """Whether some of the area lies on a grid."""
        return bool(shapely.area(self.shape_in(grid.crs).intersection(shapely.box(*grid.bounds))) > 0)

    def mask(self, grid: Grid) -> NDArray[np.bool_]:
        """The pixels of a grid that the area touches, shape (height, width)."""
        shape = self.shape_in(grid.crs)
        if shape.is_empty:
            return np.zeros((grid.height, grid.width), dtype=bool)
        inside: NDArray[np.bool_] = geometry_mask(
            [shape], (grid.height, grid.width), grid.transform, all_touched=True, invert=True
        )
        return inside


def area_of_file(path: Path) -> Area:
    """Reads the polygons of a vector file; invalid ones are repaired.

    Raises:
        JobError: The file cannot be read, has no CRS, or no polygon with an area.
    """
    remedy = "Give a layer of polygons with a coordinate reference system as AREA."
    try:
        layer = geopandas.read_file(path)
    except (DataSourceError, DataLayerError) as error:
        raise JobError(f"{path} cannot be read as a vector layer: {error}.", remedy) from error
    if not isinstance(layer, geopandas.GeoDataFrame) or layer.empty:
        raise JobError(f"{path} has no features.", remedy)
    if layer.crs is None:
        raise JobError(f"{path} has no coordinate reference system.", remedy)
    shapes = shapely.make_valid(layer.geometry[layer.geometry.notna()].to_numpy())
    shape = shapely.union_all(shapes[shapely.area(shapes) > 0])
    if shape.is_empty or not np.isfinite(shape.bounds).all():
        raise JobError(f"{path} holds no polygon with an area.", remedy)
    return _dense(shape, layer.crs.to_wkt(), str(path))


def area_of_extent(text: str) -> Area:
    """Reads an extent as QGIS writes it.

    Args:
        text: For instance `501360,502360,5628680,5629680 [EPSG:32631]`: xmin, xmax, ymin, ymax.

    Raises:
        JobError: It is none.
    """
    remedy = "Write it as xmin,xmax,ymin,ymax [CRS], for instance 3.01,3.05,50.80,50.83 [EPSG:4326]."
    match = _EXTENT.match(text)
    try:
        if match is None:
            raise ValueError
        left, right, bottom, top = (float(match[number]) for number in range(1, 5))
        crs = crs_of(match[5].strip()).to_wkt()
    except (ValueError, CRSError):
        raise JobError(f"EXTENT is '{text}', which is no extent with a CRS.", remedy) from None
    if not (np.isfinite([left, right, bottom, top]).all() and left < right and bottom < top):
        raise JobError(f"EXTENT is '{text}', which has no area.", remedy)
    return _dense(shapely.box(left, bottom, right, top), crs, f"EXTENT {text}")


def _dense(shape: shapely.Geometry, crs: str, name: str) -> Area:
    left, bottom, right, top = shape.bounds
    return Area(shapely.segmentize(shape, max(right - left, top - bottom) / _EDGE_POINTS), crs, name)
