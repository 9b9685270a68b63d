"""Layers of what a report speaks of: samples as points, parcels as polygons."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pandas

from cropmap_core.errors import JobError
from cropmap_core.io.outputs import written_whole

_DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON"}


def write_points(rows: pandas.DataFrame, path: Path, name: str) -> None:
    """Writes samples as points, those without coordinates as rows without geometry.

    Args:
        rows: Samples; `lon` and `lat` in degrees, NaN where unknown, become the points.
        path: The file to write; what it becomes is told by its name.
        name: Of the layer.

    Raises:
        JobError: The name is neither that of a GeoPackage nor of GeoJSON.
        OutputError: It cannot be written.
    """
    lon, lat = rows["lon"].to_numpy(), rows["lat"].to_numpy()
    points = geopandas.GeoSeries(geopandas.points_from_xy(lon, lat), crs=4326)
    points[~(np.isfinite(lon) & np.isfinite(lat))] = None
    layer = geopandas.GeoDataFrame(rows.drop(columns=["lon", "lat"]), geometry=points)
    write_layer(layer, path, name, "Point")


def write_layer(layer: geopandas.GeoDataFrame, path: Path, name: str, kind: str) -> None:
    """Writes a layer.

    Args:
        layer: Its rows.
        path: The file to write; what it becomes is told by its name.
        name: Of the layer.
        kind: Of its geometries, `Point` or `MultiPolygon`.

    Raises:
        JobError: The name is neither that of a GeoPackage nor of GeoJSON.
        OutputError: It cannot be written.
    """
    check_layer_name(path)
    with written_whole(path):
        path.unlink(missing_ok=True)
        driver = _DRIVERS[path.suffix.lower()]
        layer.to_file(path, driver=driver, layer=name, geometry_type=kind, promote_to_multi=kind != "Point")


def check_layer_name(path: Path) -> None:
    """Refuses a name that is no layer's.

    Raises:
        JobError: It is neither that of a GeoPackage nor of GeoJSON.
    """
    if path.suffix.lower() not in _DRIVERS:
        raise JobError(f"The layer of samples cannot be {path.name}.", "End its name in .gpkg or .geojson.")
