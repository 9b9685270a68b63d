"""The rasters that parcels are described by, opened together and held to one grid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from cropmap_core.classes import CLASSES_TAG
from cropmap_core.errors import GridMismatchError, SeriesError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.timeseries.files import open_time_series
from cropmap_core.timeseries.gaps import PROVENANCE
from cropmap_core.timeseries.indices import as_channels
from cropmap_core.timeseries.series import Derived, Series

Legend = list[dict[str, Any]]
_GDAL_CACHE = 128 * 2**20  # bytes: every tile is read once or twice, and GDAL would take 5 % of the machine's memory
_BESIDE = ("confidence", "ood", "probabilities", "provenance")
_RED_AND_INFRARED = {"B04", "B08"}


class Maps(NamedTuple):
    """The rasters of one run, on one grid."""

    classes: Path
    confidence: Path | None = None
    """Percent."""
    ood: Path | None = None
    """1 where a pixel is unlike what the model learnt of its class, 0 where not."""
    probabilities: Path | None = None
    """A band per class, named after it."""
    provenance: Path | None = None
    """What fillgaps tells of the pixels: see `gaps.PROVENANCE`."""
    series: Path | None = None
    """Time series file, for profiles of indices."""


@dataclass(frozen=True)
class Bands:
    """What a window of a raster holds."""

    values: NDArray[Any]
    """Shape (B, H, W)."""
    nodata: float | None


@dataclass(frozen=True)
class MapBlock:
    """A window of all maps."""

    classes: Bands
    confidence: Bands | None = None
    ood: Bands | None = None
    probabilities: Bands | None = None
    provenance: Bands | None = None
    indices: Bands | None = None
    """Of the series, date by date: shape (T * I, H, W)."""


@dataclass(frozen=True)
class OpenMaps:
    """The maps of one run, open for reading by one thread at a time."""

    grid: Grid
    legend: Legend
    """Of the class raster, then of the probabilities as far as they know others."""
    probability_codes: tuple[int, ...]
    """The class value of each band of the probabilities; empty without."""
    probability_scale: tuple[float, float]
    """Scale and offset from a band's values to 0-1."""
    series: Series | None
    """The indices, float32."""
    classes: DatasetReader
    beside: Mapping[str, DatasetReader]
    """The other rasters that are given, by their names in `Maps`."""

    def read(self, window: Window) -> MapBlock:
        """A window of every map."""
        indices = None
        if self.series is not None:
            block = self.series.read(window)
            indices = Bands(block.data.reshape(-1, window.height, window.width), None)
        beside = {name: _read(file, window) for name, file in self.beside.items()}
        return MapBlock(_read(self.classes, window), **beside, indices=indices)

    @property
    def bytes_per_pixel(self) -> int:
        """Of what `read` returns, and of the bands that indices are computed from."""
        files = (self.classes, *self.beside.values())
        count: int = sum(file.count * np.dtype(file.dtypes[0]).itemsize for file in files)
        if self.series is not None:
            source = self.series.source if isinstance(self.series, Derived) else self.series
            count += len(self.series.dates) * 4 * (len(self.series.bands) + len(source.bands))
        return count


@contextmanager
def open_maps(maps: Maps, indices: Sequence[str] = ()) -> Iterator[OpenMaps]:
    """Opens the maps and checks that they belong together.

    Args:
        maps: The files.
        indices: Bands or indices of the series to look at.

    Raises:
        GridMismatchError: They have different grids.
        SeriesError: One cannot be read, or is not of its kind.
        MissingBandError: An index cannot be computed from the series.
    """
    with rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE), ExitStack() as files:
        classes = files.enter_context(_open(maps.classes))
        _check_classes(classes)
        grid, legend = Grid.of(classes), legend_of(classes)
        beside: dict[str, DatasetReader] = {}
        for name in _BESIDE:
            path = getattr(maps, name)
            if path is not None:
                beside[name] = files.enter_context(_open(path))
                if Grid.of(beside[name]) != grid:
                    raise _other_grid(path, maps.classes, name)
        _check_beside(beside)
        codes: tuple[int, ...] = ()
        scale = (1.0, 0.0)
        if "probabilities" in beside:
            codes, scale, more = _check_probabilities(beside["probabilities"], legend)
            legend = [*legend, *more]
        series = None if maps.series is None else _indices_of(maps.series, indices)
        if series is not None and series.grid != grid:
            raise _other_grid(maps.series, maps.classes, "series")
        yield OpenMaps(grid, legend, codes, scale, series, classes, beside)


def legend_of(dataset: DatasetReader) -> Legend:
    """The classes that a class raster's tag states, as {value, name, color}; empty where it states none."""
    try:
        legend = json.loads(dataset.tags().get(CLASSES_TAG, "[]"))
        return [{key: entry[key] for key in ("value", "name", "color")} for entry in legend]
    except (ValueError, TypeError, KeyError) as error:
        raise SeriesError(
            f"{dataset.name} has a damaged legend ({CLASSES_TAG}).", "Give a raster that classify wrote."
        ) from error


def legend_of_file(path: Path) -> Legend:
    """The legend of a class raster file; see `legend_of`."""
    with _open(path) as dataset:
        return legend_of(dataset)


def grid_of_file(path: Path) -> Grid:
    """The grid of a class raster file.

    Raises:
        SeriesError: It cannot be read or has no coordinate reference system.
    """
    with _open(path) as dataset:
        if not dataset.crs:
            raise SeriesError(f"{path} has no coordinate reference system.", "Give a raster that classify wrote.")
        return Grid.of(dataset)


def _open(path: Path) -> DatasetReader:
    try:
        return rasterio.open(path)
    except RasterioError as error:
        raise SeriesError(f"{path} cannot be read: {error}.", "Give a raster that classify wrote.") from error


def _read(file: DatasetReader, window: Window) -> Bands:
    try:
        return Bands(file.read(window=window.bounds_rc), file.nodata)
    except RasterioError as error:
        raise SeriesError(
            f"{file.name} cannot be read: {error}.", "It is damaged or incomplete: make it again."
        ) from error


def _other_grid(path: Path | None, classes: Path, what: str) -> GridMismatchError:
    return GridMismatchError(
        f"{path} has another grid than {classes}.", f"Give the class and {what} rasters of one run."
    )


def _check_classes(dataset: DatasetReader) -> None:
    remedy = "Give a raster with one class value per pixel, as classify writes it."
    if dataset.count != 1 or dataset.dtypes[0].startswith(("float", "complex")):
        raise SeriesError(
            f"{dataset.name} holds {dataset.count} bands of {dataset.dtypes[0]}, no crop classes.", remedy
        )
    if "CROPMAP_MODEL" in dataset.tags() and not legend_of(dataset):
        raise SeriesError(f"{dataset.name} is a confidence or ood raster, no class raster.", remedy)


def _check_beside(beside: Mapping[str, DatasetReader]) -> None:
    for what, unit in (("confidence", "in percent"), ("ood", "0 and 1")):
        dataset = beside.get(what)
        if dataset is None:
            continue
        described = dataset.descriptions[0] or what
        if dataset.count != 1 or dataset.dtypes[0] != "uint8" or legend_of(dataset) or not described.startswith(what):
            raise SeriesError(
                f"{dataset.name} is no {what} raster.", f"Give the {what} that classify or mapcrops wrote, {unit}."
            )
    provenance = beside.get("provenance")
    if provenance is not None and provenance.descriptions != PROVENANCE:
        raise SeriesError(f"{provenance.name} holds no fill provenance.", "Give OUTPUT_PROVENANCE of fillgaps.")


def _check_probabilities(dataset: DatasetReader, legend: Legend) -> tuple[tuple[int, ...], tuple[float, float], Legend]:
    """The class value of each band, how its values are scaled, and the classes that the class raster knows not."""
    remedy = "Give the probabilities that classify or mapcrops wrote with the class raster."
    values = {entry["name"]: entry["value"] for entry in (*legend, *legend_of(dataset))}
    unknown = [str(name) for name in dataset.descriptions if name not in values]
    if unknown or len(set(dataset.descriptions)) < dataset.count:
        raise SeriesError(
            f"{dataset.name} has bands that are not named after classes: {', '.join(unknown) or 'one twice'}.", remedy
        )
    scales = set(zip(dataset.scales, dataset.offsets, strict=True))
    if len(scales) > 1:
        raise SeriesError(f"The bands of {dataset.name} have different scales.", remedy)
    known = {entry["value"] for entry in legend}
    more = [entry for entry in legend_of(dataset) if entry["value"] not in known]
    scale, offset = scales.pop()
    if dataset.dtypes[0].startswith(("uint", "int")) and scale == 1:
        scale = 0.01  # whole numbers without a scale are percent
    return tuple(values[name] for name in dataset.descriptions), (scale, offset), more


def _indices_of(path: Path, names: Sequence[str]) -> Series:
    series = open_time_series(path)
    wanted = tuple(names) or tuple(name for name in ("NDVI",) if name in series.bands or _has_ndvi(series))
    if not wanted:
        raise SeriesError(f"{path} has neither NDVI nor the bands B04 and B08.", "Name the INDICES to look at.")
    return as_channels(series, wanted)


def _has_ndvi(series: Series) -> bool:
    return series.dtype.kind == "i" and set(series.bands) >= _RED_AND_INFRARED
