"""Time series files: one GeoTIFF whose bands run date by date, each named like `2021-05-01 B04`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from cropmap_core import __version__
from cropmap_core.errors import MissingBandError, SeriesError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import create_raster
from cropmap_core.io.rasters import in_threads, read_bands, reason_of
from cropmap_core.timeseries.blocks import MEMORY, plan_blocks, read_ahead
from cropmap_core.timeseries.series import (
    NODATA,
    REFLECTANCE_SCALE,
    SCL,
    Block,
    Series,
    Values,
    channels_of,
    empty_block,
    present,
)

Progress = Callable[[float], None]
Log = Callable[[str], None]

BLOCK_SIZE = 2048
"""Edge of the blocks in which a series is computed, in pixels, where memory allows."""
_BAND_NAME = re.compile(r"^(\d{4}-\d{2}-\d{2}) (\w+)$")
_REMEDY = "Give a file that stackscenes, compositetimeseries, fillgaps or computeindices wrote."


@dataclass(frozen=True)
class TimeSeriesFile:
    """A series read from a file."""

    path: Path
    grid: Grid
    dates: tuple[date, ...]
    bands: tuple[str, ...]
    dtype: np.dtype[Any]
    period: str | None
    span: tuple[date, date]
    provenance: Mapping[str, Any]
    """What the file was made from, as `write_time_series` was told."""

    first: int = 0
    """Position of the first of the dates in the file."""

    def of_dates(self, chosen: slice) -> TimeSeriesFile:
        return replace(self, dates=self.dates[chosen], first=self.first + chosen.start)

    def read(self, window: Window) -> Block:
        data = self.read_bands(window, self.bands)
        return Block(data, present(data, self.bands))

    def read_bands(self, window: Window, bands: Sequence[str]) -> Values:
        inner = window.clipped(self.grid.height, self.grid.width)
        if inner == window:  # all of it is read
            data: Values = np.empty((len(self.dates), len(bands), window.height, window.width), self.dtype)
        else:
            data = empty_block(len(self.dates), len(bands), window, self.dtype)
        if inner.height and inner.width:
            rows, cols = inner.slices_within(window)
            channels = channels_of(self.bands, bands)

            def read_date(time: int) -> None:
                numbers = [(self.first + time) * len(self.bands) + channel + 1 for channel in channels]
                read_bands(self.path, numbers, inner, out=data[time, :, rows, cols])

            in_threads(read_date, range(len(self.dates)))
        return data


def open_time_series(path: Path) -> TimeSeriesFile:
    """Opens a time series file.

    Raises:
        SeriesError: The file is missing, unreadable, or its bands are not named as those of a time series.
        MissingBandError: A date lacks a band that others have.
    """
    try:
        with rasterio.open(path) as dataset:
            return _describe(Path(path), dataset)
    except RasterioError as error:
        raise SeriesError(f"{path} cannot be read: {reason_of(error)}.", _REMEDY) from error


def _describe(path: Path, dataset: DatasetReader) -> TimeSeriesFile:
    names = [_date_and_band(description or "", path) for description in dataset.descriptions]
    dates = tuple(dict.fromkeys(day for day, _ in names))
    bands = tuple(dict.fromkeys(band for _, band in names))
    for day in dates:
        missing = [band for band in bands if (day, band) not in names]
        if missing:
            raise MissingBandError([f"{day} {band}" for band in missing], path, _REMEDY)
    if names != [(day, band) for day in sorted(dates) for band in bands]:
        raise SeriesError(f"{path} does not hold its bands date by date.", _REMEDY)
    dtype = np.dtype(dataset.dtypes[0])
    if dtype not in (np.int16, np.float32):
        raise SeriesError(f"{path} holds {dtype} values, not int16 or float32.", _REMEDY)
    declared = dataset.nodata
    if declared is not None and not (np.isnan(declared) if dtype.kind == "f" else declared == NODATA):
        expected = "NaN" if dtype.kind == "f" else NODATA
        raise SeriesError(f"{path} has the nodata value {declared:g}, not {expected}.", _REMEDY)
    if not dataset.crs:
        raise SeriesError(f"{path} has no coordinate reference system.", _REMEDY)
    tags = dataset.tags()
    try:
        span = tuple(date.fromisoformat(text) for text in json.loads(tags.get("CROPMAP_SPAN", "[]")))
        provenance = json.loads(tags.get("CROPMAP_PROVENANCE", "{}"))
    except (TypeError, ValueError) as error:
        raise SeriesError(f"{path} has damaged tags: {error}.", _REMEDY) from error
    first, last = span if len(span) == 2 else (dates[0], dates[-1])
    period = tags.get("CROPMAP_PERIOD")
    return TimeSeriesFile(path, Grid.of(dataset), dates, bands, dtype, period, (first, last), provenance)


def _date_and_band(name: str, path: Path) -> tuple[date, str]:
    match = _BAND_NAME.match(name)
    with suppress(ValueError):  # digits that are no date
        if match is not None:
            return date.fromisoformat(match[1]), match[2]
    raise SeriesError(f"{path} is no time series: it has a band named '{name}'.", _REMEDY)


def write_time_series(
    series: Series,
    path: Path,
    provenance: Mapping[str, Any],
    progress: Progress = lambda fraction: None,
    log: Log = lambda text: None,
) -> None:
    """Computes a series block by block into a file; the next block is computed while one is compressed and written.

    Args:
        series: What to compute.
        path: The file to write.
        provenance: What it was made from, kept as JSON in the file's tags.
        progress: Called with the share of blocks done; may raise to stop.
        log: Told the size of the blocks and the memory they take.

    Raises:
        OutputError: The file cannot be written.
    """
    reflectance = series.dtype.kind == "i"
    count = len(series.dates) * len(series.bands)
    nodata = NODATA if reflectance else np.nan
    plan = plan_blocks(series, BLOCK_SIZE, MEMORY)
    log(plan.describe())
    parts = plan.parts()
    with create_raster(path, series.grid, count, series.dtype.name, nodata) as dataset:
        dataset.descriptions = tuple(f"{day} {band}" for day in series.dates for band in series.bands)
        if reflectance:
            per_date = [1.0 if band == SCL else REFLECTANCE_SCALE for band in series.bands]
            dataset.scales = tuple(per_date * len(series.dates))
        dataset.update_tags(**_tags(series, provenance))
        with closing(read_ahead(series, parts, plan.ahead)) as blocks:
            for done, part in enumerate(parts):
                progress(done / len(parts))
                values = next(blocks).data.reshape(-1, part.window.height, part.window.width)
                first = part.dates.start * len(series.bands) + 1
                dataset.write(values, range(first, first + len(values)), window=part.window.bounds_rc)
                del values  # before the next one is waited for: the plan counts one block that is written
        progress(1.0)


def _tags(series: Series, provenance: Mapping[str, Any]) -> dict[str, str]:
    tags = {
        "CROPMAP_VERSION": __version__,
        "CROPMAP_DATES": json.dumps([day.isoformat() for day in series.dates]),
        "CROPMAP_BANDS": json.dumps(series.bands),
        "CROPMAP_SPAN": json.dumps([day.isoformat() for day in series.span]),
        "CROPMAP_PROVENANCE": json.dumps(provenance),
    }
    if series.period is not None:
        tags["CROPMAP_PERIOD"] = series.period
    return tags
