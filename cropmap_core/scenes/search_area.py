"""The area that scenes are searched for: polygons of a file, or an extent."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely.geometry.base import BaseGeometry

from cropmap_core.errors import JobError

_LONGITUDE_LATITUDE = "OGC:CRS84"
_SEGMENTS = 200
"""Straight edges are cut into pieces of at most this part of the area: in another CRS they are curves."""
_NUMBER = r"\s*(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*"
_EXTENT = re.compile(rf"^{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}(?:\[(.+)\])?\s*$")

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class SearchArea:
    """Polygons with densified edges."""

    geometry: BaseGeometry
    """In longitude and latitude, degrees, WGS 84."""

    def bounds_in(self, crs: str) -> Bounds | None:
        """(left, bottom, right, top) in another CRS; None where the area cannot be brought there."""
        points = shapely.get_coordinates(self.geometry)
        try:
            x, y = Transformer.from_crs(_LONGITUDE_LATITUDE, crs, always_xy=True).transform(points[:, 0], points[:, 1])
        except ProjError:
            return None
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return None
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    @property
    def fingerprint(self) -> str:
        """Tells areas apart, to a millimetre."""
        points = shapely.get_coordinates(self.geometry).round(8) + 0.0  # no negative zero
        return hashlib.sha256(points.tobytes()).hexdigest()[:16]


def read_area(path: Path) -> SearchArea:
    """Reads the polygons of a vector file in any CRS.

    Raises:
        JobError: It cannot be read, holds no polygon, has no CRS, or reaches over the 180th meridian.
    """
    try:
        layer = geopandas.read_file(path, columns=[])
    except (OSError, RuntimeError, ValueError) as error:  # of pyogrio, whatever the file has
        raise JobError(f"AREA {path} cannot be read: {error}.", "Give a vector file of polygons.") from error
    polygons = layer.geometry[layer.geom_type.isin(["Polygon", "MultiPolygon"]) & ~layer.geometry.is_empty]
    if polygons.empty:
        raise JobError(f"AREA {path} holds no polygon.", "Give a layer with at least one polygon.")
    if polygons.crs is None:
        raise JobError(f"AREA {path} has no coordinate reference system.", "Set the CRS of the layer.")
    return _area(shapely.union_all(polygons.make_valid()), CRS(polygons.crs), f"AREA {path}")


def parse_extent(text: str) -> SearchArea:
    """Reads an extent as QGIS writes it.

    Args:
        text: `xmin,xmax,ymin,ymax [EPSG:4326]`; longitude and latitude where no CRS is told.

    Raises:
        JobError: It is none, is empty, or reaches over the 180th meridian.
    """
    match = _EXTENT.match(text)
    remedy = "Write it as xmin,xmax,ymin,ymax [EPSG:4326]."
    if match is None:
        raise JobError(f"EXTENT is '{text}'.", remedy)
    left, right, bottom, top = (float(match[number]) for number in range(1, 5))
    if not (left < right and bottom < top):
        raise JobError(f"EXTENT {text} is empty.", remedy)
    try:
        crs = CRS.from_user_input(match[5] or _LONGITUDE_LATITUDE)
    except CRSError:
        raise JobError(f"EXTENT has the CRS '{match[5]}', which is unknown.", remedy) from None
    return _area(shapely.box(left, bottom, right, top), crs, f"EXTENT {text}")


def _area(geometry: BaseGeometry, crs: CRS, name: str) -> SearchArea:
    left, bottom, right, top = geometry.bounds
    longest = max(right - left, top - bottom)
    if not geometry.area:
        raise JobError(f"{name} has no area.", "Give polygons.")
    dense = shapely.segmentize(geometry, longest / _SEGMENTS)
    try:
        transformer = Transformer.from_crs(crs, _LONGITUDE_LATITUDE, always_xy=True)
        placed = shapely.transform(dense, transformer.transform, interleaved=False)
    except ProjError:
        raise JobError(f"{name} cannot be placed on the globe.", "Check its CRS.") from None
    west, south, east, north = placed.bounds
    if not np.isfinite([west, south, east, north]).all() or south < -90 or north > 90:
        raise JobError(f"{name} cannot be placed on the globe.", "Check its CRS and the order of its coordinates.")
    if east - west > 180 or west < -180 or east > 180:
        raise JobError(f"{name} reaches over the 180th meridian.", "Search for the parts on its two sides one by one.")
    return SearchArea(placed)
