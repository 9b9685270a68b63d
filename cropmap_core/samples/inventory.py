"""From crop inventories to labels: rasters of crop codes such as the CDL of the USA or the ACI of Canada."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.warp import reproject, transform_bounds

from cropmap_core.errors import GridMismatchError, SeriesError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import open_raster
from cropmap_core.samples.label_raster import create_label_raster
from cropmap_core.samples.legend import UNLABELLED, Legend

_BLOCK = 512
_MARGIN = 3
"""Pixels of the inventory read beyond a block, for grids lie askew to each other."""
_EDGE_POINTS = 21
_REMEDY = "Give a raster with one whole-number crop code a pixel, and a coordinate reference system."

Progress = Callable[[float], None]


@dataclass(frozen=True)
class InventoryLabels:
    """What came of a crop inventory."""

    pixels: Mapping[int, int]
    """Pixels of the label raster by class value."""
    unmapped: Mapping[str, int]
    """Pixels of the inventory around the time series by code that is no class, most frequent first."""
    resampling: str
    """nearest or mode."""


def write_inventory_labels(
    inventory: Path,
    confidence: tuple[Path, int] | None,
    min_confidence: float,
    legend: Legend,
    grid: Grid,
    labels: Path,
    provenance: Mapping[str, Any],
    progress: Progress = lambda fraction: None,
) -> InventoryLabels:
    """Writes a label raster of an inventory, block by block.

    Codes become classes before they are resampled. Where the inventory's pixels are finer than those of the time series
    the most frequent class in a pixel is taken, and "no class" is one of them; else that of the nearest pixel.

    Args:
        inventory: Raster of codes in its first band, any CRS.
        confidence: File and band of its confidence, on the same grid.
        min_confidence: Pixels that the inventory is less sure of are not labelled; in the unit of that band.
        legend: What the codes mean.
        grid: That of the time series, in metres.
        labels: Label raster to write.
        provenance: What the labels were made from.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        SeriesError: A raster has no such band, no CRS, or no whole numbers.
        GridMismatchError: The confidence has another grid, or the inventory lies elsewhere.
    """
    with ExitStack() as files:
        source = files.enter_context(open_raster(inventory))
        _check(source)
        sureness = None
        if confidence is not None:
            sureness = files.enter_context(open_raster(confidence[0]))
            if confidence[1] > sureness.count:
                raise SeriesError(f"{sureness.name} has no band {confidence[1]}.", "Give the raster of its confidence.")
            if Grid.of(sureness) != Grid.of(source):
                raise GridMismatchError(
                    f"{sureness.name} has another grid than {source.name}.", "Give the confidence of that inventory."
                )
        resampling = Resampling.mode if _is_finer(source, grid) else Resampling.nearest
        counts: Counter[int] = Counter()
        unmapped: Counter[str] = Counter()
        met = False
        target = files.enter_context(create_label_raster(labels, grid, legend.classes, provenance))
        windows = list(grid.blocks(_BLOCK))
        for done, window in enumerate(windows):
            progress(done / len(windows))
            block = grid.cut(window)
            around = _around(source, block)
            met |= bool(around.width and around.height)
            values = _classes(source, around, legend, unmapped)
            if sureness is not None and confidence is not None:
                sure = sureness.read(confidence[1], window=around.bounds_rc, masked=True) >= min_confidence
                values[~sure.filled(False)] = UNLABELLED
            resampled = _resample(values, source, around, block, resampling)
            counts.update(dict(zip(*(part.tolist() for part in np.unique(resampled, return_counts=True)), strict=True)))
            target.write(resampled.astype(target.dtypes[0]), 1, window=window.bounds_rc)
        progress(1.0)
        if not met:
            raise GridMismatchError(
                f"{inventory} does not cover the time series ({grid.describe()}).", "Give one that does."
            )
    del counts[UNLABELLED]
    return InventoryLabels(dict(counts), dict(unmapped.most_common()), resampling.name)


def _check(dataset: DatasetReader) -> None:
    if np.dtype(dataset.dtypes[0]).kind not in "iu":
        raise SeriesError(f"{dataset.name} holds {dataset.dtypes[0]} values, no crop codes.", _REMEDY)
    if not dataset.crs:
        raise SeriesError(f"{dataset.name} has no coordinate reference system.", _REMEDY)


def _is_finer(source: DatasetReader, grid: Grid) -> bool:
    """Whether the inventory's pixels are clearly smaller than the grid's, at the grid's middle."""
    row, col = grid.height // 2, grid.width // 2
    pixel = grid.cut(Window(row, col, 1, 1))
    left, bottom, right, top = transform_bounds(grid.crs, source.crs, *pixel.bounds)
    edge = math.sqrt(abs(source.transform.determinant))
    return math.sqrt((right - left) * (top - bottom)) > 1.5 * edge


def _around(source: DatasetReader, block: Grid) -> Window:
    """The inventory's pixels under a block and a few around it."""
    left, bottom, right, top = transform_bounds(block.crs, source.crs, *block.bounds, densify_pts=_EDGE_POINTS)
    corners = [~source.transform * (x, y) for x in (left, right) for y in (bottom, top)]
    cols, rows = ([corner[axis] for corner in corners] for axis in (0, 1))
    col, row = math.floor(min(cols)), math.floor(min(rows))
    under = Window(row, col, math.ceil(max(rows)) - row, math.ceil(max(cols)) - col)
    return under.expanded(_MARGIN).clipped(source.height, source.width)


def _classes(source: DatasetReader, window: Window, legend: Legend, unmapped: Counter[str]) -> NDArray[np.uint16]:
    """Class values of a window; counts the codes that are none. Nodata is no code."""
    codes, positions, counts = np.unique(
        source.read(1, window=window.bounds_rc), return_inverse=True, return_counts=True
    )
    values = np.zeros(codes.size, dtype=np.uint16)
    for index, (code, count) in enumerate(zip(codes.tolist(), counts.tolist(), strict=True)):
        if code == source.nodata:
            continue
        meant = legend.class_of(str(code))
        if meant is None:
            unmapped[str(code)] += count
        else:
            values[index] = meant.value
    classes: NDArray[np.uint16] = values[positions].reshape(window.height, window.width)
    return classes


def _resample(
    values: NDArray[np.uint16], source: DatasetReader, window: Window, block: Grid, resampling: Resampling
) -> NDArray[np.uint16]:
    result = np.full((block.height, block.width), UNLABELLED, dtype=np.uint16)
    if values.size:
        reproject(
            values,
            result,
            src_transform=source.transform * Affine.translation(window.col, window.row),
            src_crs=source.crs,
            dst_transform=block.transform,
            dst_crs=block.crs,
            resampling=resampling,
            init_dest_nodata=False,
        )
    return result
