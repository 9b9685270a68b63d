"""Where samples are: distances on the sphere, spatial blocks, MGRS tiles and zones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyproj
from numpy.typing import NDArray
from pyogrio.errors import DataSourceError
from scipy.spatial import cKDTree

from cropmap_core.errors import SamplesError

EARTH_RADIUS_M = 6_371_008.8
_BANDS = "CDEFGHJKLMNPQRSTUVWXX"  # of latitude, 8 degrees each from 80 S; X is 12 degrees
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_SQUARE_M = 100_000

Degrees = NDArray[np.float64]


def on_sphere(lon: Degrees, lat: Degrees) -> NDArray[np.float64]:
    """Points of the unit sphere, shape (N, 3): their chords order as distances on the ground do."""
    east, north = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1)


def nearest_m(of: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance along the ground from each point to the nearest of others.

    Args:
        of: Points as `on_sphere` gives them, shape (N, 3).
        among: Others, shape (M, 3).

    Returns:
        Metres, shape (N,); infinite where there are no others.
    """
    if not len(of) or not len(among):
        return np.full(len(of), np.inf)
    chord, _ = cKDTree(among).query(of)
    metres: NDArray[np.float64] = 2 * EARTH_RADIUS_M * np.arcsin(np.clip(chord / 2, 0, 1))
    return metres


def block_numbers(lon: Degrees, lat: Degrees, size_m: float) -> NDArray[np.int64]:
    """Number of the square of the earth's surface that each point lies in, shape (N,); -1 without coordinates.

    Rows of equal height, cut into equal columns of about the same width.
    """
    step = np.degrees(size_m / EARTH_RADIUS_M)
    row = np.floor((np.nan_to_num(lat) + 90) / step).astype(np.int64)
    middle = np.cos(np.radians(np.clip((row + 0.5) * step - 90, -89.9, 89.9)))
    column = np.floor((np.nan_to_num(lon) + 180) * middle / step).astype(np.int64)
    return np.where(np.isnan(lon) | np.isnan(lat), -1, row * 10_000_000 + column)


def mgrs_tiles(lon: Degrees, lat: Degrees) -> NDArray[np.str_]:
    """The MGRS tile that each point lies in, like 31UDS; empty without coordinates and towards the poles.

    References:
        NGA.SIG.0012, The Universal Grids, 2014: the 100,000 m squares of the WGS 84 lettering.
    """
    known = np.isfinite(lon) & np.isfinite(lat) & (lat >= -80) & (lat < 84)
    east, north = np.where(known, lon, 0.0), np.where(known, lat, 0.0)
    zone = (np.floor((east + 180) / 6).astype(int)) % 60 + 1
    zone[(north >= 56) & (north < 64) & (east >= 3) & (east < 12)] = 32  # south-western Norway
    tiles = np.full(len(lon), "", dtype="<U5")
    for number in np.unique(zone[known]):
        for south in (False, True):
            here = np.flatnonzero(known & (zone == number) & ((north < 0) == south))
            if len(here):
                to_utm = pyproj.Transformer.from_crs(4326, (32700 if south else 32600) + int(number), always_xy=True)
                x, y = to_utm.transform(east[here], north[here])
                tiles[here] = [_tile(int(number), *place) for place in zip(north[here], x, y, strict=True)]
    return tiles


def _tile(zone: int, lat: float, x: float, y: float) -> str:
    column = _COLUMNS[(zone - 1) % 3][min(max(int(x // _SQUARE_M) - 1, 0), 7)]
    row = _ROWS[(int(y // _SQUARE_M) + (0 if zone % 2 else 5)) % 20]
    return f"{zone:02}{_BANDS[int((lat + 80) // 8)]}{column}{row}"


def zones_of(path: Path, field: str, lon: Degrees, lat: Degrees) -> NDArray[np.str_]:
    """Name of the user's zone that each point lies in, empty outside of all.

    Args:
        path: Polygons in any CRS.
        field: Attribute that holds the names.
        lon: Degrees, shape (N,).
        lat: Degrees, shape (N,).

    Raises:
        SamplesError: The zones cannot be read, have no CRS, or lack the field.
    """
    try:
        zones: Any = geopandas.read_file(path)
    except (DataSourceError, OSError) as error:
        raise SamplesError(f"The zones {path} cannot be read: {error}.", "Give a vector file of polygons.") from error
    if zones.crs is None:
        raise SamplesError(f"The zones {path} have no coordinate reference system.", "Set the layer's CRS.")
    if field not in zones.columns:
        there = ", ".join(str(name) for name in zones.columns if name != "geometry")
        raise SamplesError(f"The zones {path} have no field {field}.", f"Choose one of {there}.")
    points = geopandas.GeoDataFrame(geometry=geopandas.points_from_xy(lon, lat), crs=4326)
    known = points[np.isfinite(lon) & np.isfinite(lat)]
    joined = known.sjoin(zones[[field, "geometry"]].to_crs(4326), predicate="within")
    first = joined[~joined.index.duplicated()]
    names = np.full(len(lon), "", dtype=object)
    names[first.index.to_numpy()] = first[field].astype(str)
    return names.astype(np.str_)
