"""The area that a user wants: polygons of a layer, or an extent."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rasterio.errors import CRSError
from rasterio.features import geometry_mask

from cropmap_core.errors import JobError
from cropmap_core.io.grid import Grid
from cropmap_core.scenes.bands import crs_of

_EXTENT = re.compile(r"^\s*([^,\s]+)\s*,\s*([^,\s]+)\s*,\s*([^,\s]+)\s*,\s*([^,\s]+)\s*\[(.+)\]\s*$", re.DOTALL)
_LONGITUDE_LATITUDE = "OGC:CRS84"
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
    _shapes: dict[str, shapely.Geometry] = field(default_factory=dict, init=False, repr=False, compare=False)
    """By CRS."""
    _touched: dict[Grid, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def on_globe(self) -> shapely.Geometry:
        """The polygons in longitude and latitude, degrees, WGS 84."""
        return self.shape_in(_LONGITUDE_LATITUDE)

    @property
    def fingerprint(self) -> str:
        """Tells areas apart, to a millimetre."""
        points = shapely.get_coordinates(self.on_globe).round(8) + 0.0  # no negative zero
        return hashlib.sha256(points.tobytes()).hexdigest()[:16]

    def shape_in(self, crs: str) -> shapely.Geometry:
        """The polygons in another CRS; empty where they cannot be there."""
        if crs not in self._shapes:  # moving the parcels of a region takes seconds, and every scene asks for it
            self._shapes[crs] = self._moved(crs)
        return self._shapes[crs]

    def _moved(self, crs: str) -> shapely.Geometry:
        if crs_of(crs) == crs_of(self.crs):
            return self.shape
        try:
            transformer = Transformer.from_crs(self.crs, crs, always_xy=True)
            moved = shapely.transform(self.shape, transformer.transform, interleaved=False)
        except ProjError:
            return shapely.Polygon()
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
        if grid not in self._touched:  # the scenes of a tile share its grid
            here = self.shape_in(grid.crs).intersection(shapely.box(*grid.bounds))
            self._touched[grid] = bool(shapely.area(here) > 0)
        return self._touched[grid]

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
    import geopandas  # here, for these take most of a second
    from pyogrio.errors import DataLayerError, DataSourceError

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


def check_searchable(area: Area) -> None:
    """Refuses an area that catalogues cannot be asked for.

    Raises:
        JobError: It is nowhere on the globe, or reaches over the 180th meridian.
    """
    west, south, east, north = area.on_globe.bounds if not area.on_globe.is_empty else (math.nan,) * 4
    if not (south >= -90 and north <= 90):
        raise JobError(f"{area.name} cannot be placed on the globe.", "Check its CRS and the order of its coordinates.")
    if east - west > 180 or west < -180 or east > 180:
        raise JobError(f"{area.name} reaches over the 180th meridian.", "Search for its two sides one by one.")


def _dense(shape: shapely.Geometry, crs: str, name: str) -> Area:
    left, bottom, right, top = shape.bounds
    return Area(shapely.segmentize(shape, max(right - left, top - bottom) / _EDGE_POINTS), crs, name)
