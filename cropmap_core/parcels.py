"""What a class raster says about parcels, with exact shares of the pixels that their borders cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import geopandas
import numpy as np
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import RasterioRasterSource
from numpy.typing import NDArray
from pyogrio.errors import DataSourceError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from cropmap_core.classes import CLASSES_TAG
from cropmap_core.errors import GridMismatchError, ParcelError, SeriesError
from cropmap_core.io.grid import Grid
from cropmap_core.io.outputs import write_table

PARCEL_FIELD = "parcel"
RECORD_FIELDS = (PARCEL_FIELD, "pred_code", "pred_crop", "pred_prob", "n_pixels", "ood")
_AT_ONCE = 2000

Progress = Callable[[float], None]


@dataclass(frozen=True)
class ParcelRecord:
    """The prediction for one parcel; None where no observed pixel lies in it."""

    parcel: int
    pred_code: int | None
    """Class value that covers most of the parcel."""
    pred_crop: str | None
    pred_prob: float | None
    """Mean over the parcel of the confidence in `pred_code`, where pixels of other classes count 0; 0-1.

    Without a confidence raster it is the class's share of the parcel. Either way it is what is known to speak for the
    class: a lower bound of its mean probability.
    """
    n_pixels: float
    """Observed pixels, each weighted with the share that lies in the parcel."""
    ood: float | None = None
    """Share of these that are unlike what the model learnt of their class; None where the model has no test for it."""


class Maps(NamedTuple):
    """The rasters of one run, on one grid."""

    classes: Path
    confidence: Path | None = None
    """Percent."""
    ood: Path | None = None
    """1 where a pixel is unlike what the model learnt of its class, 0 where not."""


@dataclass(frozen=True)
class PlacedParcels:
    """Parcels in a raster's CRS, checked and ready to be described."""

    numbers: tuple[int, ...]
    """Of all parcels, in their order."""
    usable: geopandas.GeoDataFrame
    """Those with an area, valid."""
    warnings: tuple[str, ...]


def place_parcels(path: Path, grid: Grid) -> PlacedParcels:
    """Reads parcels and places them on a grid.

    Args:
        path: Polygons in any CRS, with the integer field `parcel`.
        grid: That of the class raster, which need not exist yet.

    Raises:
        ParcelError: There are no parcels, they have no CRS or no area, or none lies on the grid.
    """
    parcels = _read(path)
    usable, warnings = _prepare(parcels, grid)
    left, bottom, right, top = grid.bounds
    boxes = usable.geometry.bounds
    touching = (boxes.minx < right) & (boxes.maxx > left) & (boxes.miny < top) & (boxes.maxy > bottom)
    if not touching.any():
        raise ParcelError(
            f"No parcel lies on the raster: in its CRS ({grid.crs}) the parcels reach from "
            f"{boxes.minx.min():.0f} {boxes.miny.min():.0f} to {boxes.maxx.max():.0f} {boxes.maxy.max():.0f}, "
            f"the raster from {left:.0f} {bottom:.0f} to {right:.0f} {top:.0f}.",
            "Check that the parcel layer's CRS is set rightly and that it covers the scenes.",
        )
    outside = int((~touching).sum())
    if outside:
        warnings.append(f"{outside} of {len(parcels)} parcels lie outside the raster; they stay without a class.")
    return PlacedParcels(tuple(map(int, parcels[PARCEL_FIELD])), usable[touching], tuple(warnings))


def describe_parcels(
    parcels: PlacedParcels, maps: Maps, progress: Progress = lambda fraction: None
) -> list[ParcelRecord]:
    """Describes every parcel by the class raster beneath it.

    Args:
        parcels: Placed on the class raster's grid.
        maps: The class raster, and what goes with it.
        progress: Called with the share that is done; may raise to stop.

    Returns:
        One record a parcel, in their order.

    Raises:
        GridMismatchError: The rasters have different grids.
        SeriesError: A raster cannot be read.
    """
    records = {number: ParcelRecord(number, None, None, None, 0.0) for number in parcels.numbers}
    with ExitStack() as files:
        classes = files.enter_context(_open(maps.classes))
        confidence, ood = (
            files.enter_context(_open(path)) if path is not None else None for path in (maps.confidence, maps.ood)
        )
        for path, dataset, what in ((maps.confidence, confidence, "confidence"), (maps.ood, ood, "ood")):
            if dataset is not None and Grid.of(dataset) != Grid.of(classes):
                raise GridMismatchError(
                    f"{path} has another grid than {maps.classes}.", f"Give the class and {what} rasters of one run."
                )
        _check_classes(classes)
        if confidence is not None:
            _check_beside(confidence, "confidence", "in percent")
        if ood is not None:
            _check_beside(ood, "ood", "0 and 1")
        names = {entry["value"]: entry["name"] for entry in legend_of(classes)}
        pixels = _pixels(parcels.usable, classes, confidence, ood)
        for done, (number, values, shares, certainty, out) in enumerate(pixels):
            if done % 100 == 0:
                progress(done / len(parcels.usable))
            if shares.size:
                records[number] = _record(number, values, shares, certainty, names, out)
    progress(1.0)
    return list(records.values())


def write_records(records: list[ParcelRecord], path: Path) -> None:
    """Writes records as CSV; empty cells where nothing is known.

    Raises:
        OutputError: The file cannot be written.
    """
    write_table(RECORD_FIELDS, ([getattr(record, field) for field in RECORD_FIELDS] for record in records), path)


def legend_of(dataset: DatasetReader) -> list[dict[str, Any]]:
    """The classes that a class raster's tag states, as {value, name, color}; empty where it states none."""
    try:
        legend = json.loads(dataset.tags().get(CLASSES_TAG, "[]"))
        return [{key: entry[key] for key in ("value", "name", "color")} for entry in legend]
    except (ValueError, TypeError, KeyError) as error:
        raise SeriesError(
            f"{dataset.name} has a damaged legend ({CLASSES_TAG}).", "Give a raster that classify wrote."
        ) from error


def legend_of_file(path: Path) -> list[dict[str, Any]]:
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


def _check_classes(dataset: DatasetReader) -> None:
    remedy = "Give a raster with one class value per pixel, as classify writes it."
    if dataset.count != 1 or dataset.dtypes[0].startswith(("float", "complex")):
        raise SeriesError(
            f"{dataset.name} holds {dataset.count} bands of {dataset.dtypes[0]}, no crop classes.", remedy
        )
    if "CROPMAP_MODEL" in dataset.tags() and not legend_of(dataset):
        raise SeriesError(f"{dataset.name} is a confidence or ood raster, no class raster.", remedy)


def _check_beside(dataset: DatasetReader, what: str, unit: str) -> None:
    described = dataset.descriptions[0] or what
    if dataset.count != 1 or dataset.dtypes[0] != "uint8" or legend_of(dataset) or not described.startswith(what):
        raise SeriesError(
            f"{dataset.name} is no {what} raster.", f"Give the {what} that classify or mapcrops wrote, {unit}."
        )


def _read(path: Path) -> geopandas.GeoDataFrame:
    try:
        parcels = geopandas.read_file(path, columns=[PARCEL_FIELD])
    except DataSourceError as error:
        raise ParcelError(f"{path} cannot be read: {error}.", "Give a polygon layer.") from error
    if not isinstance(parcels, geopandas.GeoDataFrame):
        raise ParcelError(f"{path} has no geometries.", "Give a polygon layer.")
    if parcels.empty:
        raise ParcelError("The parcel layer has no features.", "Check its filter and selection, or give another layer.")
    if PARCEL_FIELD not in parcels:
        raise ParcelError(
            f"{path} has no field `{PARCEL_FIELD}`.", "Number the parcels in an integer field of that name."
        )
    numbers = parcels[PARCEL_FIELD]
    if numbers.dtype.kind not in "iu" or numbers.duplicated().any():
        raise ParcelError(
            f"The field `{PARCEL_FIELD}` of {path} does not number the parcels.",
            "Give every parcel a whole number of its own.",
        )
    if parcels.crs is None:
        raise ParcelError("The parcel layer has no coordinate reference system.", "Set the layer's CRS.")
    return parcels


def _prepare(parcels: geopandas.GeoDataFrame, grid: Grid) -> tuple[geopandas.GeoDataFrame, list[str]]:
    """The parcels that have an area, made valid, in the raster's CRS."""
    warnings = []
    empty = parcels.geometry.isna() | parcels.geometry.is_empty
    usable = parcels[~empty].copy()
    broken = ~usable.geometry.is_valid
    if broken.any():
        numbers = ", ".join(map(str, usable.loc[broken, PARCEL_FIELD].iloc[:5]))
        warnings.append(f"{int(broken.sum())} invalid geometries were repaired for counting (parcel {numbers}).")
        usable.loc[broken, "geometry"] = shapely.make_valid(usable.loc[broken, "geometry"].to_numpy())
    flat = ~usable.geom_type.isin(["Polygon", "MultiPolygon", "GeometryCollection"])
    usable = usable[~flat].to_crs(grid.crs)
    lost = ~np.isfinite(usable.geometry.bounds).all(axis=1)
    usable = usable[~lost]
    without = int(empty.sum() + flat.sum() + lost.sum())
    if without:
        warnings.append(f"{without} parcels without a usable area stay without a class.")
    if usable.empty:
        raise ParcelError("No parcel has an area.", "Give a layer of polygons.")
    # A repaired polygon may have kept loose lines: exactextract takes polygons only.
    mixed = usable.geom_type == "GeometryCollection"
    if mixed.any():
        usable.loc[mixed, "geometry"] = [
            shapely.unary_union([part for part in shape.geoms if part.geom_type.endswith("Polygon")])
            for shape in usable.loc[mixed, "geometry"]
        ]
    return usable, warnings


_Pixels = tuple[int, NDArray[Any], NDArray[np.float64], NDArray[np.float64], float | None]


def _pixels(
    parcels: geopandas.GeoDataFrame,
    classes: DatasetReader,
    confidence: DatasetReader | None,
    ood: DatasetReader | None,
) -> Iterator[_Pixels]:
    """Parcel number, class values, their shares of a pixel, confidence 0-1 of the observed pixels, and their ood."""
    weights = RasterioRasterSource(confidence, name="confidence") if confidence is not None else None
    for start in range(0, len(parcels), _AT_ONCE):
        some = parcels.iloc[start : start + _AT_ONCE]
        shares_out = _shares(some, ood) if ood is not None else {}
        features = exact_extract(
            RasterioRasterSource(classes, name="classes"),
            some,
            ["values", "coverage"] + (["weights"] if weights is not None else []),
            weights=weights,
            include_cols=[PARCEL_FIELD],
            output="geojson",
        )
        for feature in features:
            found: Mapping[str, Any] = feature["properties"]
            values = np.asarray(found["values"])
            shares = np.asarray(found["coverage"], dtype=np.float64)
            certainty = np.ones_like(shares)
            if weights is not None:
                certainty = np.nan_to_num(np.asarray(found["weights"], dtype=np.float64)) / 100.0
            number = int(found[PARCEL_FIELD])
            yield number, values, shares, certainty, shares_out.get(number)


def _shares(parcels: geopandas.GeoDataFrame, ood: DatasetReader) -> dict[int, float]:
    """By parcel number, the share of the pixels with a value that are 1; cut ones count by what lies in it."""
    source = RasterioRasterSource(ood, name="ood")
    found = {}
    for feature in exact_extract(source, parcels, ["mean"], include_cols=[PARCEL_FIELD], output="geojson"):
        mean = feature["properties"]["mean"]
        if mean is not None and np.isfinite(mean):
            found[int(feature["properties"][PARCEL_FIELD])] = round(float(mean), 4)
    return found


def _record(
    number: int,
    values: NDArray[Any],
    shares: NDArray[np.float64],
    certainty: NDArray[np.float64],
    names: Mapping[int, str],
    ood: float | None,
) -> ParcelRecord:
    codes, positions = np.unique(values.astype(np.int64), return_inverse=True)
    area = np.bincount(positions, weights=shares)
    support = np.bincount(positions, weights=shares * certainty)
    # The larger area wins; of equal areas the one that the network was surer of.
    best = max(range(codes.size), key=lambda index: (round(float(area[index]), 9), float(support[index])))
    total = float(area.sum())
    code = int(codes[best])
    return ParcelRecord(
        parcel=number,
        pred_code=code,
        pred_crop=names.get(code, str(code)),
        pred_prob=round(float(support[best]) / total, 4) if total > 0 else None,
        n_pixels=round(total, 4),
        ood=ood,
    )
