"""What the tests of labels are made of: a small time series, polygons on its pixels, a legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from cropmap_core.timeseries.files import write_time_series
from tests.core.seam import Outcome, run_here
from tests.core.series_in_memory import SeriesInMemory
from tests.factories import CRS, ORIGIN

LEGEND = "code,value,name,color\nM,1,Maize,#f4c430\nM2,1,Maize,#f4c430\nG,2,Grass,#4caf50\nX,,,\n"


def write_series(path: Path, height: int = 6, width: int = 8, years: Iterable[int] = (2018,)) -> Path:
    dates = tuple(date(year, month, 1) for year in years for month in (5, 6))
    values = np.zeros((len(dates), 1, height, width), dtype=np.int16)
    write_time_series(SeriesInMemory(values, ("B04",), dates), path, {})
    return path


def on_pixels(*corners: tuple[float, float]) -> Polygon:
    """A polygon whose corners are (column, row) of the raster, counted from its upper left corner."""
    return Polygon([(ORIGIN[0] + 10 * col, ORIGIN[1] - 10 * row) for col, row in corners])


def pixel_box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return on_pixels((left, top), (right, top), (right, bottom), (left, bottom))


def write_layer(
    path: Path,
    shapes: Mapping[str, BaseGeometry | None] | Sequence[tuple[str | None, Any]],
    crs: str = CRS,
    **more: Any,
) -> Path:
    """Polygons with their crop code in the field `crop`."""
    rows = list(shapes.items()) if isinstance(shapes, Mapping) else list(shapes)
    fields = {"crop": np.array([code for code, _ in rows], dtype=object), **more}
    table = geopandas.GeoDataFrame(fields, geometry=[shape for _, shape in rows], crs=CRS)
    table.to_crs(crs).to_file(path, driver="GPKG")
    return path


def pixels(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        values: NDArray[Any] = dataset.read(1)
    return values


def label(folder: Path, shapes: Sequence[tuple[str | None, Any]], **parameters: Any) -> Outcome:
    """Labels parcels of these codes and shapes on a small series; no buffer and no minimum unless given."""
    series = folder / "series.tif"
    if not series.exists():
        write_series(series)
    legend = folder / "legend.csv"
    legend.write_text(LEGEND, encoding="utf-8")
    given = {
        "series": series,
        "parcels": write_layer(folder / "parcels.gpkg", shapes),
        "field": "crop",
        "legend": str(legend),
        "buffer_m": 0,
        "min_pixels": 1,
        "output_labels": folder / "labels.tif",
        "output_parcels": folder / "numbers.tif",
        "output_table": folder / "table.csv",
    }
    return run_here("preparelabels", **{**given, **parameters})
